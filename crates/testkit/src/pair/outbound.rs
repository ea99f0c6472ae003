//! What the guest does by itself, and what it sees of it.
//!
//! Owns the guest's choice of ports and the check that no connection is shown to it that is not
//! there.

use std::net::{IpAddr, SocketAddr};

use portreeve_core::{EgressRefusal, Event, HostNetwork};
use portreeve_wire::VIRTIO_NET_HDR_LEN;
use portreeve_wire::ethernet::ETHERNET_HEADER_LEN;
use portreeve_wire::icmp::ErrorKind;
use portreeve_wire::packet::{IpPacket, Protocol};
use portreeve_wire::tcp::TcpHeader;

use super::Pair;
use crate::app::App;
use crate::guest::connection::Connection;
use crate::guest::port::Listener;
use crate::guest::tcp::Ends;
use crate::host::outside::Destination;
use crate::host::stream::{HostStream, ServerSpec};

/// What a program of the guest sees of the connection that it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No answer yet.
    Waiting,
    /// A reset.
    Refused,
    /// An ICMP error.
    Error(ErrorKind),
    /// It is connected, or was.
    Connected,
}

impl Pair {
    /// The guest connects, from a port that was not used before.
    pub fn guest_connect(&mut self, destination: SocketAddr, app: App) -> Ends {
        self.guest_connect_with(destination, &Listener::new(app))
    }

    /// The guest connects, with these buffers.
    pub fn guest_connect_with(&mut self, destination: SocketAddr, settings: &Listener) -> Ends {
        let port = 20_000 + self.guest_ports % 40_000;
        self.guest_ports += 1;
        let ends = (SocketAddr::new(self.guest.address(destination.is_ipv6()), port), destination);
        self.guest.tcp.connect(ends, settings);
        ends
    }

    /// The guest's latest connection with these ends.
    ///
    /// # Panics
    /// When there was none.
    pub fn connection(&self, ends: Ends) -> &Connection {
        let Some(connection) = self.guest.tcp.find(ends) else { panic!("no connection {ends:?}") };
        connection
    }

    /// What became of the guest's attempt to connect.
    pub fn outcome(&self, ends: Ends) -> Outcome {
        let connection = self.connection(ends);
        match connection.error {
            Some(error) => Outcome::Error(error),
            None if connection.established => Outcome::Connected,
            None if connection.reset => Outcome::Refused,
            None => Outcome::Waiting,
        }
    }

    /// The server that the latest connection with these ends reached.
    pub fn server(&self, ends: Ends) -> Option<&HostStream> {
        self.host.server_of(ends).map(|id| self.host.client(id))
    }

    /// There is a server at this address.
    pub fn serve(&mut self, address: SocketAddr, app: App) {
        self.host.outside.place(address, Destination::Listen(ServerSpec::new(app)));
    }

    /// The guest sends a datagram.
    pub fn guest_send_udp(&mut self, source_port: u16, destination: SocketAddr, payload: &[u8]) {
        let from = SocketAddr::new(self.guest.address(destination.is_ipv6()), source_port);
        self.guest.send_datagram(from, destination, payload);
    }

    /// The guest asks for an echo.
    pub fn guest_ping(&mut self, identifier: u16, sequence: u16, to: IpAddr, payload: &[u8]) {
        self.guest.send_echo(identifier, sequence, to, payload);
    }

    /// The host's addresses are these from now on.
    pub fn set_host_addresses(&mut self, addresses: &[IpAddr]) {
        let network = HostNetwork { addresses: addresses.to_vec(), ..HostNetwork::default() };
        self.engine.handle_host_network(&network, self.now);
        self.drain();
    }

    /// Why the guest did not get out, in order.
    pub fn egress_refusals(&self) -> Vec<EgressRefusal> {
        let refusal = |event: &Event| match event {
            Event::EgressRefused { reason, .. } => Some(*reason),
            _ => None,
        };
        self.events.iter().filter_map(refusal).collect()
    }

    /// A SYN-ACK leaves only when somebody has accepted: `length` bytes of the frame are to go.
    pub(super) fn check_answer(&self, length: usize) {
        let packet = &self.frame[VIRTIO_NET_HDR_LEN + ETHERNET_HEADER_LEN..length];
        let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        let parsed = if v6 { IpPacket::parse_v6(packet) } else { IpPacket::parse_v4(packet) };
        let Ok(ip) = parsed else { return };
        if ip.protocol != Protocol::TCP {
            return;
        }
        let Some(header) = TcpHeader::parse(&packet[ip.payload.clone()]) else { return };
        if !header.syn || !header.ack {
            return;
        }
        let ends = (
            SocketAddr::new(ip.destination, header.destination_port),
            SocketAddr::new(ip.source, header.source_port),
        );
        match self.host.outside.connected(ends) {
            Some(connected) => assert!(connected, "a SYN-ACK to {ends:?} before the connection"),
            None => {
                // A published port whose guest has opened at the same time.
                let published = |flow: &portreeve_core::FlowSummary| {
                    (flow.guest, flow.remote) == ends && flow.publish.is_some()
                };
                let known = self.engine.flows().any(|flow| published(&flow));
                assert!(known, "a SYN-ACK to {ends:?} that nobody asked for");
            }
        }
    }
}
