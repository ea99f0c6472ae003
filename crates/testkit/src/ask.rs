//! Question and answer: one frame of the guest's to an engine, and the frames that come back.
//!
//! Owns the short way past the simulated link, for tests of what the gateway itself answers. Every
//! answer is judged by the guest's card.

use std::net::SocketAddr;

use portreeve_core::MAX_FRAME_LEN;
use portreeve_wire::packet::IpPacket;
use portreeve_wire::packet::Protocol;
use portreeve_wire::udp::{UDP_HEADER_LEN, UdpHeader};
use portreeve_wire::{VIRTIO_NET_HDR_LEN, VirtioNetHdr};

use crate::packet::{datagram, ethernet, ip};
use crate::pair::Pair;

/// An IP packet that came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The hardware address it is for.
    pub to_mac: [u8; 6],
    /// Its header.
    pub ip: IpPacket,
    /// What is behind the header.
    pub upper: Vec<u8>,
}

impl Answer {
    /// Source, destination and payload, if it is a UDP datagram.
    pub fn datagram(&self) -> Option<(SocketAddr, SocketAddr, &[u8])> {
        let header = UdpHeader::parse(&self.upper)?;
        let from = SocketAddr::new(self.ip.source, header.source_port);
        let to = SocketAddr::new(self.ip.destination, header.destination_port);
        (self.ip.protocol == Protocol::UDP).then_some((from, to, &self.upper[UDP_HEADER_LEN..]))
    }
}

/// A question for the IPv4 addresses of a name. RFC 1035 §4.1.
pub fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// The answer of a server to its own question, with one address.
///
/// # Panics
/// When the question has no name.
pub fn answer_to(question: &[u8], address: [u8; 4], ttl: u32) -> Vec<u8> {
    // The question ends behind its name's root label, type and class.
    let end = 12 + question[12..].iter().position(|&byte| byte == 0).expect("a name") + 5;
    let mut message = question[..end].to_vec();
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    message[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    message.extend_from_slice(&ttl.to_be_bytes());
    message.extend_from_slice(&[0, 4]);
    message.extend_from_slice(&address);
    message
}

impl Pair {
    /// Gives the engine one frame and returns the packets that come back at once.
    ///
    /// # Panics
    /// When one is no frame that a card would take, or no IP packet.
    pub fn ask(&mut self, frame: &[u8]) -> Vec<Answer> {
        let now = self.now();
        self.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame.to_vec(), now);
        let mut buffer = vec![0; MAX_FRAME_LEN];
        let mut answers = Vec::new();
        loop {
            let length = self.engine.poll_guest_frame(&mut buffer, now);
            if length == 0 {
                return answers;
            }
            self.guest.nic.receive(&buffer[..length]).expect("a frame for the guest");
            let frame = &buffer[VIRTIO_NET_HDR_LEN..length];
            let packet = &frame[14..];
            let parsed = if packet[0] >> 4 == 6 {
                IpPacket::parse_v6(packet)
            } else {
                IpPacket::parse_v4(packet)
            };
            let ip = parsed.expect("an IP packet");
            let mut to_mac = [0; 6];
            to_mac.copy_from_slice(&frame[..6]);
            let upper = packet[ip.payload.clone()].to_vec();
            answers.push(Answer { to_mac, ip, upper });
        }
    }

    /// As [`Pair::ask`], a datagram from the guest's hardware address.
    pub fn ask_datagram(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Vec<Answer> {
        let packet = ip(from.ip(), to.ip(), Protocol::UDP, &datagram(from, to, payload), None);
        self.ask(&ethernet(self.guest.nic.mac, self.guest.nic.gateway_mac, &packet))
    }
}
