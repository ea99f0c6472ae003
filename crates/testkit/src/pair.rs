//! Engine, guest, link and host together, on a clock that jumps to the next deadline.
//!
//! Owns the loop that the driver owns in production, and the checks that hold after every step.
//! The same seed and the same calls give the same run: [`Pair::trace`] says so in one number.

mod check;
mod guest_change;
mod outbound;
mod spec;

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::{
    Command, Config, Engine, Event, HostDatagram, Instant, MAX_FRAME_LEN, Reply, RingSource,
    UpstreamOp,
};
use portreeve_types::{Limits, PublishId, SourceMode, Transport};
use portreeve_wire::{VIRTIO_NET_HDR_LEN, VirtioNetHdr};

use crate::app::App;
use crate::guest::{Guest, GuestSpec};
use crate::host::datagram::ClientDatagram;
use crate::host::stream::{ClientSpec, HostStream};
use crate::host::{ClientId, FakeHost};
use crate::link::LinkDirection;
use crate::random::Random;
use crate::trace::Trace;

pub use outbound::Outcome;
pub use spec::{PairSpec, client_spec};

/// The simulation.
pub struct Pair {
    /// What is tested.
    pub engine: Engine,
    /// The guest.
    pub guest: Guest,
    /// The host's sockets.
    pub host: FakeHost,
    /// Frames for the guest.
    pub to_guest: LinkDirection,
    /// Frames from the guest.
    pub from_guest: LinkDirection,
    /// What the engine reported.
    pub events: Vec<Event>,
    /// Questions that the gateway's name server has for others, and those it gave up.
    pub name_ops: Vec<UpstreamOp>,
    /// Set where a script plays the guest, which then accepts without the testkit's knowledge.
    pub scripted: bool,
    /// Calls of the engine for its own timers.
    pub wakeups: u64,
    config: Config,
    /// What may have been reached under limits that held before.
    reached: Limits,
    guest_spec: GuestSpec,
    now: Instant,
    trace: Trace,
    random: Random,
    spins: u32,
    /// Ports that the guest has used for connections of its own.
    guest_ports: u16,
    frame: Vec<u8>,
}

impl Pair {
    /// A pair at rest.
    pub fn new(spec: PairSpec) -> Self {
        Self::build(spec, None)
    }

    /// A pair whose engine takes ring memory from `rings`.
    pub fn with_rings(spec: PairSpec, rings: Box<dyn RingSource>) -> Self {
        Self::build(spec, Some(rings))
    }

    fn build(spec: PairSpec, rings: Option<Box<dyn RingSource>>) -> Self {
        let PairSpec { mut config, guest, to_guest, from_guest, seed } = spec;
        config.link = guest.offers;
        let engine = match rings {
            Some(rings) => Engine::with_rings(config.clone(), rings),
            None => Engine::new(config.clone()),
        };
        Self {
            engine,
            guest: Guest::new(guest, &config.addressing, seed),
            host: FakeHost::new(seed ^ 1),
            to_guest: LinkDirection::new(to_guest, seed ^ 2),
            from_guest: LinkDirection::new(from_guest, seed ^ 3),
            events: Vec::new(),
            name_ops: Vec::new(),
            scripted: false,
            wakeups: 0,
            reached: config.limits.clone(),
            config,
            guest_spec: guest,
            now: Instant::from_micros(1_000_000),
            trace: Trace::default(),
            random: Random::new(seed ^ 4),
            spins: 0,
            guest_ports: 0,
            frame: vec![0; MAX_FRAME_LEN],
        }
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The run so far as one number.
    pub const fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// Publishes a port.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn publish(
        &mut self,
        transport: Transport,
        guest_port: u16,
        source: Option<SourceMode>,
    ) -> PublishId {
        self.publish_at(transport, guest_port, source, None)
    }

    /// Publishes a port that listens at this address of the host.
    ///
    /// # Panics
    /// When the engine refuses.
    pub fn publish_at(
        &mut self,
        transport: Transport,
        guest_port: u16,
        source: Option<SourceMode>,
        host: Option<SocketAddr>,
    ) -> PublishId {
        match self.command(Command::Publish { transport, guest_port, source, host }) {
            Ok(Reply::Published(id, _)) => id,
            other => panic!("a publish was answered by {other:?}"),
        }
    }

    /// Publishes a TCP port with the engine's default source.
    pub fn publish_tcp(&mut self, guest_port: u16) -> PublishId {
        self.publish(Transport::Tcp, guest_port, None)
    }

    /// Publishes a UDP port with the engine's default source.
    pub fn publish_udp(&mut self, guest_port: u16) -> PublishId {
        self.publish(Transport::Udp, guest_port, None)
    }

    /// Gives the engine an order.
    ///
    /// # Errors
    /// The engine's.
    pub fn command(&mut self, command: Command) -> Result<Reply, portreeve_core::CommandError> {
        let reply = self.engine.handle_command(command, self.now);
        self.drain();
        reply
    }

    /// Gives the engine other limits.
    ///
    /// # Errors
    /// The engine's: the names of limits that cannot change.
    pub fn set_limits(
        &mut self,
        change: impl FnOnce(&mut Limits),
    ) -> Result<Vec<&'static str>, Vec<&'static str>> {
        let mut limits = self.config.limits.clone();
        change(&mut limits);
        let changed = self.engine.set_limits(&limits, self.now)?;
        self.reached = Limits {
            max_flows: self.engine.flow_count().max(limits.max_flows),
            max_mappings: self.reached.max_mappings.max(limits.max_mappings),
            max_dials: self.reached.max_dials.max(limits.max_dials),
            control_frames: self.engine.control_queue_len().max(limits.control_frames),
            ..limits.clone()
        };
        self.config.limits = limits;
        self.drain();
        Ok(changed)
    }

