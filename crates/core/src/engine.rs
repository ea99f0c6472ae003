//! The engine: what owns all state of one guest's network, and routes between its parts.
//!
//! Routes only. What a frame means is decided in `ingest.rs`, what a flow does in `flow/`, what an
//! order changes in `command.rs`.

pub(crate) mod command;
pub(crate) mod event;
mod guest_change;
pub(crate) mod host;
pub(crate) mod ingest;
mod live_limits;
pub(crate) mod losses;
mod throttle;
pub(crate) mod timers;
mod view;

use std::collections::{BTreeMap, VecDeque};

use portreeve_types::PublishId;
use portreeve_wire::VirtioNetHdr;

use crate::config::Config;
use crate::egress::HostView;
use crate::flow::mapping::Mappings;
use crate::flow::state::{Phase, PhaseEvent};
use crate::flow::table::FlowTable;
use crate::flow::tcp::Dials;
use crate::flow::tcp::stack::TcpStack;
use crate::flow::udp::ClientKey;
use crate::flow::{Body, FlowId};
use crate::fragment::reassembly::Reassembly;
use crate::gateway::GatewayState;
use crate::gateway::names::Names;
use crate::limits::MAX_FRAME_LEN;
use crate::metrics::Counters;
use crate::outbox::Outbox;
use crate::publish::{EphemeralPorts, PublishTable};
use crate::rings::{HeapRings, RingSource};
use crate::seed::Seed;
use command::{Command, CommandError, Reply};
use event::{CloseReason, Event, EventLog, RefuseReason};
use host::{
    Accepted, DatagramBatch, DialFailure, HostDatagram, HostEvent, HostNetwork, HostOp,
    IncomingDatagram, MappedDatagram, Undeliverable,
};
use losses::Losses;
use portreeve_types::Instant;
use timers::Timers;

/// The network of one guest, without any I/O.
///
/// # Order of calls
/// Input may come at any time, in any order:
/// - [`handle_guest_frame`](Self::handle_guest_frame): a frame the guest sent;
/// - [`handle_guest_gone`](Self::handle_guest_gone): the guest is gone and another may come;
/// - [`handle_accepted`](Self::handle_accepted), [`handle_datagram`](Self::handle_datagram),
///   [`handle_mapped_datagram`](Self::handle_mapped_datagram),
///   [`handle_undeliverable`](Self::handle_undeliverable),
///   [`handle_name_response`](Self::handle_name_response),
///   [`handle_name_failure`](Self::handle_name_failure),
///   [`handle_host_event`](Self::handle_host_event): what the host's sockets did;
/// - [`handle_host_network`](Self::handle_host_network): what the host's network looks like, once
///   before anything else and whenever it has changed;
/// - [`handle_command`](Self::handle_command): an order from above;
/// - [`handle_timeout`](Self::handle_timeout): [`poll_timeout`](Self::poll_timeout) has passed.
///
/// After any of them, take the output until there is none:
/// 1. [`poll_host_op`](Self::poll_host_op) until `None`, moving bytes for every
///    [`HostOp::Relay`] through [`from_guest`](Self::from_guest) and
///    [`to_guest`](Self::to_guest);
/// 2. [`poll_datagram`](Self::poll_datagram) and [`poll_name_op`](Self::poll_name_op) until
///    `None`;
/// 3. [`poll_guest_frame`](Self::poll_guest_frame) until 0 or until the link is full;
/// 4. [`poll_event`](Self::poll_event) until `None`;
/// 5. [`poll_timeout`](Self::poll_timeout) for how long to sleep.
///
/// Orders about a flow must be taken before the next client is accepted: a flow's slot may be given
/// to a new one once the old has been closed.
///
/// Time is an argument and never runs backwards: a call with an earlier time than one before is
/// taken to be at the later one.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) seed: Seed,
    pub(crate) flows: FlowTable,
    pub(crate) stack: TcpStack,
    pub(crate) timers: Timers,
    pub(crate) published: PublishTable,
    pub(crate) ports: EphemeralPorts,
    /// Clients of published UDP ports.
    pub(crate) clients: BTreeMap<ClientKey, FlowId>,
    /// Whether the guest has answered on a UDP port over IPv6 (`true`) or IPv4.
    pub(crate) udp_family: BTreeMap<PublishId, bool>,
    /// The guest's own UDP ports and echo identifiers.
    pub(crate) mappings: Mappings,
    /// Connections of the guest whose destinations have yet to answer.
    pub(crate) dials: Dials,
    pub(crate) host: HostView,
    pub(crate) names: Names,
    pub(crate) outbox: Outbox,
    pub(crate) datagrams: DatagramBatch,
    pub(crate) fragments: Reassembly,
    pub(crate) ops: VecDeque<HostOp>,
    /// Flows whose bytes the shell should move.
    relay: VecDeque<FlowId>,
    /// Flows that may have a frame for the guest.
    egress: VecDeque<FlowId>,
    pub(crate) neighbor_retry: Option<Instant>,
    pub(crate) gateway: GatewayState,
    pub(crate) events: EventLog,
    pub(crate) losses: Losses,
    pub(crate) counters: Counters,
}

