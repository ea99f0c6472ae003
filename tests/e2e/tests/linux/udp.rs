//! Datagrams: every size both ways, from the address that was asked, to whom they are for.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use portreeve_e2e::client::{ask, udp};
use portreeve_e2e::content::{self, Way};
use portreeve_e2e::machine::{User, descriptors, skip};
use portreeve_e2e::network::{Elsewhere, Family, isolated};
use portreeve_e2e::run::Run;

/// None, one, what fits a packet of 1500, one more, what needs several, and the most there is.
const SIZES: [usize; 8] = [0, 1, 1452, 1472, 1473, 9000, 65_506, 65_507];

/// One datagram and its answer; a datagram may be lost on a busy machine, but not three in a row.
fn exchange(to: SocketAddr, request: &[u8]) -> Vec<u8> {
    let socket = udp(to);
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let answer = (0..3).find_map(|_| ask(&socket, request).ok());
    answer.unwrap_or_else(|| panic!("{} bytes to {to}: no answer", request.len()))
}

#[test]
fn every_size_both_ways() {
    isolated(|_| {
        for mtu in ["1500", "1280", "9000", "65520"] {
            for user in User::all() {
                let run = Run::by(user).with(&["--mtu", mtu]).publish("0:80/udp");
                let run = run.publish("0:81/udp").serve(&["udp-echo@80", "udp-source@81"]).up();
                for family in Family::BOTH {
                    for size in SIZES {
                        let request = content::bytes(Way::ToGuest, size);
                        let answer = exchange(run.udp(80, family), &request);
                        assert!(answer == request, "{size}: {} bytes back", answer.len());
                        let answer = exchange(run.udp(81, family), size.to_string().as_bytes());
                        let expected = content::bytes(Way::FromGuest, size);
                        assert!(answer == expected, "{size}: {} bytes", answer.len());
                    }
                }
                run.finish();
            }
        }
    });
}

#[test]
fn every_size_from_another_host() {
    isolated(|network| {
        let Some(elsewhere) = network.elsewhere() else { return };
        let run = Run::usual().publish("0.0.0.0:7000:80/udp").publish("[::]:7000:80/udp");
        let run = run.serve(&["udp-echo@80"]).up();
        for family in Family::BOTH {
            // A connected socket takes answers from that address and port only.
            for host in Elsewhere::host(family) {
                elsewhere.run(|| {
                    for size in SIZES {
                        let request = content::bytes(Way::ToGuest, size);
                        let answer = exchange((host, 7000).into(), &request);
                        assert!(answer == request, "{size}: {} bytes back", answer.len());
                    }
                });
            }
        }
        run.finish();
    });
}

#[test]
fn an_answer_reaches_who_asked_and_nobody_else() {
    isolated(|_| {
        for source in ["gateway", "preserve"] {
            let run = Run::usual().with(&["--source", source]).publish("0:80/udp");
            let run = run.serve(&["udp-echo@80"]).up();
            for family in Family::BOTH {
                let to = run.udp(80, family);
                let sockets: Vec<_> = (0..50).map(|_| udp(to)).collect();
                for round in 0..4 {
                    for (at, socket) in sockets.iter().enumerate() {
                        socket.send(format!("{at} in {round}").as_bytes()).unwrap();
                    }
                    for (at, socket) in sockets.iter().enumerate() {
                        let mut answer = [0; 100];
                        let length = socket.recv(&mut answer).unwrap();
                        let answer = String::from_utf8_lossy(&answer[..length]);
                        assert_eq!(answer, format!("{at} in {round}"));
                    }
                }
                for socket in &sockets {
                    socket.set_nonblocking(true).unwrap();
                    let nothing = socket.recv(&mut [0; 100]).unwrap_err();
                    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
                }
            }
            run.finish();
        }
    });
}

/// What comes back for one who is gone is an error on the socket that all others share.
#[test]
fn clients_that_are_gone_cost_others_nothing() {
    isolated(|_| {
        let run = Run::usual().publish("0:80/udp").serve(&["udp-echo@80"]).up();
        for family in Family::BOTH {
            let to = run.udp(80, family);
            let stays = udp(to);
            stays.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            for round in 0..200_u32 {
                for _ in 0..3 {
                    // Its answer finds nobody.
                    udp(to).send(b"gone").unwrap();
                }
                let request = round.to_string();
                let answer = ask(&stays, request.as_bytes());
                let answer = answer.unwrap_or_else(|error| panic!("{family:?} {round}: {error}"));
                assert_eq!(answer, request.as_bytes());
            }
        }
        run.finish();
    });
}

