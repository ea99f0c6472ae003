//! TCP listeners on loopback: what they take over, report and survive.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod readiness;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use portreeve_host::{ErrorClass, ListenOptions, Peer, TcpListener, fd_limit, raise_fd_limit};
use readiness::{has_ipv6, wait_readable};
use rustix::process::{Resource, Rlimit, setrlimit};

fn bind(address: &str) -> TcpListener {
    TcpListener::bind(address.parse().unwrap(), &ListenOptions::default()).unwrap()
}

#[test]
fn the_kernels_choice_of_port_is_reported() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        if address.starts_with('[') && !has_ipv6() {
            continue;
        }
        let listener = bind(address);
        assert_ne!(listener.local_addr().port(), 0);
        let client = std::net::TcpStream::connect(listener.local_addr()).unwrap();
        wait_readable(&listener);
        let accepted = listener.accept().unwrap().unwrap();
        assert_eq!(accepted.peer, Peer::Inet(client.local_addr().unwrap()));
        assert_eq!(accepted.local, Some(client.peer_addr().unwrap()));
        assert!(listener.accept().unwrap().is_none(), "one call, one connection");
    }
}

#[test]
fn a_wildcard_tells_which_address_the_client_used() {
    let listener = bind("0.0.0.0:0");
    let port = listener.local_addr().port();
    let _client = std::net::TcpStream::connect(("127.0.0.9", port)).unwrap();
    wait_readable(&listener);
    let accepted = listener.accept().unwrap().unwrap();
    assert_eq!(accepted.local, Some(SocketAddr::new("127.0.0.9".parse().unwrap(), port)));
}

#[test]
fn an_ipv6_wildcard_leaves_ipv4_alone() {
    if !has_ipv6() {
        return;
    }
    let v6 = bind("[::]:0");
    let port = v6.local_addr().port();
    let refused = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    bind(&format!("0.0.0.0:{port}"));
}

#[test]
fn a_bind_that_fails_says_what_and_where() {
    let first = bind("127.0.0.1:0");
    let address = first.local_addr();
    let error = TcpListener::bind(address, &ListenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(error.address, address.to_string());
    assert_eq!(error.class(), ErrorClass::Other);

    let elsewhere = "192.0.2.77:80".parse().unwrap();
    let error = TcpListener::bind(elsewhere, &ListenOptions::default()).unwrap_err();
    assert_eq!((error.operation, error.kind()), ("bind", io::ErrorKind::AddrNotAvailable));
}

#[test]
fn a_port_in_time_wait_can_be_bound_again() {
    let listener = bind("127.0.0.1:0");
    let address = listener.local_addr();
    let client = std::net::TcpStream::connect(address).unwrap();
    wait_readable(&listener);
    // The side that closes first keeps the connection in TIME-WAIT.
    drop(listener.accept().unwrap().unwrap());
    drop(client);
    drop(listener);
    bind(&address.to_string());
}

#[test]
fn an_interface_limits_who_can_connect() {
    let options = ListenOptions { interface: Some("lo".to_owned()), ..Default::default() };
    let listener = match TcpListener::bind("0.0.0.0:0".parse().unwrap(), &options) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return readiness::skip("no right to bind to an interface");
        }
        Err(error) => panic!("{error}"),
    };
    let port = listener.local_addr().port();
    let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    wait_readable(&listener);
    assert!(listener.accept().unwrap().is_some());

    let missing = ListenOptions { interface: Some("no-such-if".to_owned()), ..Default::default() };
    let error = TcpListener::bind("0.0.0.0:0".parse().unwrap(), &missing).unwrap_err();
    assert_eq!(error.address, "no-such-if");
}

#[test]
fn a_listener_from_elsewhere_is_taken_over() {
    let made = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = made.local_addr().unwrap();
    let listener = TcpListener::from_fd(OwnedFd::from(made)).unwrap();
    assert_eq!(listener.local_addr(), address);
    assert!(listener.accept().unwrap().is_none(), "it does not block");
    let _client = std::net::TcpStream::connect(address).unwrap();
    wait_readable(&listener);
    let accepted = listener.accept().unwrap().unwrap();
    assert!(rustix::net::sockopt::tcp_nodelay(&accepted.stream).unwrap());
}

