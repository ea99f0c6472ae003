//! The event loop: the one place where descriptors, the clock and the sans-IO core meet.
//!
//! Owns the thread's order of work and no decision. One turn: take what the kernel says is ready,
//! carry out orders, accept clients, take frames from the guest, let due timers run, move bytes for
//! every flow that has some, and hand out frames until the link is full. Readiness is
//! edge-triggered and remembered per socket, so no descriptor is ever re-registered and an idle
//! flow costs nothing. Every step is bounded, and what a bound leaves over is gone on with in the
//! next turn without sleeping.

mod capture;
mod datagrams;
mod dials;
mod drain;
mod guest;
mod lingering;
mod listeners;
pub(crate) mod mailbox;
mod mappings;
mod name_server;
mod names;
mod ports;
mod reports;
mod streams;
mod view;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use portreeve_core::{Config, HostNetwork, HostOp, Instant};
use portreeve_link::{Link, MAX_FRAME_LEN};
use portreeve_types::{Egress, Limits, PublishedPort, StaticRecord};

use crate::capture::CaptureSink;
use crate::clock::Clock;
use crate::error::StartError;
use crate::event::{Event, EventLog, EventSource};
use crate::sys::rings::ArenaEngine;
use datagrams::Datagrams;
use drain::Drain;
use guest::LinkState;
use lingering::Lingering;
use listeners::Listeners;
use mailbox::Order;
use mappings::Mappings;
use names::NameExchanges;
use streams::Streams;
use view::LoopCounters;

const LINK: Token = Token(0);
const WAKER: Token = Token(1);
/// Listeners' tokens go up from here, those of questions to name servers from [`NAMES`], flows'
/// from [`FLOWS`].
const LISTENERS: usize = 1 << 8;
const NAMES: usize = 1 << 23;
const FLOWS: usize = 1 << 24;

/// Readiness taken from the kernel at once.
const EVENTS: usize = 1024;
/// Exchanges with the guest in one turn, before the kernel is asked what else is ready.
const ROUNDS: usize = 4;
/// A reader's copy takes microseconds; then what waits for it can be handed over.
const HAND_OVER_AGAIN: Duration = Duration::from_millis(1);

/// One engine's loop.
pub(crate) struct Driver {
    core: ArenaEngine,
    link: Box<dyn Link>,
    poll: Poll,
    clock: Clock,
    mailbox: Receiver<Order>,
    listeners: Listeners,
    streams: Streams,
    lingering: Lingering,
    datagrams: Datagrams,
    mappings: Mappings,
    names: NameExchanges,
    /// How the guest's own traffic leaves the host.
    egress: Egress,
    event_log: EventLog,
    captures: Vec<CaptureSink>,
    /// Ports that are unpublished and whose connections go on.
    draining: Vec<PublishedPort>,
    drain: Option<Drain>,
    link_state: LinkState,
    frame_in: Box<[u8]>,
    frame_out: Box<[u8]>,
    /// Flows whose relay used up its share of a turn.
    again: VecDeque<portreeve_core::FlowId>,
    counters: LoopCounters,
    limits: Limits,
    /// How long undelivered bytes may make no progress once their sender is gone.
    close_grace: Duration,
    /// More orders wait than one turn carries out.
    orders_left: bool,
}

