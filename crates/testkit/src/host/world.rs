//! Datagrams and echoes beyond the host: routers, services and silence, and the sockets of
//! mappings through which the guest talks to them.
//!
//! Owns one socket a mapping and the check that each is opened and closed once. Every datagram that
//! leaves is recorded with the socket it left from; what comes back waits until the engine has room
//! for it, as it would in the socket's own buffer.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use portreeve_core::{
    DialFailure, Engine, FlowId, HostEvent, Instant, MappedDatagram, MappingKind, Undeliverable,
};
use portreeve_wire::icmp::{ErrorKind, Unreachable};

/// What is at an address, and how far away.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Routers on the way; each takes one off the hop limit.
    pub routers: u8,
    /// Largest packet that fits through all of them.
    pub mtu: usize,
    /// What it does.
    pub answer: Answer,
}

/// What a place does with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Sends it back.
    Echo,
    /// Takes it and says nothing.
    Sink,
    /// Says, or some router says, that it did not arrive.
    Unreachable(Unreachable, Option<IpAddr>),
}

impl Place {
    /// One that sends everything back, next to the host.
    pub const ECHO: Self = Self { routers: 0, mtu: 65_535, answer: Answer::Echo };
    /// One that says nothing.
    pub const SINK: Self = Self { answer: Answer::Sink, ..Self::ECHO };
    /// One where nobody listens.
    pub const CLOSED: Self =
        Self { answer: Answer::Unreachable(Unreachable::Port, None), ..Self::ECHO };
}

/// A datagram or echo message that left from a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The mapping.
    pub flow: FlowId,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// Its hop limit.
    pub hop_limit: Option<u8>,
    /// Whether it may be cut.
    pub may_fragment: bool,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A mapping's socket.
#[derive(Clone, Copy, Debug)]
pub struct MappingSocket {
    /// What it carries.
    pub kind: MappingKind,
    /// Whether over IPv6.
    pub v6: bool,
    /// Why it could not be had, and whether the engine knows.
    failed: Option<(DialFailure, bool)>,
}

#[derive(Clone, Debug)]
enum Coming {
    Datagram { source: SocketAddr, payload: Vec<u8> },
    Error { destination: SocketAddr, error: ErrorKind, reporter: Option<IpAddr>, payload: Vec<u8> },
}

/// All of it.
#[derive(Debug, Default)]
pub struct World {
    /// UDP services; elsewhere is silence.
    pub udp: BTreeMap<SocketAddr, Place>,
    /// Who answers pings; others do not.
    pub echo: BTreeMap<IpAddr, Place>,
    /// Why the next sockets cannot be had.
    pub no_sockets: Option<DialFailure>,
    /// What left.
    pub departed: Vec<Departed>,
    /// Most sockets that were open at once, and all that ever were.
    pub most: usize,
    /// Sockets that were ever opened.
    pub opened: usize,
    /// Datagrams that came when their mapping had just ended.
    pub late: usize,
    sockets: BTreeMap<FlowId, MappingSocket>,
    coming: VecDeque<(FlowId, Coming)>,
}

impl World {
    /// The sockets that are open.
    pub const fn sockets(&self) -> &BTreeMap<FlowId, MappingSocket> {
        &self.sockets
    }

    /// Somebody sends to the socket of a mapping.
    pub fn send(&mut self, flow: FlowId, source: SocketAddr, payload: &[u8]) {
        self.coming.push_back((flow, Coming::Datagram { source, payload: payload.to_vec() }));
    }

    /// A router says something about a datagram that left.
    pub fn report(
        &mut self,
        about: &Departed,
        error: ErrorKind,
        reporter: Option<IpAddr>,
        shown: usize,
    ) {
        let payload = about.payload[..about.payload.len().min(shown)].to_vec();
        let destination = about.destination;
        self.coming
            .push_back((about.flow, Coming::Error { destination, error, reporter, payload }));
    }

    pub(super) fn open(&mut self, flow: FlowId, kind: MappingKind, v6: bool) {
        let failed = self.no_sockets.map(|reason| (reason, false));
        let before = self.sockets.insert(flow, MappingSocket { kind, v6, failed });
        assert!(before.is_none(), "a mapping is opened once");
        self.opened += 1;
        self.most = self.most.max(self.sockets.len());
    }