    /// A client on IPv4 connects to a published port.
    pub fn connect(&mut self, publish: PublishId, app: App) -> ClientId {
        self.connect_with(client_spec(publish, app, false))
    }

    /// A client connects to a published port.
    pub fn connect_with(&mut self, spec: ClientSpec) -> ClientId {
        self.drain();
        let id = self.host.connect(spec, &mut self.engine, self.now);
        self.drain();
        id
    }

    /// A client.
    pub fn client(&self, id: ClientId) -> &HostStream {
        self.host.client(id)
    }

    /// A client sends a datagram to a published port.
    pub fn send_datagram(
        &mut self,
        publish: PublishId,
        client: SocketAddr,
        local: SocketAddr,
        payload: &[u8],
    ) {
        let payload = payload.to_vec();
        self.host.udp.send(ClientDatagram { publish, client, local, payload });
    }

    /// Runs for a time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange();
            match self.next_at() {
                Some(at) if at <= end => self.jump(at),
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    /// Runs until `done` or until `limit` has passed.
    ///
    /// # Panics
    /// When the time is over first, or when nothing would ever happen again.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + limit;
        loop {
            self.exchange();
            if done(self) {
                return;
            }
            match self.next_at() {
                Some(at) if at <= end => self.jump(at),
                Some(_) => panic!("not done after {limit:?}\n{}", self.describe()),
                None => panic!("everything stands still\n{}", self.describe()),
            }
        }
    }

    /// Runs until nothing would ever happen again, and at most for `limit`.
    pub fn settle(&mut self, limit: Duration) {
        let end = self.now + limit;
        loop {
            self.exchange();
            match self.next_at() {
                Some(at) if at <= end => self.jump(at),
                _ => return,
            }
        }
    }

    /// When something happens next by itself.
    pub fn next_at(&self) -> Option<Instant> {
        let engine = self.engine.poll_timeout();
        let links = self.to_guest.next_at().into_iter().chain(self.from_guest.next_at());
        let ends = self.guest.next_at().into_iter().chain(self.host.next_at());
        engine.into_iter().chain(links).chain(ends).min()
    }

    /// Moves the clock to `at` and lets the engine's timers run.
    pub fn jump(&mut self, at: Instant) {
        if at <= self.now {
            self.spins += 1;
            assert!(self.spins < MAX_SPINS, "a deadline that never passes\n{}", self.describe());
        } else {
            self.spins = 0;
        }
        self.now = self.now.max(at);
        if self.engine.poll_timeout().is_some_and(|due| due <= self.now) {
            self.wakeups += 1;
            self.engine.handle_timeout(self.now);
            self.drain();
        }
    }

    /// Everything that can happen without the clock moving.
    pub fn exchange(&mut self) {
        for turn in 0.. {
            assert!(turn < MAX_TURNS, "no end at one point in time\n{}", self.describe());
            let mut moved = false;
            while let Some(frame) = self.to_guest.receive(self.now) {
                moved = true;
                self.trace.number(self.now.as_micros());
                self.trace.bytes(&frame);
                self.guest.receive(&frame, self.now);
            }
            self.guest.poll(self.now);
            while self.from_guest.has_room()
                && let Some(frame) = self.guest.transmit()
            {
                moved = true;
                self.from_guest.send(frame, self.now);
            }
            while let Some(mut frame) = self.from_guest.receive(self.now) {
                moved = true;
                self.trace.bytes(&frame);
                let Some(link) = VirtioNetHdr::parse(&frame) else { continue };
                self.engine.handle_guest_frame(&link, &mut frame[VIRTIO_NET_HDR_LEN..], self.now);
                if self.random.chance(300) {
                    self.drain();
                }
            }
            self.drain();
            moved |= self.host.poll(&mut self.engine, self.now);
            self.drain();
            if !moved {
                break;
            }
        }
        self.check();
    }

    /// Takes the engine's output until there is none.
    fn drain(&mut self) {
        while let Some(op) = self.engine.poll_host_op() {
            self.host.carry_out(op, &mut self.engine, self.now);
        }
        while let Some(datagram) = self.engine.poll_datagram() {
            self.trace.bytes(payload_of(&datagram));
            self.host.send(datagram);
        }
        while let Some(op) = self.engine.poll_name_op() {
            self.name_ops.push(op);
        }
        while self.to_guest.has_room() {
            let length = self.engine.poll_guest_frame(&mut self.frame, self.now);
            if length == 0 {
                break;
            }
            self.check_answer(length);
            self.to_guest.send(self.frame[..length].to_vec(), self.now);
            // A frame may let something else happen, as the end of a flow.
            while let Some(op) = self.engine.poll_host_op() {
                self.host.carry_out(op, &mut self.engine, self.now);
            }
        }
        while let Some(op) = self.engine.poll_host_op() {
            self.host.carry_out(op, &mut self.engine, self.now);
        }
        while let Some(event) = self.engine.poll_event() {
            if let Event::FlowOpened(flow) = &event {
                self.host.opened(flow.id, (flow.guest, flow.remote));
            }
            self.events.push(event);
        }
    }

    /// Adds what both ends have seen to the trace, for a comparison of whole runs.
    pub fn finish_trace(&mut self) -> u64 {
        self.trace.number(self.now.as_micros());
        self.host.trace(&mut self.trace);
        self.trace.value()
    }
}

const fn payload_of<'a>(datagram: &HostDatagram<'a>) -> &'a [u8] {
    match *datagram {
        HostDatagram::Published { payload, .. } | HostDatagram::Mapped { payload, .. } => payload,
    }
}

/// Jumps to a deadline that does not move on.
const MAX_SPINS: u32 = 100;
/// Turns at one point in time.
const MAX_TURNS: u32 = 100_000;
