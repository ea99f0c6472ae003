//! `portreeve serve`: every kind of socket, guests that come and go, and its own beginning and end.
//!
//! The guest is a namespace whose frames are carried over the socket as a VMM would.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portreeve_e2e::calls::Caller as _;
use portreeve_e2e::client::{ask, connect, download, exchange, udp, upload};
use portreeve_e2e::internet::Servers;
use portreeve_e2e::machine::{DEADLINE, eventually, has_tool};
use portreeve_e2e::network::{Family, Namespace, ip, isolated};
use portreeve_e2e::program;
use portreeve_e2e::run::open_directory;
use portreeve_e2e::serve::Serve;
use portreeve_e2e::socket_guest::{Cable, Framing, SocketGuest, datagram, seqpacket, stream};
use rustix::process::Signal;
use socket2::Socket;

const SERVICES: [&str; 5] = ["sink@80", "source=8388608@81", "line@82", "echo@83", "udp-echo@53"];
const PORTS: [&str; 10] =
    ["-p", "0:80", "-p", "0:81", "-p", "0:82", "-p", "0:83", "-p", "0:53/udp"];

fn up(options: &[&str]) -> Serve {
    Serve::up(&[&PORTS, options].concat(), "53/udp")
}

/// Everything that a guest is served with, through a cable that is plugged in.
fn serves_well(serve: &Serve, guest: &SocketGuest, port: u16) {
    for family in Family::BOTH {
        let to = |port| serve.published(port, family);
        assert_eq!(upload(to("80/tcp"), 8 << 20), "8388608 ok");
        assert_eq!(download(to("81/tcp")), "8388608 ok");
        let datagram = vec![7; 9000];
        assert_eq!(ask(&udp(to("53/udp")), &datagram).unwrap(), datagram);
    }
    guest.expect(&format!("tcp line 10.213.77.1:{port} word=hello"), "hello");
}

/// A service of the test's own host that answers a line.
fn host_service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut line = [0; 64];
            let length = stream.read(&mut line).unwrap_or(0);
            let _ = stream.write_all(&line[..length]);
        }
    });
    port
}

#[test]
fn every_kind_of_socket_carries_everything() {
    isolated(|_| {
        let Some(guest) = SocketGuest::serve(&SERVICES) else { return };
        let port = host_service();
        let allow = format!("--allow-host={port}");
        let plugged = |socket: Socket, framing| guest.attach(socket, framing);
        type Plug<'a> = &'a dyn Fn(&Path, &Path) -> Cable;
        let kinds: [(&[&str], Plug<'_>); 5] = [
            (&["--stream", "{}/s"], &|path, _| plugged(stream(path), Framing::Qemu)),
            (&["--hyperkit", "{}/s"], &|path, _| plugged(stream(path), Framing::HyperKit)),
            (&["--seqpacket", "{}/s"], &|path, _| plugged(seqpacket(path), Framing::Packets)),
            (&["--dgram", "{}/s,{}/own"], &|path, own| {
                plugged(datagram(own, path), Framing::Packets)
            }),
            (&["--vfkit", "{}/s"], &|path, own| {
                let socket = datagram(own, path);
                assert_eq!(socket.send(b"VFKT").unwrap(), 4);
                plugged(socket, Framing::Packets)
            }),
        ];
        for (options, plug) in kinds {
            let serve = up(&[options, &[&*allow]].concat());
            let cable = plug(&serve.path("s"), &serve.path("own"));
            serves_well(&serve, &guest, port);
            drop(cable);
            serve.stop();
        }
    });
}

#[test]
fn it_connects_where_the_machine_listens_and_again() {
    isolated(|_| {
        let Some(guest) = SocketGuest::serve(&SERVICES) else { return };
        let directory = open_directory();
        let path = directory.path().join("vmm");
        let listener = UnixListener::bind(&path).unwrap();
        let serve = up(&["--stream-connect", path.to_str().unwrap()]);
        let mut at = None;
        for _ in 0..2 {
            let (socket, _) = listener.accept().unwrap();
            let socket = Socket::from(std::os::fd::OwnedFd::from(socket));
            let cable = guest.attach(socket, Framing::Qemu);
            let port = serve.published("82/tcp", Family::V4);
            assert_eq!(*at.get_or_insert(port), port);
            assert_eq!(exchange(port, "hello").unwrap(), "hello\n");
            drop(cable);
            serve.hear("the guest is gone: it closed the connection");
        }
        serve.stop();
    });
}

#[test]
fn the_next_guest_finds_its_ports_and_the_old_ones_clients_are_reset() {
    isolated(|_| {
        let Some(guest) = SocketGuest::serve(&SERVICES) else { return };
        let serve = up(&["--stream", "{}/s"]);
        let path = serve.path("s");
        let echo = serve.published("83/tcp", Family::V4);
        for _ in 0..3 {
            let cable = guest.attach(stream(&path), Framing::Qemu);
            let mut client = connect(echo);
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0; 1]).unwrap();
            drop(cable);
            let error = client.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        // While nobody is there, clients wait; whoever comes in time answers them.
        let client = std::thread::spawn(move || {
            let mut client = connect(echo);
            client.write_all(b"x").and_then(|()| client.read_exact(&mut [0; 1])).unwrap();
        });
        std::thread::sleep(Duration::from_millis(200));
        let _cable = guest.attach(stream(&path), Framing::Qemu);
        client.join().unwrap();
        serve.stop();
    });
}