impl Engine {
    /// An engine whose rings are on the heap.
    pub fn new(config: Config) -> Self {
        Self::with_rings(config, Box::new(HeapRings::default()))
    }

    /// An engine that takes ring memory from `rings`.
    pub fn with_rings(config: Config, rings: Box<dyn RingSource>) -> Self {
        let limits = &config.limits;
        let addressing = &config.addressing;
        let seed = Seed::new(config.seed);
        Self {
            now: Instant::ZERO,
            flows: FlowTable::new(seed.clone()),
            stack: TcpStack::new(
                rings,
                limits.to_guest_ring as usize,
                limits.from_guest_ring as usize,
            ),
            timers: Timers::default(),
            published: PublishTable::default(),
            ports: EphemeralPorts::new(),
            clients: BTreeMap::new(),
            udp_family: BTreeMap::new(),
            mappings: Mappings::default(),
            dials: Dials::default(),
            host: HostView::default(),
            names: Names::new(&config),
            outbox: Outbox::new(
                addressing.gateway_mac.0,
                addressing.guest_mac.map(|mac| mac.0),
                addressing.mtu,
                config.link,
                limits.control_frames,
                limits.datagram_queue_bytes,
                // The low half is meant: where identifications start.
                seed.table_hash(&"identification") as u32,
            ),
            datagrams: DatagramBatch::default(),
            fragments: Reassembly::new(limits),
            ops: VecDeque::new(),
            relay: VecDeque::new(),
            egress: VecDeque::new(),
            neighbor_retry: None,
            gateway: GatewayState::default(),
            events: EventLog::new(limits.event_backlog),
            losses: Losses::new(),
            counters: Counters::new(),
            seed,
            config,
        }
    }

    /// A frame from the guest: the virtio-net header that came with it, and the Ethernet frame.
    ///
    /// The frame is changed in place where something must be cut off or rewritten. Never fails:
    /// what cannot be used is counted.
    pub fn handle_guest_frame(&mut self, link: &VirtioNetHdr, frame: &mut [u8], now: Instant) {
        self.advance(now);
        self.losses.begin_frame();
        self.ingest(link, frame);
        self.losses.end_frame();
    }

    /// A listener accepted a client. The flow's name is for the caller's socket; on an error the
    /// caller resets the client.
    pub fn handle_accepted(
        &mut self,
        accepted: &Accepted,
        now: Instant,
    ) -> Result<FlowId, RefuseReason> {
        self.advance(now);
        self.open_published(accepted).inspect_err(|&reason| {
            self.counters.flows_refused += 1;
            self.published.refused(accepted.publish);
            self.events.push(Event::FlowRefused {
                publish: Some(accepted.publish),
                client: accepted.client,
                reason,
            });
        })
    }

    /// A datagram arrived on a published UDP port.
    pub fn handle_datagram(&mut self, datagram: &IncomingDatagram<'_>, now: Instant) {
        self.advance(now);
        self.udp_from_host(datagram);
    }

    /// A datagram or an echo reply arrived on the socket of a mapping.
    pub fn handle_mapped_datagram(&mut self, datagram: &MappedDatagram<'_>, now: Instant) {
        self.advance(now);
        self.mapping_from_host(datagram);
    }

    /// A datagram or an echo request of a mapping did not arrive.
    pub fn handle_undeliverable(&mut self, report: &Undeliverable<'_>, now: Instant) {
        self.advance(now);
        self.mapping_undeliverable(report);
    }

    /// The host's network looks like this now. Until the first call no address counts as the
    /// host's own but its loopback.
    pub fn handle_host_network(&mut self, network: &HostNetwork, now: Instant) {
        self.advance(now);
        self.host.set_addresses(network.addresses.iter().copied());
        self.names_follow(network);
    }

    /// Something happened on the host's side. Names of flows that are gone are ignored.
    pub fn handle_host_event(&mut self, event: HostEvent, now: Instant) {
        self.advance(now);
        match event {
            HostEvent::Eof(flow) => self.tcp_event(flow, PhaseEvent::HostEof),
            HostEvent::Reset(flow) => self.tcp_host_reset(flow),
            HostEvent::Connected(flow) => self.tcp_connected(flow),
            HostEvent::Failed { flow, reason } => self.host_socket_failed(flow, reason),
            HostEvent::NotSent { flow, destination } => self.mapping_not_sent(flow, destination),
            HostEvent::ClientUnreachable { publish, client, local, kind } => {
                self.udp_unreachable_for_guest(publish, client, local, kind);
            }
        }
    }

