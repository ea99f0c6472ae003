//! The host's side: the shell that carries out the engine's orders, on sockets of memory.
//!
//! Owns every order's execution and its check: an order about a flow that is gone, a socket closed
//! twice, bytes before the guest has accepted, all end the test. It moves bytes only when it was
//! told to or when the socket changed, so a missing order shows as a stall.

pub mod datagram;
pub mod outside;
pub mod stream;
pub mod world;

use std::collections::{BTreeSet, VecDeque};

use portreeve_core::{
    Accepted, Engine, FlowId, HostDatagram, HostEvent, HostOp, Instant, RefuseReason,
};

use crate::app::Peer;
use crate::content::StreamId;
use crate::guest::tcp::Ends;
use crate::random::Random;
use crate::trace::Trace;
use datagram::{ClientDatagram, HostUdp};
use outside::{Answered, Dialled, Outside};
use stream::{ClientSpec, Found, HostStream};
use world::{Departed, World};

/// Names a stream of the host: a client, or a server that was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub usize);

/// What the shell has for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    Stream(ClientId),
    Dial,
    Mapping,
}

/// All sockets of the host.
pub struct FakeHost {
    /// Datagrams of published ports.
    pub udp: HostUdp,
    /// Where the guest's connections go.
    pub outside: Outside,
    /// Where the guest's datagrams go.
    pub world: World,
    /// Most bytes moved by one read or write: small ones make every cut happen.
    pub chunk: usize,
    clients: Vec<HostStream>,
    by_flow: Vec<Option<(FlowId, Socket)>>,
    touched: VecDeque<ClientId>,
    timers: BTreeSet<(Instant, ClientId)>,
    random: Random,
}

