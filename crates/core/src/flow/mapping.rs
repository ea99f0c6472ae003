//! Mappings: what the guest sends from one UDP port, or under one echo identifier, to anywhere.
//!
//! Owns one host socket per guest endpoint whatever the destinations (endpoint-independent mapping,
//! RFC 4787 §4.1; RFC 5508 §3.1 for echo), its lifetime, and who is let in (`mapping/peers.rs`). A
//! mapping lives while datagrams move in either direction. There are never more than the limit:
//! beyond it the one that has been idle longest gives way, so that a guest that sprays datagrams
//! harms its own oldest mappings and no table grows.

mod peers;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_types::{Instant, Limits};
use portreeve_wire::FlowKey;
use portreeve_wire::icmp::{self, Echo, ErrorKind, Unreachable};
use portreeve_wire::packet::IpPacket;
use portreeve_wire::udp::{self, UDP_HEADER_LEN};

use crate::drop_reason::DropReason;
use crate::egress::Target;
use crate::engine::Engine;
use crate::engine::event::{CloseReason, EgressRefusal, Event};
use crate::engine::host::{HostOp, MappedDatagram, MappingKind, OutgoingDatagram, Undeliverable};
use crate::engine::losses::Limit;
use crate::flow::{Body, Flow, FlowId};
use peers::Peers;

/// The mapping's part of a flow's record.
pub(crate) struct Mapping {
    pub(crate) kind: MappingKind,
    peers: Peers,
    /// The destination of the last datagram, where it leads, and of which epoch that verdict is.
    last: Option<(SocketAddr, SocketAddr, u64)>,
    /// Whether all it has ever asked are name servers.
    only_names: bool,
    last_moved: Instant,
    /// Number of its last use, in the order of all uses.
    last_use: u64,
    /// Under which number it is listed: that of some use, not always the last.
    listed: u64,
}

/// Mappings in the order in which they were last known to be used.
#[derive(Default)]
pub(crate) struct Mappings {
    uses: u64,
    by_use: BTreeMap<u64, FlowId>,
}

/// A datagram of the guest on its way out.
pub(crate) struct Departure<'a> {
    pub(crate) ip: &'a IpPacket,
    pub(crate) key: FlowKey,
    /// Everything behind the IP header.
    pub(crate) upper: &'a [u8],
    /// What the host's socket is to send: of UDP the payload, of echo the message.
    pub(crate) payload: &'a [u8],
    /// Bytes of each datagram, should the link have joined several.
    pub(crate) step: usize,
}

impl Engine {
    /// A datagram of the guest that belongs to no published port.
    pub(crate) fn mapping_datagram(&mut self, departure: &Departure<'_>) {
        let Departure { ip, key, .. } = departure;
        let mapped = mapping_key(key);
        let existing = self.flows.find(&mapped);
        let known = existing.and_then(|id| self.known_target(id, key.remote));
        let target = match known.filter(|_| ip.hop_limit > 1) {
            Some(target) => Ok(Target::Out(target)),
            None => self.admit_datagram(key.remote, ip.hop_limit),
        };
        match target {
            Ok(Target::Out(target)) => {
                self.mapping_send(existing, MappingKind::Udp, target, departure);
            }
            Ok(Target::NameServer) => self.names_datagram(key, departure.payload),
            Err(refusal) => self.refuse_datagram(ip, key, departure.upper, refusal),
        }
    }

    /// An echo request of the guest that is not for the gateway.
    pub(crate) fn mapping_echo(&mut self, ip: &IpPacket, message: &[u8]) {
        let Some(echo) = Echo::parse(message, ip.source.is_ipv6()) else {
            return self.drop(DropReason::IcmpMalformed);
        };
        let key = FlowKey {
            protocol: ip.protocol,
            guest: SocketAddr::new(ip.source, echo.identifier),
            remote: SocketAddr::new(ip.destination, 0),
        };
        let departure =
            Departure { ip, key, upper: message, payload: message, step: message.len() };
        match self.admit_echo(ip.destination, ip.hop_limit) {
            Ok(target) => {
                let existing = self.flows.find(&mapping_key(&key));
                self.mapping_send(existing, MappingKind::Echo, target, &departure);
            }
            Err(refusal) => self.refuse_datagram(ip, &key, message, refusal),
        }
    }