#[test]
fn garbage_is_told_and_closes_that_connection_only() {
    isolated(|_| {
        let Some(guest) = SocketGuest::serve(&SERVICES) else { return };
        let serve = up(&["--stream", "{}/s"]);
        let path = serve.path("s");
        for (garbage, told) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "(its length reads \"GET \": text?)"),
            (&[0xff; 64], "a frame of length 4294967295"),
            (&[0; 64], "a frame of length 0"),
        ] {
            let mut stranger = UnixStream::connect(&path).unwrap();
            stranger.write_all(garbage).unwrap();
            stranger.set_read_timeout(Some(DEADLINE)).unwrap();
            // Closed, in order or, as it left bytes unread, by a reset.
            let end = stranger.read(&mut [0; 1]).map_err(|error| error.kind());
            assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
            let line = serve.hear(told);
            assert!(line.contains("the guest is gone"), "{line}");
        }
        // Frames that are none, in a framing that is right.
        let mut odd = UnixStream::connect(&path).unwrap();
        for length in [1_u32, 13, 14, 60, 1514, 65_550] {
            odd.write_all(&length.to_be_bytes()).unwrap();
            odd.write_all(&vec![0xaa; length as usize]).unwrap();
        }
        drop(odd);
        // Who calls before that is the old guest's, and reset with it.
        serve.hear("it closed the connection");
        let _cable = guest.attach(stream(&path), Framing::Qemu);
        assert_eq!(exchange(serve.published("82/tcp", Family::V4), "hello").unwrap(), "hello\n");
        serve.stop();
    });
}

#[test]
fn it_ends_with_its_guest_if_asked() {
    isolated(|_| {
        let serve = up(&["--stream", "{}/s", "--exit-with-guest"]);
        drop(UnixStream::connect(serve.path("s")).unwrap());
        let (code, err) = serve.end();
        assert_eq!(code, Some(0), "{err}");
        assert!(err.contains("the guest is gone: it closed the connection"), "{err}");
    });
}

/// As with Firecracker, which opens its own TAP for itself alone: another one and a bridge.
#[test]
fn a_tap_and_a_bridge_reach_a_machine_with_a_tap_of_its_own() {
    isolated(|network| {
        if !network.is_own() || !has_tool("ip", "iproute2") {
            return;
        }
        let machine = Namespace::empty();
        let place = machine.path();
        ip(&format!(
            "tuntap add dev tap0 mode tap\nlink set tap0 addrgenmode none up\n\
             link add br0 type bridge\nlink set br0 addrgenmode none up\n\
             link add vm0 type veth peer name eth0 netns {place}\n\
             link set vm0 addrgenmode none up\n\
             link set tap0 master br0\nlink set vm0 master br0\n",
        ));
        let serve = up(&["--tap", "tap0", "--allow-host"]);
        let port = host_service();
        let _services = machine.run(|| {
            ip("link set lo up\nlink set eth0 up\naddr add 10.213.77.2/24 dev eth0\n\
                route add default via 10.213.77.1\n");
            Servers::start(&SERVICES)
        });
        let to = |port| serve.published(port, Family::V4);
        assert_eq!(upload(to("80/tcp"), 8 << 20), "8388608 ok");
        assert_eq!(download(to("81/tcp")), "8388608 ok");
        let answer = machine.run(|| exchange(([10, 213, 77, 1], port).into(), "hello"));
        assert_eq!(answer.unwrap(), "hello\n");
        serve.stop();
    });
}

/// A shell gives what it was given a number: nothing else of this process may be inherited.
fn with_descriptor(number: &str, fd: impl Into<std::process::Stdio>, options: &str) -> Serve {
    let directory = open_directory();
    let program = program::portreeve().to_str().unwrap();
    let mut command = Command::new("sh");
    let script = format!("exec {number}<&1 {program} serve -p 0:82 {options}");
    command.args(["-c", &script]).stdout(fd).current_dir(directory.path());
    Serve::spawn(command, directory)
}

