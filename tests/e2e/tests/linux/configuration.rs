//! The configuration file: read, overridden, shown, checked, reread; and what a service manager
//! hands over and is told.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use portreeve_e2e::client::{ask, connect, exchange, try_connect, udp};
use portreeve_e2e::machine::{DEADLINE, eventually};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::program;
use portreeve_e2e::run::{Run, file_in, open_directory};
use portreeve_e2e::serve::Serve;
use portreeve_e2e::socket_guest::{Framing, SocketGuest, stream};
use rustix::process::Signal;

fn portreeve(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program::portreeve());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.env_remove("PORTREEVE_LOG").spawn().expect("it starts");
    // It may end without having read any of it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("our child")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A service manager that is told things.
struct Manager {
    socket: UnixDatagram,
    place: PathBuf,
}

impl Manager {
    fn at(place: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&place).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, place }
    }

    fn hears(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        text(&message[..length])
    }
}

/// `portreeve serve` with this configuration in a directory of its own; `{}` is that directory.
fn serve(configuration: &str) -> (Serve, Manager, PathBuf) {
    let directory = open_directory();
    let path = directory.path().join("web.toml");
    write(&path, configuration);
    let manager = Manager::at(directory.path().join("notify"));
    let mut command = Command::new(program::portreeve());
    command.args(["serve", "--config"]).arg(&path).env("NOTIFY_SOCKET", &manager.place);
    (Serve::spawn(command, directory), manager, path)
}

/// Writes a configuration whose `{}` is its own directory.
fn write(path: &Path, configuration: &str) {
    let place = path.parent().and_then(Path::to_str).unwrap();
    fs::write(path, configuration.replace("{}", place)).unwrap();
}

#[test]
fn a_file_says_what_is_run_and_the_command_line_has_the_last_word() {
    isolated(|_| {
        let directory = open_directory();
        let (path, name) = file_in(&directory, "web.yaml");
        let guest = Run::usual().guest_program();
        let words = format!("[{guest:?}, serve, line@80, line@81]");
        write(&path, &format!("name: file\npublish: ['0:80']\ncommand: {words}\nquiet: false\n"));
        let run = Run::usual().with(&["--config", &name, "-p", "0:81"]).up();
        for port in [80, 81] {
            assert_eq!(exchange(run.tcp(port, Family::V4), "hello").unwrap(), "hello\n");
        }
        run.finish();

        let run = Run::usual().with(&["--config", &name, "--name", "line", "--quiet"]);
        let outcome = run.command(&["uname", "-n"]).outcome();
        assert_eq!((outcome.code, &*outcome.out), (Some(0), "line\n"), "{outcome:?}");
        assert!(!outcome.err.contains("80/tcp"), "{outcome:?}");
    });
}

#[test]
fn what_is_shown_is_what_would_be_done() {
    let directory = open_directory();
    let (path, name) = file_in(&directory, "web.toml");
    write(
        &path,
        "publish = ['8080:80']\nname = 'web'\nlimits.max_flows = 7\ncommand = ['false']\n",
    );
    let options =
        ["--source", "preserve", "-p", "81", "--add-host", "db:10.0.0.7", "--mtu", "9000"];
    let arguments = [&["run", "--config", &name, "--dry-run"][..], &options].concat();
    let shown = portreeve(&arguments, "");
    assert!(shown.status.success(), "{shown:?}");
    let shown = text(&shown.stdout);
    for line in [
        "publish = [\"8080:80\", \"81\"]",
        "max_flows = 7",
        "mtu = 9000",
        "source = \"preserve\"",
        "command = [\"false\"]",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    // It is a configuration that means the same, from standard input as well.
    let again = portreeve(&["run", "--config", "-", "--format", "toml", "--dry-run"], &shown);
    assert_eq!(text(&again.stdout), shown);
    let json = portreeve(&["run", "--config", &name, "--dry-run=json"], "");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["limits"]["max_flows"], 7);
}

#[test]
fn check_shows_every_wrong_line_and_what_a_right_file_asks_for() {
    let directory = open_directory();
    let (path, name) = file_in(&directory, "web.toml");
    write(&path, "publish = ['8080:80', '80:']\n\n[limits]\nmax_flow = 7\nmailbox = 0\n");
    let checked = portreeve(&["check", &name], "");
    assert_eq!(checked.status.code(), Some(1));
    let said = text(&checked.stderr);
    for part in ["web.toml:1:27", "web.toml:4:1", "did you mean `max_flows`?", "web.toml:5:11"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for command in [&["run", "--config", &name, "true"][..], &["serve", "--config", &name]] {
        let refused = portreeve(command, "");
        assert_eq!(refused.status.code(), Some(125));
        assert!(text(&refused.stderr).contains("web.toml:4:1"), "{refused:?}");
    }

    write(&path, "publish = ['8080:80']\nlink.tap = 'tap0'\n");
    let checked = portreeve(&["check", &name], "");
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let said = text(&checked.stdout);
    assert!(said.contains("attach to the TAP device tap0") && said.contains("8080:80"), "{said}");
    let refused = portreeve(&["run", "--config", &name, "true"], "");
    assert!(text(&refused.stderr).contains("`link` is for `portreeve serve` only"), "{refused:?}");

    let checked = portreeve(&["check", "-", "--format", "json"], "{\"quiet\": 1}");
    assert_eq!(checked.status.code(), Some(1));
    assert!(text(&checked.stderr).contains("expected true or false"), "{checked:?}");
    let schema = portreeve(&["check", "--schema"], "");
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema["properties"]["publish"].is_object());
}