    fn mapping_send(
        &mut self,
        existing: Option<FlowId>,
        kind: MappingKind,
        target: SocketAddr,
        departure: &Departure<'_>,
    ) {
        let Departure { ip, key, upper, payload, step } = *departure;
        let Some(id) = existing.or_else(|| self.mapping_open(kind, &key)) else {
            return self.refuse_datagram(ip, &key, upper, EgressRefusal::FlowLimit);
        };
        let (now, epoch) = (self.now, self.host.epoch());
        let hop_limit = self.hop_limit_beyond(ip.destination, ip.hop_limit);
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.bytes_from_guest += payload.len() as u64;
        let Body::Mapping(mapping) = &mut flow.body else { return };
        mapping.last_moved = now;
        mapping.last_use = self.mappings.next_use();
        mapping.only_names &= target.port() == NAME_SERVER_PORT;
        if mapping.last != Some((key.remote, target, epoch)) {
            mapping.last = Some((key.remote, target, epoch));
            mapping.peers.add(target, key.remote);
        }
        let to = OutgoingDatagram::Mapped {
            flow: id,
            destination: target,
            hop_limit,
            may_fragment: ip.fragment.is_some() || !ip.dont_fragment,
            to_host: self.host.is_this_host(target.ip()),
        };
        if payload.is_empty() {
            self.counters.datagrams_from_guest += 1;
            self.datagrams.push(to, payload);
        }
        for piece in payload.chunks(step.max(1)) {
            self.counters.datagrams_from_guest += 1;
            self.datagrams.push(to, piece);
        }
    }

    /// Where the last datagram of a mapping went, if it was for `remote` and nothing has changed.
    fn known_target(&self, id: FlowId, remote: SocketAddr) -> Option<SocketAddr> {
        let Body::Mapping(mapping) = &self.flows.get(id)?.body else { return None };
        let (last, target, epoch) = mapping.last?;
        (last == remote && epoch == self.host.epoch()).then_some(target)
    }

    fn mapping_open(&mut self, kind: MappingKind, key: &FlowKey) -> Option<FlowId> {
        let limits = &self.config.limits;
        let most = limits.max_mappings;
        if self.flows.active() >= limits.max_flows {
            self.limit_reached(Limit::MaxFlows);
            return None;
        }
        while self.mappings.count() >= most {
            self.mapping_evict();
        }
        let now = self.now;
        let number = self.mappings.next_use();
        let mapping = Mapping {
            kind,
            peers: Peers::default(),
            last: None,
            only_names: kind == MappingKind::Udp,
            last_moved: now,
            last_use: number,
            listed: number,
        };
        let key = mapping_key(key);
        let body = Body::Mapping(Box::new(mapping));
        let id = self.flows.insert(key, |id| Flow::new(id, key, now, body));
        self.mappings.by_use.insert(number, id);
        self.counters.mappings_opened += 1;
        self.ops.push_back(HostOp::Open { flow: id, kind, v6: key.guest.is_ipv6() });
        let limits = &self.config.limits;
        let soonest = idle(limits, kind, true).min(idle(limits, kind, false));
        self.arm(id, now + NAMES_CHECK.min(soonest));
        if let Some(info) = self.flow_info(id) {
            self.events.push(Event::FlowOpened(info));
        }
        Some(id)
    }

    /// Ends those that have been idle longest until there are no more than may be.
    pub(crate) fn mappings_trim(&mut self) {
        while self.mappings.count() > self.config.limits.max_mappings {
            self.mapping_evict();
        }
    }

