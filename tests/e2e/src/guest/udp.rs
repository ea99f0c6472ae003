//! UDP services.
//!
//! | kind | what it does |
//! |---|---|
//! | `udp-echo` | sends every datagram back |
//! | `udp-source` | answers a number with a datagram of so many bytes |
//! | `udp-peer` | answers with the sender's address |
//! | `udp-hex` | answers with the datagram in hexadecimal |
//! | `udp-exit=N` | answers with N datagrams of 1000 bytes, and the whole program exits at once |
//! | `udp-late` | keeps sending to whoever sent the first datagram until that is refused |

use std::net::UdpSocket;
use std::time::Duration;

use portreeve_e2e::content::{self, Way};

use crate::tcp::plain;
use crate::{Service, say};

pub(crate) fn serve(service: &Service, socket: UdpSocket) {
    let service = service.clone();
    std::thread::spawn(move || {
        if service.kind() == "udp-late" {
            return late(&service, &socket);
        }
        let mut buffer = vec![0; 65_536];
        // An error is a refusal of an answer, or the end by an order.
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let datagram = &buffer[..length];
            let answer = match service.kind() {
                "udp-echo" => datagram.to_vec(),
                "udp-source" => {
                    let length = String::from_utf8_lossy(datagram).parse().unwrap();
                    content::bytes(Way::FromGuest, length)
                }
                "udp-exit" => {
                    for at in 0..service.number() {
                        let number = (at as u8).to_be_bytes();
                        socket.send_to(&number.repeat(1000), peer).unwrap();
                    }
                    std::process::exit(0)
                }
                "udp-peer" => plain(peer).to_string().into_bytes(),
                "udp-hex" => {
                    datagram.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
                }
                kind => panic!("{kind}: no such service"),
            };
            // A full queue loses it, as UDP may.
            let _ = socket.send_to(&answer, peer);
        }
    });
}

fn late(service: &Service, socket: &UdpSocket) {
    let (_, peer) = socket.recv_from(&mut [0; 2048]).unwrap();
    // A connected socket is told of ICMP errors.
    socket.connect(peer).unwrap();
    for _ in 0..200 {
        if let Err(error) = socket.send(b"late") {
            return say(format_args!("{} refused {:?}", service.name(), error.kind()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    say(format_args!("{} never refused", service.name()));
}