impl Driver {
    pub(crate) fn new(
        config: Config,
        link: Box<dyn Link>,
        mailbox: Receiver<Order>,
        network: &HostNetwork,
        own_names: &[StaticRecord],
    ) -> Result<(Self, Arc<Waker>), StartError> {
        let fail = |operation| move |source| StartError::EventLoop { operation, source };
        let poll = Poll::new().map_err(fail("epoll_create1"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(fail("eventfd"))?;
        let both = Interest::READABLE | Interest::WRITABLE;
        register(poll.registry(), link.event_fd().as_raw_fd(), LINK, both)
            .map_err(fail("watching the link"))?;
        let limits = config.limits.clone();
        let egress = config.egress.clone();
        let close_grace = Duration::from_millis(limits.close_grace_ms);
        let clock = Clock::new();
        let mut core = ArenaEngine::new(config);
        core.handle_host_network(network, clock.now());
        if let Some(server) = core.name_server() {
            for record in own_names {
                if !server.add_own_record(record) {
                    tracing::warn!(name = %record.name, "no room for a name of the gateway's own");
                }
            }
        }
        let driver = Self {
            core,
            link,
            poll,
            clock,
            mailbox,
            listeners: Listeners::default(),
            streams: Streams::default(),
            lingering: Lingering::default(),
            datagrams: Datagrams::new(),
            mappings: Mappings::default(),
            names: NameExchanges::default(),
            egress,
            event_log: EventLog::new(limits.event_backlog),
            captures: Vec::new(),
            draining: Vec::new(),
            drain: None,
            link_state: LinkState::default(),
            frame_in: vec![0; MAX_FRAME_LEN].into(),
            frame_out: vec![0; MAX_FRAME_LEN].into(),
            again: VecDeque::new(),
            counters: LoopCounters::default(),
            limits,
            close_grace,
            orders_left: false,
        };
        Ok((driver, Arc::new(waker)))
    }

    /// Runs until ordered to stop or until nobody is left to give orders.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut woken = std::time::Instant::now();
        loop {
            let timeout = self.sleep();
            self.counters.busy += woken.elapsed();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "the event loop cannot wait for its descriptors");
                    break;
                }
            }
            woken = std::time::Instant::now();
            let ordered = self.note_readiness(&events);
            if (ordered || std::mem::take(&mut self.orders_left))
                && self.carry_out_orders().is_break()
            {
                break;
            }
            self.turn();
        }
        self.streams.end_all();
    }

    /// How long nothing needs doing: zero when the last turn left work over.
    fn sleep(&self) -> Option<Duration> {
        let busy = self.link_state.readable && !self.link_state.gone
            || !self.again.is_empty()
            || self.orders_left
            || self.names.any_ready()
            || self.listeners.any_ready()
            || ((self.listeners.any_ready_udp() || self.mappings.any_ready())
                && datagrams::has_room(&self.core))
            || (self.link_state.writable && self.core.has_frames());
        if busy {
            return Some(Duration::ZERO);
        }
        let now = self.clock.now();
        // A reader was copying when there was something to hand over.
        let behind = self.event_log.is_behind() || self.captures_are_behind();
        let next = [
            behind.then(|| now + HAND_OVER_AGAIN),
            self.core.poll_timeout(),
            self.listeners.next_retry(),
            self.lingering.next_check(),
            self.streams.next_check(),
            self.drain.as_ref().map(Drain::next_check),
        ];
        let next = next.into_iter().flatten().min()?;
        // epoll counts in milliseconds: rounding up keeps a timer from spinning at zero.
        let left = next.since(now);
        Some(left.max(Duration::from_millis(u64::from(!left.is_zero()))))
    }

    /// Remembers what the kernel reports; says whether orders have come.
    fn note_readiness(&mut self, events: &Events) -> bool {
        let mut ordered = false;
        for event in events {
            match event.token() {
                LINK => self.link_state.note(),
                WAKER => ordered = true,
                Token(token) if token >= FLOWS => match self.streams.note(token - FLOWS, event) {
                    Some(id) => self.again.push_back(id),
                    None => self.mappings.note(token - FLOWS, event),
                },
                Token(token) if token >= NAMES => self.names.note(token - NAMES),
                Token(token) => self.listeners.note(token - LISTENERS, event),
            }
        }
        ordered
    }

    fn turn(&mut self) {
        self.counters.turns += 1;
        let now = self.clock.now();
        self.accept_clients(now);
        self.take_datagrams(now);
        self.take_mapped(now);
        self.take_name_answers(now);
        self.core.handle_timeout(now);
        for _ in 0..self.again.len() {
            if let Some(id) = self.again.pop_front() {
                self.relay(id, now);
            }
        }
        for _ in 0..ROUNDS {
            // What the guest answers within a turn has taken its time all the same.
            let now = self.clock.now();
            self.take_frames(now);
            self.carry_out_ops(now);
            self.send_datagrams(now);
            self.ask_name_servers(now);
            if self.hand_out_frames() == 0 {
                break;
            }
            // A guest behind a TAP answers within the write: its acknowledgement, or its SYN-ACK,
            // is there already, and looking costs less than being told.
            self.link_state.readable = true;
        }
        self.check_lingering(now);
        self.check_stuck(now);
        self.check_drain(now);
        self.publish_events();
        self.event_log.flush();
        self.flush_captures();
    }

    /// Carries out the core's orders until there are none.
    fn carry_out_ops(&mut self, now: Instant) {
        while let Some(op) = self.core.poll_host_op() {
            match op {
                HostOp::Relay(id) => self.relay(id, now),
                HostOp::Dial { flow, destination, hop_limit, to_host } => {
                    self.dial(flow, destination, hop_limit, to_host, now);
                }
                HostOp::Open { flow, kind, v6 } => self.open_mapping(flow, kind, v6),
                HostOp::Shutdown(id) => self.streams.shutdown(id),
                HostOp::Close(id) => {
                    self.streams.close(id);
                    self.close_mapping(id, now);
                    self.listeners.descriptor_freed();
                }
                HostOp::Reset(id) => {
                    if let Some(stream) = self.streams.take(id) {
                        self.lingering.reset(stream, now);
                    }
                    self.listeners.descriptor_freed();
                }
                HostOp::Unreachable { publish, client, local, kind } => {
                    self.datagrams.tell_unreachable(publish, client, local, kind);
                }
                _ => tracing::error!(?op, "an order this shell does not know"),
            }
        }
    }

    fn publish_events(&mut self) {
        while let Some(event) = self.core.poll_event() {
            crate::event::trace(&event);
            self.publish_event(Event::Engine(event));
        }
    }

    pub(crate) fn publish_event(&mut self, event: Event) {
        self.event_log.push(event, self.limits.event_backlog);
    }

    /// The system's time at the start of the engine's.
    pub(crate) fn started(&self) -> SystemTime {
        self.clock.started()
    }

    /// Where events can be read, from any thread.
    pub(crate) fn event_source(&self) -> EventSource {
        self.event_log.source()
    }
}

fn register(registry: &Registry, fd: i32, token: Token, interest: Interest) -> io::Result<()> {
    registry.register(&mut SourceFd(&fd), token, interest)
}