#[test]
fn a_thousand_clients_need_no_descriptors() {
    isolated(|_| {
        let run = Run::usual().publish("0:80/udp").serve(&["udp-echo@80"]).up();
        let before = descriptors(run.id()).len();
        for family in Family::BOTH {
            for at in 0..500_u32 {
                let socket = udp(run.udp(80, family));
                assert_eq!(ask(&socket, &at.to_be_bytes()).unwrap(), at.to_be_bytes());
            }
        }
        assert_eq!(descriptors(run.id()).len(), before);
        run.finish();
    });
}

/// One client socket that talks to several addresses and ports of one service.
#[test]
fn an_answer_comes_from_where_the_question_went() {
    isolated(|network| {
        if !network.is_own() {
            return;
        }
        let run = Run::usual().publish("0.0.0.0:7000:80/udp").publish("0.0.0.0:7001:80/udp");
        let run = run.serve(&["udp-echo@80"]).up();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut places = Vec::new();
        for host in 1..=20 {
            for port in [7000, 7001] {
                places.push(SocketAddr::from(([127, 0, 0, host], port)));
            }
        }
        for _ in 0..3 {
            for place in &places {
                socket.send_to(place.to_string().as_bytes(), place).unwrap();
            }
            for _ in &places {
                let mut answer = [0; 100];
                let (length, from) = socket.recv_from(&mut answer).unwrap();
                assert_eq!(String::from_utf8_lossy(&answer[..length]), from.to_string());
            }
        }
        run.finish();
    });
}

#[test]
fn a_burst_arrives_whole() {
    isolated(|_| {
        let run = Run::usual().publish("0:80/udp").serve(&["udp-echo@80"]).up();
        for family in Family::BOTH {
            let socket = udp(run.udp(80, family));
            // Well within what the kernels' default buffers hold.
            for at in 0..64_u8 {
                socket.send(&[at; 1000]).unwrap();
            }
            for at in 0..64_u8 {
                let mut answer = [0; 2000];
                let length = socket
                    .recv(&mut answer)
                    .unwrap_or_else(|error| panic!("{family:?}: {error} instead of datagram {at}"));
                assert_eq!(answer[..length], [at; 1000], "in order");
            }
        }
        run.finish();
    });
}

#[test]
fn a_guest_hears_that_its_client_is_gone() {
    isolated(|_| {
        for family in Family::BOTH {
            let run = Run::usual().publish("0:80/udp").serve(&["udp-late@80"]).up();
            let socket = udp(run.udp(80, family));
            assert_eq!(ask(&socket, b"hello").unwrap(), b"late");
            drop(socket);
            run.hear("udp-late@80 refused ConnectionRefused");
            run.finish();
        }
    });
}

#[test]
fn a_client_hears_that_nobody_listens() {
    isolated(|network| {
        if !User::all().contains(&User::Root) {
            return skip("ICMP to clients: it needs a raw socket, and that root");
        }
        let run = Run::by(User::Root).publish("0:80/udp").serve(&[]).up();
        for family in Family::BOTH {
            refused(run.udp(80, family));
        }
        run.finish();
        let Some(elsewhere) = network.elsewhere() else { return };
        let run = Run::by(User::Root).publish("0.0.0.0:7000:80/udp");
        let run = run.publish("[::]:7000:80/udp").serve(&[]).up();
        for family in Family::BOTH {
            for host in Elsewhere::host(family) {
                elsewhere.run(|| refused((host, 7000).into()));
            }
        }
        run.finish();
    });
}

/// The first datagram may be lost while the guest's other family is tried.
fn refused(to: SocketAddr) {
    let socket = udp(to);
    socket.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let kinds = [(); 3].map(|()| ask(&socket, b"hello").unwrap_err().kind());
    assert!(kinds[1..].contains(&ErrorKind::ConnectionRefused), "{to}: {kinds:?}");
}