impl FakeHost {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            udp: HostUdp::default(),
            outside: Outside::default(),
            world: World::default(),
            chunk: 16_384,
            clients: Vec::new(),
            by_flow: Vec::new(),
            touched: VecDeque::new(),
            timers: BTreeSet::new(),
            random: Random::new(seed),
        }
    }

    /// A client.
    pub fn client(&self, id: ClientId) -> &HostStream {
        &self.clients[id.0]
    }

    /// All clients and servers there ever were.
    pub fn clients(&self) -> &[HostStream] {
        &self.clients
    }

    /// A client's application, to change its plan.
    pub fn peer_mut(&mut self, id: ClientId) -> &mut Peer {
        self.touched.push_back(id);
        &mut self.clients[id.0].peer
    }

    /// A client throws away what waits for it, whatever it is.
    pub fn skip(&mut self, id: ClientId) {
        self.clients[id.0].skip();
        self.touched.push_back(id);
    }

    /// A client shuts down for writing.
    pub fn shutdown(&mut self, id: ClientId) {
        self.clients[id.0].shutdown();
        self.touched.push_back(id);
    }

    /// A client closes its socket in both directions.
    pub fn close(&mut self, id: ClientId) {
        self.clients[id.0].close();
        self.touched.push_back(id);
    }

    /// A client goes away with a reset.
    pub fn reset(&mut self, id: ClientId) {
        self.clients[id.0].reset();
        self.touched.push_back(id);
    }

    /// Sockets that are open in the shell.
    pub fn open_sockets(&self) -> usize {
        self.by_flow.iter().flatten().count()
    }

    /// The client that a flow carries.
    pub fn client_of(&self, flow: FlowId) -> Option<ClientId> {
        match self.socket_of(flow) {
            Some(Socket::Stream(id)) => Some(id),
            Some(Socket::Dial | Socket::Mapping) | None => None,
        }
    }

    /// The server that took the latest connection with these ends.
    pub fn server_of(&self, ends: Ends) -> Option<ClientId> {
        let dialled = |stream: &HostStream| {
            matches!(stream.role, stream::Role::Server(_)) && stream.ends == Some(ends)
        };
        self.clients.iter().rposition(dialled).map(ClientId)
    }

    /// A client connects to a published port.
    pub(crate) fn connect(
        &mut self,
        spec: ClientSpec,
        engine: &mut Engine,
        now: Instant,
    ) -> ClientId {
        let id = ClientId(self.clients.len());
        let mut client = HostStream::client(&spec, StreamId(id.0 as u64 + 1));
        let accepted = Accepted { publish: spec.publish, client: spec.address, local: spec.local };
        match engine.handle_accepted(&accepted, now) {
            Ok(flow) => {
                client.flow = Some(flow);
                self.keep(flow, Socket::Stream(id));
            }
            Err(reason) => client.turn_away(reason),
        }
        self.clients.push(client);
        self.touched.push_back(id);
        id
    }

    /// Carries out one order.
    pub(crate) fn carry_out(&mut self, op: HostOp, engine: &mut Engine, now: Instant) {
        match op {
            HostOp::Relay(flow) => {
                let id = self.expect(flow, op);
                self.work(id, true, engine, now);
            }
            HostOp::Shutdown(flow) => {
                let id = self.expect(flow, op);
                self.clients[id.0].shell_shutdown();
                self.touched.push_back(id);
            }
            HostOp::Close(flow) | HostOp::Reset(flow) => {
                self.release(flow, op);
            }
            HostOp::Dial { flow, destination, hop_limit, .. } => {
                let known = engine.flow(flow);
                if let Some(known) = &known {
                    assert_eq!(known.target, Some(destination), "what is shown is dialled");
                }
                self.keep(flow, Socket::Dial);
                let ends = known.map(|known| (known.guest, known.remote));
                self.outside.dial(Dialled { flow, destination, hop_limit, ends }, now);
            }
            HostOp::Open { flow, kind, v6 } => {
                self.keep(flow, Socket::Mapping);
                self.world.open(flow, kind, v6);
            }
            HostOp::Unreachable { publish, client, local, kind } => {
                self.udp.unreachable.push((publish, client, local, kind));
            }
            other => panic!("an order that the testkit does not know: {other:?}"),
        }
    }

    /// A datagram leaves.
    pub(crate) fn send(&mut self, datagram: HostDatagram<'_>) {
        match datagram {
            HostDatagram::Published { publish, client, local, payload } => {
                let payload = payload.to_vec();
                self.udp.received.push(ClientDatagram { publish, client, local, payload });
            }
            HostDatagram::Mapped {
                flow, destination, hop_limit, may_fragment, payload, ..
            } => {
                let payload = payload.to_vec();
                self.world.depart(Departed { flow, destination, hop_limit, may_fragment, payload });
            }
        }
    }

    /// Lets clients run whose sockets or plans changed or whose time has come. Whether any did.
    pub(crate) fn poll(&mut self, engine: &mut Engine, now: Instant) -> bool {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.touched.push_back(id);
        }
        let mut worked = self.udp.poll(engine, now);
        worked |= self.world.poll(engine, now);
        worked |= self.answer_dials(engine, now);
        while let Some(id) = self.touched.pop_front() {
            worked = true;
            self.work(id, false, engine, now);
        }
        worked
    }

    /// When something happens here by itself.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let reading = self.timers.first().map(|&(at, _)| at);
        reading.into_iter().chain(self.outside.next_at()).min()
    }

    /// Adds what each client has seen to a trace.
    pub(crate) fn trace(&self, trace: &mut Trace) {
        for client in &self.clients {
            trace.number(client.peer.check.length());
            trace.number(client.end() as u64);
        }
    }

    fn expect(&self, flow: FlowId, op: HostOp) -> ClientId {
        self.client_of(flow).unwrap_or_else(|| panic!("{op:?} names no open socket"))
    }

    fn socket_of(&self, flow: FlowId) -> Option<Socket> {
        let entry = self.by_flow.get(flow.index()).copied().flatten();
        entry.filter(|&(id, _)| id == flow).map(|(_, socket)| socket)
    }

    fn keep(&mut self, flow: FlowId, socket: Socket) {
        if self.by_flow.len() <= flow.index() {
            self.by_flow.resize(flow.index() + 1, None);
        }
        let slot = &mut self.by_flow[flow.index()];
        assert!(slot.is_none(), "a slot given out while its socket is open");
        *slot = Some((flow, socket));
    }

    /// Closes whatever socket a flow has.
    fn release(&mut self, flow: FlowId, op: HostOp) {
        let reset = matches!(op, HostOp::Reset(_));
        match self.socket_of(flow) {
            Some(Socket::Stream(id)) => {
                self.clients[id.0].shell_close(reset);
                self.touched.push_back(id);
            }
            Some(Socket::Dial) => assert!(self.outside.give_up(flow) && !reset, "{op:?}"),
            Some(Socket::Mapping) => assert!(self.world.close(flow) && !reset, "{op:?}"),
            None => panic!("{op:?} names no open socket"),
        }
        self.by_flow[flow.index()] = None;
    }

    /// Tells the engine of dials that came to something. Whether any did.
    fn answer_dials(&mut self, engine: &mut Engine, now: Instant) -> bool {
        let mut worked = false;
        while let Some(answered) = self.outside.answered(now) {
            worked = true;
            match answered {
                Answered::Connected(Dialled { flow, destination, ends, .. }, spec) => {
                    let id = ClientId(self.clients.len());
                    let stream = StreamId(id.0 as u64 + 1);
                    let server = HostStream::server(destination, &spec, stream, (flow, ends));
                    self.clients.push(server);
                    self.by_flow[flow.index()] = Some((flow, Socket::Stream(id)));
                    engine.handle_host_event(HostEvent::Connected(flow), now);
                    self.touched.push_back(id);
                }
                Answered::Failed(flow, reason) => {
                    engine.handle_host_event(HostEvent::Failed { flow, reason }, now);
                }
            }
        }
        worked
    }

    /// Application and shell take turns on one socket until neither changes anything.
    fn work(&mut self, id: ClientId, told: bool, engine: &mut Engine, now: Instant) {
        let mut told = told;
        loop {
            let changed = self.clients[id.0].run(now) || self.clients[id.0].has_error();
            if !changed && !told {
                break;
            }
            told = false;
            let Some(flow) = self.clients[id.0].flow else { break };
            if !self.pump(id, flow, engine, now) {
                break;
            }
        }
        if let Some(at) = self.clients[id.0].next_at(now) {
            self.timers.insert((at, id));
        }
    }

    /// The shell moves bytes until both directions are blocked. Whether the socket lives on.
    fn pump(&mut self, id: ClientId, flow: FlowId, engine: &mut Engine, now: Instant) -> bool {
        let client = &mut self.clients[id.0];
        let mut found = Found::default();
        loop {
            let limit = 1 + self.random.below(self.chunk as u64) as usize;
            let taken = engine.from_guest(flow, |bytes| {
                client.shell_write(&bytes[..bytes.len().min(limit)], &mut found)
            });
            let filled = engine.to_guest(flow, |space| {
                let length = space.len().min(limit);
                client.shell_read(&mut space[..length], &mut found)
            });
            if taken == 0 && filled == 0 {
                break;
            }
        }
        if found.reset || client.has_error() {
            if client.tell_reset() {
                engine.handle_host_event(HostEvent::Reset(flow), now);
            }
            return false;
        }
        if found.eof && client.tell_eof() {
            engine.handle_host_event(HostEvent::Eof(flow), now);
        }
        true
    }

    pub(crate) fn opened(&mut self, flow: FlowId, ends: Ends) {
        if let Some(id) = self.client_of(flow) {
            self.clients[id.0].ends = Some(ends);
        }
    }

    /// Why a client was turned away at once.
    pub fn refused(&self, id: ClientId) -> Option<RefuseReason> {
        self.clients[id.0].refused
    }
}