#[test]
fn a_descriptor_is_taken_over_whatever_it_is() {
    isolated(|_| {
        let Some(guest) = SocketGuest::serve(&SERVICES) else { return };
        // One that is connected is good for one guest.
        let (theirs, ours) = UnixStream::pair().unwrap();
        let serve = with_descriptor("5", std::os::fd::OwnedFd::from(theirs), "--fd 5 >/dev/null");
        let cable = guest.attach(Socket::from(std::os::fd::OwnedFd::from(ours)), Framing::Qemu);
        assert_eq!(exchange(serve.published("82/tcp", Family::V4), "hello").unwrap(), "hello\n");
        drop(cable);
        let (code, err) = serve.end();
        assert_eq!(code, Some(125), "{err}");
        assert!(err.contains("no other can come") && err.contains("--exit-with-guest"), "{err}");

        // One that listens is good for many.
        let directory = open_directory();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let fd = std::os::fd::OwnedFd::from(listener);
        let serve = with_descriptor("5", fd, "--fd 5 --fd-kind stream >/dev/null");
        for _ in 0..2 {
            let cable = guest.attach(stream(&path), Framing::Qemu);
            let port = serve.published("82/tcp", Family::V4);
            assert_eq!(exchange(port, "hello").unwrap(), "hello\n");
            drop(cable);
            serve.hear("it closed the connection");
        }
        serve.stop();

        let (theirs, ours) = UnixDatagram::pair().unwrap();
        let fd = std::os::fd::OwnedFd::from(theirs);
        let serve = with_descriptor("5", fd, "--fd 5 >/dev/null");
        let ours = Socket::from(std::os::fd::OwnedFd::from(ours));
        let _cable = guest.attach(ours, Framing::Packets);
        assert_eq!(exchange(serve.published("82/tcp", Family::V4), "hello").unwrap(), "hello\n");
        serve.stop();
    });
}

#[test]
fn readiness_is_told_when_the_ports_are_bound() {
    isolated(|_| {
        let directory = open_directory();
        let place = directory.path().join("notify");
        let manager = UnixDatagram::bind(&place).unwrap();
        manager.set_read_timeout(Some(DEADLINE)).unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let program = program::portreeve().to_str().unwrap();
        let script = format!(
            "exec 7>&1 >/dev/null {program} serve --stream s -p 8080:80 --ports-file p --ready-fd 7"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdout(writer).env("NOTIFY_SOCKET", &place);
        command.current_dir(directory.path());
        let serve = Serve::spawn(command, directory);
        let mut told = String::new();
        // To the end, which comes although the process goes on.
        reader.read_to_string(&mut told).unwrap();
        assert_eq!(told, "\n");
        connect("127.0.0.1:8080".parse().unwrap());
        let ports = std::fs::read_to_string(serve.path("p")).unwrap();
        assert!(ports.contains("80/tcp -> 127.0.0.1:8080"), "{ports}");
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        let told = std::str::from_utf8(&message[..length]).unwrap();
        let ports = "80/tcp -> 127.0.0.1:8080, 80/tcp -> [::1]:8080";
        assert_eq!(told, format!("READY=1\nSTATUS={ports}\n"));
        let (socket, ports) = (serve.path("s"), serve.path("p"));
        serve.signal(Signal::INT);
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"STOPPING=1\n");
        eventually("the socket and the list of ports are removed", || {
            !socket.exists() && !ports.exists()
        });
        let (code, err) = serve.end();
        assert_eq!(code, Some(0), "{err}");
    });
}

#[test]
fn what_cannot_be_had_is_said_with_what_would_help() {
    isolated(|_| {
        let directory = open_directory();
        let taken = directory.path().join("taken");
        let _listener = UnixListener::bind(&taken).unwrap();
        let taken = taken.to_str().unwrap();
        let cases: [(&[&str], &str); 9] = [
            (&["--stream", taken], "the path is in use"),
            (&["--dgram", taken], "the path is in use"),
            (&["--stream", "{}/no/such"], "there is no such path"),
            (&["--stream-connect", "{}/nobody"], "start the other side first"),
            (&["--tap", "nosuch0"], "there is no such interface"),
            (&["--fd", "77"], "--fd 77:"),
            (&["--fd", "vm"], "--fd vm: no socket of this name was handed over"),
            (&["--stream", "{}/s", "-p", "auto"], "cannot be seen"),
            (&["--stream", "{}/s", "--ready-fd", "77"], "--ready-fd 77:"),
        ];
        for (options, words) in cases {
            let (code, err) = Serve::start(options).end();
            assert_eq!(code, Some(125), "{options:?}: {err}");
            assert!(err.contains(words), "{options:?}: {err}");
        }
        let (theirs, _ours) = UnixDatagram::pair().unwrap();
        let fd = std::os::fd::OwnedFd::from(theirs);
        let (code, err) = with_descriptor("5", fd, "--fd 5 --fd-kind stream >/dev/null").end();
        assert_eq!(code, Some(125), "{err}");
        assert!(err.contains("a socket of the wrong type"), "{err}");
    });
}
