//! Unix listeners: the path's rights, its replacement and its removal.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod readiness;

use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use portreeve_host::{Peer, UnixListener};
use readiness::{wait_readable, when_readable};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_process_of_this_user_connects_and_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(listener.path(), path);
    assert!(listener.accept().unwrap().is_none());
    let mut client = UnixStream::connect(&path).unwrap();
    wait_readable(&listener);
    let accepted = listener.accept().unwrap().unwrap();
    let Peer::Unix(credentials) = accepted.peer else { panic!("a unix peer") };
    assert_eq!(credentials.pid, Some(std::process::id()));
    assert_eq!(credentials.uid, rustix::process::geteuid().as_raw());
    assert_eq!(credentials.gid, rustix::process::getegid().as_raw());
    assert_eq!(accepted.local, None);

    client.write_all(b"ask").unwrap();
    let mut buf = [0; 8];
    let stream = &accepted.stream;
    assert_eq!(when_readable(stream, || stream.read(&mut buf)).unwrap(), 3);
    stream.write(b"tell").unwrap();
    stream.shutdown_write().unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "tell");
}

#[test]
fn only_the_owner_may_connect_whatever_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    // The umask is one for the whole process: it is changed in one of our own.
    const OWN_PROCESS: &str = "PORTREEVE_TEST_UMASK";
    if let Some(path) = std::env::var_os(OWN_PROCESS) {
        let path = Path::new(&path);
        rustix::process::umask(rustix::fs::Mode::empty());
        let _listener = UnixListener::bind(path).unwrap();
        assert_eq!(mode(path), 0o600);
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "only_the_owner_may_connect_whatever_the_umask"])
        .env(OWN_PROCESS, &path)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_dead_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    let _listener = UnixListener::bind(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn what_is_someones_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let live = directory.path().join("live");
    let _listener = UnixListener::bind(&live).unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let datagram = directory.path().join("datagram");
    let _datagram = UnixDatagram::bind(&datagram).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for path in [&live, &file, &datagram, &link] {
        let error = UnixListener::bind(path).unwrap_err();
        assert_eq!((error.operation, error.kind()), ("bind", io::ErrorKind::AddrInUse));
        assert_eq!(error.address, path.display().to_string());
    }
    UnixStream::connect(&live).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    assert!(std::fs::symlink_metadata(&link).is_ok());
}

#[test]
fn a_full_backlog_still_counts_as_live() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    let mut clients = Vec::new();
    let refused = loop {
        let client = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        match rustix::net::connect(&client, &address) {
            Ok(()) => clients.push(client),
            Err(errno) => break errno,
        }
    };
    assert_eq!(refused, rustix::io::Errno::AGAIN);
    assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn dropping_removes_the_path_only_if_it_is_still_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    drop(UnixListener::bind(&path).unwrap());
    assert!(!path.exists());

    let first = UnixListener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    drop(first);

    let first = UnixListener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = UnixListener::bind(&path).unwrap();
    drop(first);
    UnixStream::connect(&path).unwrap();
    drop(second);
    assert!(!path.exists());
}

#[test]
fn a_path_that_cannot_be_is_refused_with_its_name() {
    let long = Path::new("/tmp").join("x".repeat(200));
    let error = UnixListener::bind(&long).unwrap_err();
    assert_eq!(error.source.raw_os_error(), Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()));
    assert_eq!(error.address, long.display().to_string());
    let missing = UnixListener::bind("/no/such/directory/control").unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn of_many_that_replace_a_dead_socket_at_once_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    for _ in 0..20 {
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(4);
        let results: Vec<_> = std::thread::scope(|scope| {
            let contenders: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        UnixListener::bind(&path)
                    })
                })
                .collect();
            contenders.into_iter().map(|contender| contender.join().unwrap()).collect()
        });
        let winners: Vec<_> = results.into_iter().filter_map(Result::ok).collect();
        assert_eq!(winners.len(), 1);
        let _client = UnixStream::connect(&path).unwrap();
        wait_readable(&winners[0]);
        assert!(winners[0].accept().unwrap().is_some(), "the path is the winner's");
        drop(winners);
        assert!(!path.exists());
    }
}
