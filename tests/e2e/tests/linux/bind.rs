//! Ports that cannot be bound: the call fails, says where and why, and nothing of it stays.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};

use portreeve_e2e::machine::{User, skip};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Outcome, Run, file_in, open_directory};

/// A run that must fail before its command starts.
fn failure(run: Run, words: &[&str]) -> Outcome {
    let outcome = run.command(&["echo", "started"]).outcome();
    assert_eq!(outcome.code, Some(125), "{outcome:?}");
    assert_eq!(outcome.out, "", "{outcome:?}");
    for word in words {
        assert!(outcome.err.contains(word), "no `{word}`: {outcome:?}");
    }
    outcome
}

#[test]
fn a_port_in_use() {
    isolated(|_| {
        for user in User::all() {
            for family in Family::BOTH {
                let tcp = TcpListener::bind((family.loopback(), 0)).unwrap();
                let at = tcp.local_addr().unwrap();
                let spec = format!("{}:80", at.port());
                let words = [&*format!("80/tcp on {at}"), "in use", "choose another"];
                failure(Run::by(user).publish(&spec), &words);
                failure(Run::by(user).publish(&format!("{at}:80")), &words);

                let udp = UdpSocket::bind((family.loopback(), 0)).unwrap();
                let at = udp.local_addr().unwrap();
                let spec = format!("{}:80/udp", at.port());
                failure(Run::by(user).publish(&spec), &[&format!("80/udp on {at}"), "in use"]);
            }
        }
    });
}

#[test]
fn a_port_without_the_right_to_it() {
    isolated(|_| {
        if !User::all().contains(&User::Ordinary) {
            return skip("ports below 1024: there is no ordinary user");
        }
        let sysctl = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        if fs::read_to_string(sysctl).is_ok_and(|start| start.trim() == "0") {
            return skip("ports below 1024: everybody may bind them here");
        }
        let run = || Run::by(User::Ordinary);
        failure(run().publish("80:80"), &["127.0.0.1:80", "Permission denied", "1024"]);
        failure(run().publish("[::1]:53:53/udp"), &["[::1]:53", "Permission denied"]);
    });
}

#[test]
fn an_address_that_is_not_the_hosts() {
    isolated(|_| {
        let spec = "192.0.2.1:8080:80";
        let words = ["192.0.2.1:8080", "Cannot assign requested address", "ip addr"];
        failure(Run::usual().publish(spec), &words);
        failure(Run::usual().publish("[2001:db8::1]:8080:80/udp"), &["[2001:db8::1]:8080"]);
        let unix = "unix:/nowhere/at/all:80";
        failure(Run::usual().publish(unix), &["/nowhere/at/all", "No such file"]);
        failure(Run::usual().publish("fd:77:80"), &["fd:77", "Bad file descriptor"]);
        if User::all().contains(&User::Ordinary) {
            let run = Run::by(User::Ordinary).publish("unix:/sys/http.sock:80");
            let outcome = failure(run, &["/sys/http.sock", "Permission denied"]);
            assert!(!outcome.err.contains("CAP_NET_BIND_SERVICE"), "no port: {outcome:?}");
        }
    });
}

/// Somebody's file is not in the way of a socket; the socket would be in its.
#[test]
fn a_path_that_is_taken() {
    isolated(|_| {
        for user in User::all() {
            let directory = open_directory();
            let (file, name) = file_in(&directory, "precious");
            fs::write(&file, "precious").unwrap();
            failure(Run::by(user).publish(&format!("unix:{name}:80")), &["precious"]);
            assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
            let (socket, name) = file_in(&directory, "socket");
            let _listener = UnixListener::bind(&socket).unwrap();
            failure(Run::by(user).publish(&format!("unix:{name}:80")), &["socket", "in use"]);
            UnixStream::connect(&socket).unwrap();
        }
    });
}

#[test]
fn a_list_of_ports_that_cannot_be_written() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").with(&["--ports-file", "/nowhere/ports"]);
        failure(run, &["/nowhere/ports", "No such file"]);
    });
}

#[test]
fn a_specification_that_is_none() {
    isolated(|_| {
        failure(Run::usual().publish("80:80:80:80"), &["80:80:80:80"]);
        failure(Run::usual().publish("8080:80/sctp"), &["sctp"]);
        failure(Run::usual().publish("127.0.0.1:80"), &["127.0.0.1::80"]);
    });
}

/// One that fails takes back those before it, while the engine goes on.
#[test]
fn nothing_half_started_stays() {
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let taken: SocketAddr = "[::1]:7002".parse().unwrap();
        let _taken = TcpListener::bind(taken).unwrap();
        // The ports before it are free again at once: the engine has let go of them.
        let words = ["[::1]:7002"];
        failure(Run::usual().publish("7000-7003:80-83"), &words);
        failure(Run::usual().publish("7001:81").publish("7002:82"), &words);
        for port in [7000, 7001, 7003] {
            for family in Family::BOTH {
                TcpListener::bind((family.loopback(), port)).unwrap();
            }
        }
        TcpListener::bind(("127.0.0.1", 7002)).unwrap();
    });
}