#[test]
fn a_reload_changes_ports_while_connections_go_on() {
    isolated(|_| {
        let Some(guest) = SocketGuest::serve(&["line@82", "echo@83"]) else { return };
        let (serve, manager, path) = serve("publish = ['0:83']\nlink.stream = '{}/s'\n");
        let old = serve.published("83/tcp", Family::V4);
        let ready = manager.hears();
        assert!(ready.starts_with("READY=1\nSTATUS=83/tcp -> "), "{ready}");
        let _cable = guest.attach(stream(&serve.path("s")), Framing::Qemu);
        let mut open = connect(old);
        says_and_hears(&mut open, b"before");

        write(
            &path,
            "publish = ['0:82']\nlink.stream = '{}/s'\naddresses.mtu = 1400\n\
             limits = { max_flows = 77, mailbox = 300 }\n\
             dns.records = [{ name = 'db.test', addresses = ['10.0.0.7'] }]\n",
        );
        serve.signal(Signal::HUP);
        let reloading = manager.hears();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        let ready = manager.hears();
        assert!(ready.starts_with("READY=1\nSTATUS=82/tcp -> "), "{ready}");
        let new = serve.published("82/tcp", Family::V4);
        assert_eq!(exchange(new, "hello").unwrap(), "hello\n");
        let said = serve.err.so_far();
        for words in [
            "reloaded limits.max_flows: is 77",
            "reloaded dns.records[db.test]: is 10.0.0.7",
            "limits.mailbox needs a restart: 300 in the file",
            "addresses.mtu needs a restart: 1500 now, 1400 in the file",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        eventually("the old port is closed", || try_connect(old).is_err());
        says_and_hears(&mut open, b"behind");

        // What is wrong changes nothing.
        write(&path, "publish = ['0:82', '0:83'\n");
        serve.signal(Signal::HUP);
        serve.hear("nothing was reloaded");
        assert!(serve.err.so_far().contains("web.toml:"), "{}", serve.err.so_far());
        assert!(manager.hears().starts_with("RELOADING=1\n"));
        assert!(manager.hears().starts_with("READY=1\nSTATUS=82/tcp -> "));
        assert_eq!(exchange(new, "hello").unwrap(), "hello\n");
        says_and_hears(&mut open, b"at last");
        drop(open);

        serve.signal(Signal::TERM);
        assert_eq!(manager.hears(), "STOPPING=1\n");
        let (code, err) = serve.end();
        assert_eq!(code, Some(0), "{err}");
    });
}

fn says_and_hears(open: &mut TcpStream, words: &[u8]) {
    open.set_read_timeout(Some(DEADLINE)).unwrap();
    open.write_all(words).unwrap();
    let mut heard = vec![0; words.len()];
    open.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

#[test]
fn a_port_that_cannot_be_had_is_tried_again_at_the_next_reload() {
    isolated(|_| {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let (serve, manager, path) = serve("link.stream = '{}/s'\n");
        assert_eq!(manager.hears(), "READY=1\nSTATUS=no ports are published\n");
        write(&path, &format!("publish = ['{port}:80', '0:81']\nlink.stream = '{{}}/s'\n"));
        serve.signal(Signal::HUP);
        serve.hear(&format!("publish[{port}:80]: "));
        serve.published("81/tcp", Family::V4);
        drop(taken);
        serve.signal(Signal::HUP);
        assert_eq!(serve.published("80/tcp", Family::V4).port(), port);
        serve.stop();
    });
}

#[test]
fn a_reload_is_ordered_through_the_control_api_too() {
    isolated(|_| {
        let private = tempfile::tempdir().unwrap();
        let (socket, name) = file_in(&private, "engine/control.sock");
        let control = format!("control.socket = '{name}'\nlink.stream = '{{}}/s'\n");
        let (serve, manager, path) = serve(&control);
        assert_eq!(manager.hears(), "READY=1\nSTATUS=no ports are published\n");
        assert!(socket.exists());
        let ask = |command| portreeve(&[command, "-s", &name], "");
        write(&path, &format!("publish = ['0:80']\nlimits.mailbox = 9\n{control}"));
        let done = ask("reload");
        let said = text(&done.stdout);
        assert!(done.status.success(), "{done:?}");
        let at = serve.published("80/tcp", Family::V4);
        assert!(said.contains(&format!("published at {at}")), "{said}");
        assert!(said.contains("limits.mailbox"), "{said}");
        let shown = text(&ask("config").stdout);
        assert!(shown.contains("publish = [\"80\"]"), "{shown}");

        write(&path, "publish = ['0:80',\n");
        let wrong = ask("reload");
        assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
        assert!(text(&wrong.stderr).contains("web.toml"), "{wrong:?}");
        assert_eq!(serve.published("80/tcp", Family::V4), at);
        serve.stop();
    });
}

#[test]
fn a_reload_does_not_disturb_the_command() {
    isolated(|_| {
        let directory = open_directory();
        let (path, name) = file_in(&directory, "web.toml");
        write(&path, "publish = ['0:80']\n");
        let run = Run::usual().with(&["--config", &name]).serve(&["line@80", "line@81"]).up();
        let at = run.tcp(80, Family::V4);
        write(&path, "publish = ['0:80', '0:81']\n");
        run.signal(Signal::HUP);
        assert_eq!(exchange(run.tcp(81, Family::V4), "hello").unwrap(), "hello\n");
        assert_eq!(exchange(at, "hello").unwrap(), "hello\n");
        run.finish();
    });
}

#[test]
fn without_a_file_that_signal_means_what_it_always_meant() {
    isolated(|_| {
        let serve = Serve::up(&["--stream", "{}/s", "-p", "0:80"], "80/tcp");
        serve.signal(Signal::HUP);
        assert_eq!(serve.end().0, None);
    });
}

/// Starts a command as a service manager that hands sockets over: `http` and, for datagrams, `dns`.
fn activated(tcp: TcpListener, datagrams: UdpSocket, arguments: &str, pid: &str) -> Command {
    let program = program::portreeve().to_str().unwrap();
    let script = format!(
        "LISTEN_PID={pid} LISTEN_FDS=2 LISTEN_FDNAMES=http:dns \
         exec {program} {arguments} 3<&0 4<&1 </dev/null >/dev/null"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(OwnedFd::from(tcp)).stdout(OwnedFd::from(datagrams));
    command
}

#[test]
fn sockets_that_are_handed_over_are_published_by_their_names() {
    isolated(|_| {
        let Some(guest) = SocketGuest::serve(&["line@82", "udp-echo@53"]) else { return };
        let sockets = || {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
            let at = (tcp.local_addr().unwrap(), datagrams.local_addr().unwrap());
            (tcp, datagrams, at)
        };
        let (tcp, datagrams, at) = sockets();
        let directory = open_directory();
        let arguments = "serve --stream s -p fd:http:82 -p fd:dns:53/udp";
        let mut command = activated(tcp, datagrams, arguments, "$$");
        command.current_dir(directory.path()).stderr(Stdio::piped());
        let serve = Serve::spawn_as_given(command, directory);
        assert_eq!(serve.published("82/tcp", Family::V4), at.0);
        assert_eq!(serve.published("53/udp", Family::V4), at.1);
        let _cable = guest.attach(stream(&serve.path("s")), Framing::Qemu);
        assert_eq!(exchange(at.0, "hello").unwrap(), "hello\n");
        assert_eq!(ask(&udp(at.1), b"hello").unwrap(), b"hello");
        serve.stop();

        // Meant for somebody else, or under another name.
        for (pid, spec, words) in [
            ("1", "fd:http:82", "no socket was handed over"),
            ("$$", "fd:web:82", "of this name was handed over, only http, dns"),
            ("$$", "fd:dns:82", "no tcp socket"),
        ] {
            let (tcp, datagrams, _) = sockets();
            let arguments = format!("serve --stream s -p {spec}");
            let directory = open_directory();
            let mut command = activated(tcp, datagrams, &arguments, pid);
            command.current_dir(directory.path()).stderr(Stdio::piped());
            let (code, err) = Serve::spawn_as_given(command, directory).end();
            assert_eq!(code, Some(125), "{err}");
            assert!(err.contains(words), "{spec}: {err}");
        }
    });
}

#[test]
fn the_command_inherits_none_of_them() {
    isolated(|_| {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let list = "run -p fd:http:80 -- sh -c 'ls -l /proc/self/fd >&2'";
        let mut command = activated(tcp, datagrams, list, "$$");
        let outcome = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert!(outcome.status.success(), "{outcome:?}");
        let said = text(&outcome.stderr);
        assert!(said.contains("80/tcp -> 127.0.0.1:"), "{said}");
        assert!(said.contains(" -> ") && !said.contains("socket:"), "{said}");
    });
}