    /// An order from above. An order that fails changes nothing.
    pub fn handle_command(
        &mut self,
        command: Command,
        now: Instant,
    ) -> Result<Reply, CommandError> {
        self.advance(now);
        self.run_command(command)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.run_timers();
        self.fragments_expire();
        self.tell_losses();
    }

    /// The next order to the shell.
    pub fn poll_host_op(&mut self) -> Option<HostOp> {
        if let Some(op) = self.ops.pop_front() {
            return Some(op);
        }
        while let Some(id) = self.relay.pop_front() {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            flow.in_relay = false;
            // A flow may outlive its host socket; then nobody is left to move bytes.
            let moves = |phase: Phase| phase.takes_from_host() || phase.gives_to_host();
            let Some(tcp) = flow.tcp().filter(|tcp| moves(tcp.phase)) else { continue };
            if tcp.names.is_none() {
                return Some(HostOp::Relay(id));
            }
            self.names_relay(id);
            if let Some(op) = self.ops.pop_front() {
                return Some(op);
            }
        }
        None
    }

    /// The next datagram to send from a published UDP port or a mapping.
    pub fn poll_datagram(&mut self) -> Option<HostDatagram<'_>> {
        self.datagrams.pop()
    }

    /// Whether [`Engine::poll_datagram`] has something.
    pub fn has_datagrams(&self) -> bool {
        !self.datagrams.is_empty()
    }

    /// Writes the next frame for the guest into `frame`, virtio-net header first, and returns its
    /// length; 0 when there is none.
    ///
    /// The only exit for frames. The caller asks only while its link takes frames, so a full link
    /// pushes back on everything behind it and no frame is lost.
    ///
    /// # Panics
    /// When `frame` is shorter than [`MAX_FRAME_LEN`].
    pub fn poll_guest_frame(&mut self, frame: &mut [u8], now: Instant) -> usize {
        assert!(frame.len() >= MAX_FRAME_LEN, "a frame buffer of {} bytes", frame.len());
        self.advance(now);
        let length = self.next_frame(frame);
        if length != 0 {
            self.counters.frames_to_guest += 1;
            self.counters.bytes_to_guest += (length - portreeve_wire::VIRTIO_NET_HDR_LEN) as u64;
        }
        length
    }

    /// Whether [`Engine::poll_guest_frame`] may have something.
    pub fn has_frames(&self) -> bool {
        self.outbox.guest_mac.is_some() && self.frames_wait()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.gather_losses();
        self.events.pop()
    }

    pub(crate) fn mark_egress(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(id)
            && !std::mem::replace(&mut flow.in_egress, true)
        {
            self.egress.push_back(id);
        }
    }

    pub(crate) fn mark_relay(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(id)
            && !std::mem::replace(&mut flow.in_relay, true)
        {
            self.relay.push_back(id);
        }
    }

    /// Whether something waits for the link.
    pub(crate) fn frames_wait(&self) -> bool {
        !self.outbox.is_empty() || !self.egress.is_empty()
    }

    /// Payload bytes of a segment that fill a packet of the link's MTU.
    pub(crate) fn link_segment(&self, v6: bool) -> u16 {
        self.config.addressing.mtu - if v6 { 60 } else { 40 }
    }

    /// Whether the link cuts TCP super-segments itself.
    pub(crate) fn segments_offloaded(&self, v6: bool) -> bool {
        let link = &self.config.link;
        link.checksum && if v6 { link.tso6 } else { link.tso4 }
    }

    fn host_socket_failed(&mut self, id: FlowId, reason: DialFailure) {
        match self.flows.get(id).map(|flow| &flow.body) {
            Some(Body::Tcp(_)) => self.tcp_dial_failed(id, reason),
            Some(Body::Mapping(_)) => self.mapping_remove(id, CloseReason::Failed(reason)),
            Some(Body::Udp(_) | Body::TimeWait(_)) | None => {}
        }
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn next_frame(&mut self, frame: &mut [u8]) -> usize {
        if self.outbox.guest_mac.is_none() {
            while let Some(&id) = self.egress.front()
                && self.flows.get(id).is_none()
            {
                self.egress.pop_front();
            }
            if self.frames_wait() {
                self.seek_guest();
            }
            // Only what is addressed by itself may leave before the guest is known.
            return self.outbox.poll_addressed(frame);
        }
        let length = self.outbox.poll(frame);
        if length != 0 {
            return length;
        }
        while let Some(&id) = self.egress.front() {
            let is_tcp = self.flows.get(id).is_some_and(|f| matches!(f.body, Body::Tcp(_)));
            let length = if is_tcp { self.tcp_emit(id, frame) } else { 0 };
            self.egress.pop_front();
            if length != 0 {
                // One frame a turn: a bulk flow does not hold up the others.
                self.egress.push_back(id);
                return length;
            }
            if let Some(flow) = self.flows.get_mut(id) {
                flow.in_egress = false;
            }
        }
        0
    }
}
