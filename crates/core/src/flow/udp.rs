//! UDP flows: a client of a published port as the guest knows it.
//!
//! Owns the mapping of each client to a source of its own towards the guest, so that a reply can
//! only ever reach the client it is for. Activity in either direction keeps a mapping alive
//! (RFC 4787 §4.3 allows either side); one that never got an answer ends sooner.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_types::{Instant, PublishId, SourceMode, Transport};
use portreeve_wire::packet::{IpPacket, Protocol};
use portreeve_wire::udp::UdpHeader;
use portreeve_wire::{FlowKey, GsoType, VirtioNetHdr, checksum};

use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::engine::event::{CloseReason, Event};
use crate::engine::host::{IncomingDatagram, OutgoingDatagram};
use crate::engine::losses::Limit;
use crate::flow::mapping::Departure;
use crate::flow::{Body, Flow, FlowId};
use crate::publish::proxy;

/// The UDP part of a flow's record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Udp {
    /// The address that the client used, from which replies leave.
    pub(crate) local: SocketAddr,
    /// Whether the guest has ever answered.
    pub(crate) answered: bool,
    /// Whether the guest has refused on the other address family.
    pub(crate) refused_elsewhere: bool,
    /// Last datagram in either direction.
    pub(crate) last_moved: Instant,
}