    /// Ends the mapping that has been idle longest.
    fn mapping_evict(&mut self) {
        while let Some((number, id)) = self.mappings.by_use.pop_first() {
            let Some(Flow { body: Body::Mapping(mapping), .. }) = self.flows.get_mut(id) else {
                continue;
            };
            if mapping.last_use > number {
                // Used since it was listed: its turn comes later.
                mapping.listed = mapping.last_use;
                self.mappings.by_use.insert(mapping.last_use, id);
                continue;
            }
            self.lose(DropReason::MappingEvicted, 1);
            self.limit_reached(Limit::MaxMappings);
            return self.mapping_remove(id, CloseReason::Evicted);
        }
    }

    /// A datagram or an echo reply for the guest.
    pub(crate) fn mapping_from_host(&mut self, datagram: &MappedDatagram<'_>) {
        let Some(flow) = self.flows.get(datagram.flow) else {
            return self.drop(DropReason::NoMapping);
        };
        let Body::Mapping(mapping) = &flow.body else { return self.drop(DropReason::NoMapping) };
        if datagram.source.is_ipv6() != flow.key.guest.is_ipv6() {
            return self.drop(DropReason::NoMapping);
        }
        let filtering = self.config.egress.udp_filtering;
        let source = datagram.source;
        let remote = mapping.peers.admits(source, mapping.kind, filtering);
        // Whoever the guest has never heard of must at least be somebody it can answer.
        let known = remote.filter(|remote| *remote != source || self.may_be_source(source.ip()));
        let Some(remote) = known else { return self.drop(DropReason::Filtered) };
        let (kind, guest, now) = (mapping.kind, flow.key.guest, self.now);
        let queued = match kind {
            MappingKind::Udp => {
                self.outbox.datagram(&FlowKey::udp(guest, remote), [&[], datagram.payload])
            }
            MappingKind::Echo => {
                let reply = Echo::parse(datagram.payload, guest.is_ipv6());
                if reply.is_none_or(|echo| echo.request) {
                    return self.drop(DropReason::IcmpIgnored);
                }
                self.outbox.echo(remote.ip(), guest, datagram.payload)
            }
        };
        if let Some(Flow { body: Body::Mapping(mapping), bytes_to_guest, .. }) =
            self.flows.get_mut(datagram.flow)
        {
            mapping.last_moved = now;
            mapping.last_use = self.mappings.next_use();
            *bytes_to_guest += datagram.payload.len() as u64;
        }
        if queued {
            self.counters.datagrams_to_guest += 1;
        } else {
            self.datagram_queue_full();
        }
    }

    /// A datagram of the guest did not arrive: it gets the ICMP error it would have got.
    pub(crate) fn mapping_undeliverable(&mut self, report: &Undeliverable<'_>) {
        let Some(flow) = self.flows.get(report.flow) else { return };
        let Body::Mapping(mapping) = &flow.body else { return };
        let Some(remote) = mapping.peers.remote(report.destination) else { return };
        let (kind, key) = (mapping.kind, flow.key);
        let (guest, v6) = (key.guest, key.guest.is_ipv6());
        let upper = quoted_upper(kind, guest, remote, report.payload);
        let ip = IpPacket {
            source: guest.ip(),
            destination: remote.ip(),
            protocol: key.protocol,
            hop_limit: 1,
            payload: 0..upper.len(),
            fragment: None,
            dont_fragment: true,
        };
        let port = ErrorKind::Unreachable(Unreachable::Port);
        let shown = report
            .reporter
            .filter(|&address| address.is_ipv6() == v6 && self.may_be_source(address));
        let own = if report.error == port { Some(remote.ip()) } else { self.gateway_address(v6) };
        let Some(reporter) = shown.or(own) else { return };
        self.icmp_error_about(&ip, reporter, report.error, &upper, upper.len());
    }