    /// Whether there was one.
    pub(super) fn close(&mut self, flow: FlowId) -> bool {
        self.sockets.remove(&flow).is_some()
    }

    /// The engine sends.
    pub(super) fn depart(&mut self, departed: Departed) {
        let Some(socket) = self.sockets.get(&departed.flow).copied() else {
            self.late += 1;
            return;
        };
        assert_eq!(socket.v6, departed.destination.is_ipv6(), "a socket of the other family");
        let port = departed.destination.port();
        assert_eq!(port == 0, socket.kind == MappingKind::Echo, "a port for each datagram");
        if let Some((reason, _)) = socket.failed {
            self.report(&departed, failure(reason), None, usize::MAX);
        } else {
            self.travel(socket, &departed);
        }
        self.departed.push(departed);
    }

    fn travel(&mut self, socket: MappingSocket, departed: &Departed) {
        let Departed { flow, destination, hop_limit, may_fragment, ref payload } = *departed;
        let place = match socket.kind {
            MappingKind::Udp => self.udp.get(&destination),
            MappingKind::Echo => self.echo.get(&destination.ip()),
        };
        let Some(&place) = place else { return };
        let headers =
            if socket.v6 { 40 } else { 20 } + if socket.kind == MappingKind::Udp { 8 } else { 0 };
        let shown = 500;
        if let Some(hops) = hop_limit.filter(|&hops| hops <= place.routers) {
            let reporter = router(socket.v6, hops);
            return self.report(departed, ErrorKind::TimeExceeded, Some(reporter), shown);
        }
        if payload.len() + headers > place.mtu && !may_fragment {
            let error = ErrorKind::TooBig { mtu: place.mtu as u32 };
            return self.report(departed, error, Some(router(socket.v6, 1)), shown);
        }
        match place.answer {
            Answer::Sink => {}
            Answer::Unreachable(kind, reporter) => {
                self.report(departed, ErrorKind::Unreachable(kind), reporter, shown);
            }
            Answer::Echo => {
                let mut back = payload.clone();
                if socket.kind == MappingKind::Echo {
                    back[0] = if socket.v6 { 129 } else { 0 };
                    // The host's kernel has put its own identifier there.
                    back[2..6].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
                }
                self.send(flow, destination, &back);
            }
        }
    }

    pub(super) fn poll(&mut self, engine: &mut Engine, now: Instant) -> bool {
        let mut worked = false;
        while let Some((flow, next)) = self.coming.front()
            && (matches!(next, Coming::Error { .. }) || engine.datagram_room() >= size(next) + 64)
        {
            match next {
                Coming::Datagram { source, payload } => {
                    let datagram = MappedDatagram { flow: *flow, source: *source, payload };
                    engine.handle_mapped_datagram(&datagram, now);
                }
                Coming::Error { destination, error, reporter, payload } => {
                    let report = Undeliverable {
                        flow: *flow,
                        destination: *destination,
                        error: *error,
                        reporter: *reporter,
                        payload,
                    };
                    engine.handle_undeliverable(&report, now);
                }
            }
            self.coming.pop_front();
            worked = true;
        }
        for (&flow, socket) in &mut self.sockets {
            if let Some((reason, told)) = &mut socket.failed
                && !std::mem::replace(told, true)
            {
                engine.handle_host_event(HostEvent::Failed { flow, reason: *reason }, now);
                worked = true;
            }
        }
        worked
    }
}

/// The address of the router that takes the `nth` hop.
pub fn router(v6: bool, nth: u8) -> IpAddr {
    if v6 {
        [0x2001, 0xdb8, 0xff, 0, 0, 0, 0, u16::from(nth)].into()
    } else {
        [203, 0, 113, nth].into()
    }
}

fn size(coming: &Coming) -> usize {
    match coming {
        Coming::Datagram { payload, .. } | Coming::Error { payload, .. } => payload.len(),
    }
}

/// What a shell reports of a datagram that found no socket.
const fn failure(reason: DialFailure) -> ErrorKind {
    ErrorKind::Unreachable(match reason {
        DialFailure::EchoForbidden | DialFailure::Prohibited => Unreachable::Prohibited,
        DialFailure::NetworkUnreachable => Unreachable::Network,
        _ => Unreachable::Host,
    })
}