/// A client of a published UDP port: the host's side of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientKey {
    pub(crate) publish: PublishId,
    pub(crate) client: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl Engine {
    /// Bytes of datagrams that may still be queued for the guest. A caller that stops reading its
    /// socket below [`portreeve_wire::udp::UDP_MAX_PAYLOAD`] loses nothing here: what comes waits,
    /// or is dropped, in the socket's own buffer.
    pub fn datagram_room(&self) -> usize {
        self.outbox.datagram_room()
    }

    pub(crate) fn udp_from_host(&mut self, datagram: &IncomingDatagram<'_>) {
        let Some(id) = self.udp_flow_of(datagram) else { return };
        let now = self.now;
        let mode = self.published.get(datagram.publish).map(|entry| entry.source);
        let Some(flow) = self.flows.get_mut(id) else { return };
        let key = flow.key;
        flow.bytes_to_guest += datagram.payload.len() as u64;
        if let Body::Udp(udp) = &mut flow.body {
            udp.last_moved = now;
        }
        let preamble = proxy::datagram_preamble(
            mode.unwrap_or(SourceMode::Gateway),
            datagram.client,
            datagram.local,
        );
        if self.outbox.datagram(&key, [&preamble, datagram.payload]) {
            self.counters.datagrams_to_guest += 1;
        } else {
            self.datagram_queue_full();
        }
    }

    fn udp_flow_of(&mut self, datagram: &IncomingDatagram<'_>) -> Option<FlowId> {
        let client =
            ClientKey { publish: datagram.publish, client: datagram.client, local: datagram.local };
        if let Some(&id) = self.clients.get(&client) {
            return Some(id);
        }
        let limits = &self.config.limits;
        let entry = self.published.get(datagram.publish).filter(|e| !e.draining).cloned();
        let Some(entry) = entry else {
            self.published.refused(datagram.publish);
            self.drop(DropReason::NotPublished);
            return None;
        };
        let (full, port_full) =
            (self.flows.active() >= limits.max_flows, entry.flows >= limits.max_flows_per_port);
        if full || port_full {
            self.published.refused(datagram.publish);
            self.drop(DropReason::FlowLimit);
            if port_full {
                self.port_limit_reached(datagram.publish);
            } else {
                self.limit_reached(Limit::MaxFlows);
            }
            return None;
        }
        // Where the guest has answered on one family before, that is the one it serves.
        let answered = self.udp_family.get(&datagram.publish).copied();
        let key = self.udp_key(&client, entry.guest_port, entry.source, answered);
        let Some(key) = key else {
            self.published.refused(datagram.publish);
            return None;
        };
        let now = self.now;
        let body = Body::Udp(Udp {
            local: datagram.local,
            answered: false,
            refused_elsewhere: false,
            last_moved: now,
        });
        let id = self.flows.insert(key, |id| Flow {
            publish: Some(datagram.publish),
            client: Some(datagram.client),
            ..Flow::new(id, key, now, body)
        });
        self.clients.insert(client, id);
        self.published.flow_added(datagram.publish);
        self.published.opened(datagram.publish);
        self.arm(id, now + self.udp_idle(false));
        if let Some(info) = self.flow_info(id) {
            self.events.push(Event::FlowOpened(info));
        }
        Some(id)
    }

    /// The guest refused a mapping's datagram: tries the other address family for the next, where
    /// there is one that has not refused yet. Whether it does.
    pub(crate) fn udp_try_other_family(&mut self, id: FlowId) -> bool {
        let Some(flow) = self.flows.get(id) else { return false };
        let (Body::Udp(udp), Some(client)) = (&flow.body, flow.client) else { return false };
        let Some(publish) = flow.publish.filter(|_| !udp.answered && !udp.refused_elsewhere) else {
            return false;
        };
        let client = ClientKey { publish, client, local: udp.local };
        let (port, v6) = (flow.key.guest.port(), flow.key.guest.is_ipv6());
        let Some(mode) = self.published.get(publish).map(|entry| entry.source) else {
            return false;
        };
        let Some(key) =
            self.udp_key(&client, port, mode, Some(!v6)).filter(|key| key.guest.is_ipv6() != v6)
        else {
            return false;
        };
        self.flows.rekey(id, key);
        if let Some(Flow { body: Body::Udp(udp), .. }) = self.flows.get_mut(id) {
            udp.refused_elsewhere = true;
        }
        true
    }

    /// The guest's side of a mapping: on the family `wanted`, else on the client's own, where the
    /// guest has it.
    fn udp_key(
        &mut self,
        client: &ClientKey,
        port: u16,
        mode: SourceMode,
        wanted: Option<bool>,
    ) -> Option<FlowKey> {
        let addressing = &self.config.addressing;
        let v4 = addressing.ipv4.map(|v4| (IpAddr::V4(v4.guest), IpAddr::V4(v4.gateway)));
        let v6 = self.guest_v6().zip(addressing.ipv6);
        let v6 = v6.map(|(guest, v6)| (IpAddr::V6(guest), IpAddr::V6(v6.gateway)));
        let families = if client.client.is_ipv6() { [v6, v4] } else { [v4, v6] };
        let (guest, gateway) = families.into_iter().flatten().max_by_key(|(guest, _)| {
            let own = guest.is_ipv6() == client.client.is_ipv6();
            (wanted == Some(guest.is_ipv6()), own)
        })?;
        let address = client.client.ip();
        let preserve = mode == SourceMode::Preserve
            && address.is_ipv6() == guest.is_ipv6()
            && self.may_be_source(address);
        let source = if preserve { address } else { gateway };
        let guest = SocketAddr::new(guest, port);
        let flows = &self.flows;
        let key = |port| FlowKey::udp(guest, SocketAddr::new(source, port));
        let picked = self.ports.pick(client.client.port(), |port| flows.find(&key(port)).is_none());
        if picked.is_none() {
            self.drop(DropReason::FlowLimit);
        }
        picked.map(key)
    }

    /// A whole UDP datagram of the guest: `datagram` starts at the UDP header.
    pub(crate) fn udp_from_guest(
        &mut self,
        ip: &IpPacket,
        datagram: &[u8],
        link: &VirtioNetHdr,
        trusted: bool,
    ) {
        let Some(header) = UdpHeader::parse(datagram) else {
            return self.drop(DropReason::DatagramMalformed);
        };
        // RFC 8200 §8.1: over IPv6 the checksum is not optional.
        let must_fit = header.has_checksum || ip.source.is_ipv6();
        let whole = &datagram[..header.payload.end];
        if must_fit
            && !trusted
            && !checksum::verify(ip.source, ip.destination, Protocol::UDP, whole)
        {
            return self.drop(DropReason::TransportChecksum);
        }
        let key = FlowKey::from_guest(
            Protocol::UDP,
            ip.source,
            header.source_port,
            ip.destination,
            header.destination_port,
        );
        let payload = &datagram[header.payload];
        let step = match link.gso {
            GsoType::UdpL4 if link.gso_size != 0 => usize::from(link.gso_size),
            GsoType::UdpL4 | GsoType::None | GsoType::Tcp4 | GsoType::Tcp6 => payload.len(),
        };
        let Some(id) = self.flows.find(&key) else {
            let departure = Departure { ip, key, upper: whole, payload, step };
            return self.mapping_datagram(&departure);
        };
        if payload.is_empty() {
            self.udp_reply(id, payload);
        }
        for piece in payload.chunks(step.max(1)) {
            self.udp_reply(id, piece);
        }
    }

    fn udp_reply(&mut self, id: FlowId, payload: &[u8]) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(id) else { return };
        let (Some(publish), Some(client)) = (flow.publish, flow.client) else { return };
        let Body::Udp(udp) = &mut flow.body else { return };
        udp.last_moved = now;
        let first = !std::mem::replace(&mut udp.answered, true);
        let local = udp.local;
        flow.bytes_from_guest += payload.len() as u64;
        let v6 = flow.key.guest.is_ipv6();
        if first {
            self.udp_family.insert(publish, v6);
            self.arm(id, now + self.udp_idle(true));
        }
        self.counters.datagrams_from_guest += 1;
        self.datagrams.push(OutgoingDatagram::Published { publish, client, local }, payload);
    }

    /// The mapping's deadline has come: it ends if it was idle, else it gets another.
    pub(crate) fn udp_deadline(&mut self, id: FlowId) {
        let Some(due) = self.udp_due(id) else { return };
        if self.now >= due {
            self.udp_remove(id, CloseReason::Idle);
        } else {
            self.arm(id, due);
        }
    }

    /// Clients may be idle for another time from now on.
    pub(crate) fn udp_limits_changed(&mut self, id: FlowId) {
        if let Some(due) = self.udp_due(id) {
            self.arm(id, due);
        }
    }

    /// When the client has been idle for too long, unless something moves before.
    fn udp_due(&self, id: FlowId) -> Option<Instant> {
        let Body::Udp(udp) = &self.flows.get(id)?.body else { return None };
        Some(udp.last_moved + self.udp_idle(udp.answered))
    }

    pub(crate) fn udp_remove(&mut self, id: FlowId, reason: CloseReason) {
        let info = self.flow_info(id);
        let Some(flow) = self.flows.remove(id) else { return };
        let Body::Udp(udp) = flow.body else { return };
        if let (Some(publish), Some(client)) = (flow.publish, flow.client) {
            self.clients.remove(&ClientKey { publish, client, local: udp.local });
            let bytes = (flow.bytes_to_guest, flow.bytes_from_guest);
            self.published.flow_removed(publish, bytes);
            if self.published.get(publish).is_none() {
                self.udp_family.remove(&publish);
            }
        }
        if let Some(flow) = info {
            self.events.push(Event::FlowClosed { flow, reason });
        }
    }

    fn udp_idle(&self, answered: bool) -> Duration {
        let limits = &self.config.limits;
        Duration::from_secs(if answered {
            limits.udp_idle_secs
        } else {
            limits.udp_idle_one_shot_secs
        })
    }

    /// The flow that carries a published UDP client, if there is one.
    pub(crate) fn udp_client(
        &self,
        publish: PublishId,
        client: SocketAddr,
        local: Option<SocketAddr>,
    ) -> Option<FlowId> {
        let entry = self.published.get(publish)?;
        if entry.transport != Transport::Udp {
            return None;
        }
        match local {
            Some(local) => self.clients.get(&ClientKey { publish, client, local }).copied(),
            // An error report does not always say which local address it concerns.
            None => {
                let any = |octets: IpAddr| SocketAddr::new(octets, 0);
                let lowest = any(IpAddr::from([0, 0, 0, 0]));
                let range = ClientKey { publish, client, local: lowest }..;
                self.clients
                    .range(range)
                    .next()
                    .filter(|(key, _)| key.publish == publish && key.client == client)
                    .map(|(_, &id)| id)
            }
        }
    }
}