    /// The shell found that a destination is the host's own after all.
    pub(crate) fn mapping_not_sent(&mut self, id: FlowId, destination: SocketAddr) {
        let Some(flow) = self.flows.get(id) else { return };
        let Body::Mapping(mapping) = &flow.body else { return };
        let remote = mapping.peers.remote(destination).unwrap_or(destination);
        let key = FlowKey { remote, ..flow.key };
        let name = self.name_of(remote.ip());
        self.note_egress_refused(&key, EgressRefusal::HostAddress, name);
    }

    /// The mapping's deadline has come: it ends if it was idle, else it gets another.
    pub(crate) fn mapping_deadline(&mut self, id: FlowId) {
        let Some(due) = self.mapping_due(id) else { return };
        if self.now >= due {
            self.mapping_remove(id, CloseReason::Idle);
        } else {
            self.arm(id, due);
        }
    }

    /// Mappings may be idle for another time from now on.
    pub(crate) fn mapping_limits_changed(&mut self, id: FlowId) {
        if let Some(due) = self.mapping_due(id) {
            self.arm(id, due);
        }
    }

    /// When the mapping has been idle for too long, unless something moves before.
    fn mapping_due(&self, id: FlowId) -> Option<Instant> {
        let Body::Mapping(mapping) = &self.flows.get(id)?.body else { return None };
        let idle = idle(&self.config.limits, mapping.kind, mapping.only_names);
        Some(mapping.last_moved + idle)
    }

    pub(crate) fn mapping_remove(&mut self, id: FlowId, reason: CloseReason) {
        let info = self.flow_info(id);
        let Some(Flow { body: Body::Mapping(mapping), .. }) = self.flows.remove(id) else {
            return;
        };
        self.mappings.by_use.remove(&mapping.listed);
        self.ops.push_back(HostOp::Close(id));
        if let Some(flow) = info {
            self.events.push(Event::FlowClosed { flow, reason });
        }
    }
}

impl Mappings {
    /// A number above all before.
    const fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// Number of mappings, each of which has a host socket.
    pub(crate) fn count(&self) -> usize {
        self.by_use.len()
    }
}

/// One key for all destinations.
fn mapping_key(key: &FlowKey) -> FlowKey {
    let anywhere: IpAddr = if key.guest.is_ipv6() { [0; 16].into() } else { [0; 4].into() };
    FlowKey { remote: SocketAddr::new(anywhere, 0), ..*key }
}

fn idle(limits: &Limits, kind: MappingKind, only_names: bool) -> Duration {
    Duration::from_secs(match kind {
        MappingKind::Echo => limits.echo_idle_secs,
        // RFC 4787 §4.3: shorter only for well-known ports whose exchanges are short.
        MappingKind::Udp if only_names => limits.udp_idle_dns_secs,
        MappingKind::Udp => limits.udp_idle_secs,
    })
}

/// What the guest had sent, as an ICMP error quotes it.
fn quoted_upper(
    kind: MappingKind,
    guest: SocketAddr,
    remote: SocketAddr,
    payload: &[u8],
) -> Vec<u8> {
    match kind {
        MappingKind::Udp => {
            let shown = &payload[..payload.len().min(usize::from(u16::MAX) - UDP_HEADER_LEN)];
            let mut upper = vec![0; UDP_HEADER_LEN];
            let (source, destination) = ((guest.ip(), guest.port()), (remote.ip(), remote.port()));
            udp::emit_header(source, destination, shown, &mut upper);
            upper.extend_from_slice(shown);
            upper
        }
        MappingKind::Echo => {
            let mut upper = payload.to_vec();
            let (source, destination) = (guest.ip(), remote.ip());
            // A quote too short to be an echo stays as it is.
            let _ = icmp::set_echo_identifier(source, destination, guest.port(), &mut upper);
            upper
        }
    }
}

/// A mapping is looked at so soon, and only then known to be more than a question about a name.
const NAMES_CHECK: Duration = Duration::from_secs(10);
/// RFC 1035 §4.2.
const NAME_SERVER_PORT: u16 = 53;