#[test]
fn a_dual_stack_listener_from_elsewhere_speaks_of_ipv4() {
    if !has_ipv6() {
        return;
    }
    // The standard library leaves IPv6 wildcards open to IPv4.
    let made = std::net::TcpListener::bind("[::]:0").unwrap();
    if rustix::net::sockopt::ipv6_v6only(&made).unwrap() {
        return readiness::skip("this host makes IPv6 sockets IPv6-only");
    }
    let listener = TcpListener::from_fd(OwnedFd::from(made)).unwrap();
    let client = std::net::TcpStream::connect(("127.0.0.1", listener.local_addr().port())).unwrap();
    wait_readable(&listener);
    let accepted = listener.accept().unwrap().unwrap();
    assert_eq!(accepted.peer, Peer::Inet(client.local_addr().unwrap()));
    assert_eq!(accepted.local, Some(client.peer_addr().unwrap()));
}

#[test]
fn what_does_not_listen_is_not_taken_over() {
    let listener = bind("127.0.0.1:0");
    let connected = std::net::TcpStream::connect(listener.local_addr()).unwrap();
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let unix = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
    for fd in [OwnedFd::from(connected), OwnedFd::from(datagram), OwnedFd::from(unix)] {
        let error = TcpListener::from_fd(fd).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_client_that_reset_before_accept_does_not_harm_the_listener() {
    let listener = bind("127.0.0.1:0");
    let client = std::net::TcpStream::connect(listener.local_addr()).unwrap();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    std::thread::sleep(Duration::from_millis(20));
    if let Err(error) = listener.accept() {
        assert_eq!(error.class(), ErrorClass::ConnectionAborted);
    }
    let _client = std::net::TcpStream::connect(listener.local_addr()).unwrap();
    wait_readable(&listener);
    assert!(listener.accept().unwrap().is_some());
}

/// Runs the named test of this binary again in a process of its own, whose limits it may lower;
/// true in that process.
fn in_own_process(test: &str) -> bool {
    if std::env::var_os(OWN_PROCESS).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(OWN_PROCESS, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "the test ran there: {text}");
    false
}

const OWN_PROCESS: &str = "PORTREEVE_TEST_OWN_PROCESS";

#[test]
fn out_of_descriptors_the_connection_waits_and_is_taken_later() {
    if !in_own_process("out_of_descriptors_the_connection_waits_and_is_taken_later") {
        return;
    }
    let listener = bind("127.0.0.1:0");
    let _client = std::net::TcpStream::connect(listener.local_addr()).unwrap();
    wait_readable(&listener);
    let (_, hard) = fd_limit();
    let low = Rlimit { current: Some(64), maximum: Some(hard) };
    setrlimit(Resource::Nofile, low).unwrap();
    let mut held: Vec<OwnedFd> = Vec::new();
    let last = loop {
        match rustix::io::fcntl_dupfd_cloexec(&listener, 0) {
            Ok(fd) => held.push(fd),
            Err(errno) => break errno,
        }
        assert!(held.len() < 100);
    };
    assert_eq!(last, rustix::io::Errno::MFILE);
    for _ in 0..3 {
        let error = listener.accept().unwrap_err();
        assert_eq!(error.class(), ErrorClass::ProcessDescriptors);
        assert!(error.class().is_exhaustion());
    }
    let dialled = portreeve_host::dial(listener.local_addr(), &Default::default()).unwrap_err();
    assert_eq!(dialled.class(), ErrorClass::ProcessDescriptors);
    assert_eq!(dialled.operation, "socket");
    held.pop();
    assert!(listener.accept().unwrap().is_some(), "nothing was lost");
}

#[test]
fn the_limit_of_descriptors_can_be_raised_to_the_hard_one() {
    if !in_own_process("the_limit_of_descriptors_can_be_raised_to_the_hard_one") {
        return;
    }
    let (_, hard) = fd_limit();
    let maximum = (hard != u64::MAX).then_some(hard);
    setrlimit(Resource::Nofile, Rlimit { current: Some(50), maximum }).unwrap();
    assert_eq!(fd_limit(), (50, hard));
    assert_eq!(raise_fd_limit().unwrap(), hard);
    assert_eq!(fd_limit(), (hard, hard));
    assert_eq!(raise_fd_limit().unwrap(), hard);
}
