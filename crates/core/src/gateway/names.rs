//! The gateway's name server: what joins `portreeve-dns` to the guest's datagrams and streams.
//!
//! Owns who asked what: an answer goes back to the socket that the question came from, from the
//! address it was sent to. A stream to the name server is a TCP flow like any other whose host's
//! side is here (`NameStream`) and not a socket. Questions that have to leave are orders to the
//! shell, taken with [`Engine::poll_name_op`].
//!
//! Spec: RFC 1035 §4.2, RFC 7766 (TCP).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use portreeve_dns::{
    Answer, Carrier, DnsServer, ExchangeId, Framer, QueryToken, UpstreamOp, frame,
};
use portreeve_types::{DnsName, Instant, Limits};
use portreeve_wire::FlowKey;

use crate::config::Config;
use crate::engine::Engine;
use crate::engine::event::Event;
use crate::engine::host::HostNetwork;
use crate::flow::state::PhaseEvent;
use crate::flow::{Flow, FlowId};

/// The name server and the sockets that have asked it by datagram.
pub(crate) struct Names {
    server: Option<DnsServer>,
    /// Who asked, by the token the server has for it. A question may get no answer, so the oldest
    /// entry gives way to a new one.
    clients: BTreeMap<u64, FlowKey>,
    max_clients: usize,
    next: u64,
    /// Streams whose questions wait until the server takes more.
    paused: Vec<FlowId>,
    /// What was configured is not the host's.
    own_upstreams: bool,
    own_search: bool,
}

/// The host's side of a stream to the name server.
#[derive(Default)]
pub(crate) struct NameStream {
    framer: Framer,
    /// Answers on their way to the guest, and how much of them it has.
    answers: Vec<u8>,
    taken: usize,
    /// Questions without an answer so far.
    outstanding: usize,
    /// The guest asks no more.
    finished: bool,
}

impl Names {
    pub(crate) fn new(config: &Config) -> Self {
        let dns = config.dns.as_ref();
        Self {
            server: dns.map(|dns| {
                let mut server = DnsServer::new(dns, &config.limits, config.seed);
                server.set_addressing(&config.addressing);
                server
            }),
            clients: BTreeMap::new(),
            max_clients: most_clients(&config.limits),
            next: DATAGRAM_TOKENS,
            paused: Vec::new(),
            own_upstreams: dns.is_some_and(|dns| dns.upstreams.is_some()),
            own_search: dns.is_some_and(|dns| dns.search.is_some())
                || !config.announce.search.is_empty(),
        }
    }

    /// Questions that the limit `dns_pending` has turned away.
    pub(crate) fn overflowed(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| server.counters().over_limit)
    }

    /// Other limits hold from now on.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        self.max_clients = most_clients(limits);
        if let Some(server) = &mut self.server {
            server.set_limits(limits);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.server.as_ref()?.poll_timeout()
    }

    /// Nobody who has asked is there any more; answers on their way are kept for the next.
    pub(crate) fn forget_clients(&mut self) {
        self.clients.clear();
        self.paused.clear();
    }

    fn remember(&mut self, key: FlowKey) -> QueryToken {
        while self.clients.len() >= self.max_clients {
            self.clients.pop_first();
        }
        let token = self.next;
        self.next = DATAGRAM_TOKENS | self.next.wrapping_add(1);
        self.clients.insert(token, key);
        QueryToken(token)
    }
}

impl Engine {
    /// The next order about a question to a name server outside: ask it, or forget it.
    pub fn poll_name_op(&mut self) -> Option<UpstreamOp> {
        self.names.server.as_mut()?.poll_op()
    }

    /// A name server has sent `message` in answer to an exchange.
    pub fn handle_name_response(&mut self, exchange: ExchangeId, message: &[u8], now: Instant) {
        self.advance(now);
        if let Some(server) = &mut self.names.server {
            server.handle_response(exchange, message, self.now);
        }
        self.names_flush();
    }

    /// An exchange with a name server has failed.
    pub fn handle_name_failure(&mut self, exchange: ExchangeId, now: Instant) {
        self.advance(now);
        if let Some(server) = &mut self.names.server {
            server.handle_failure(exchange, self.now);
        }
        self.names_flush();
    }

    /// The gateway's name server, to look into or to change; `None` for a gateway without one.
    pub fn name_server(&mut self) -> Option<&mut DnsServer> {
        self.names.server.as_mut()
    }

    pub(crate) fn serves_names(&self) -> bool {
        self.names.server.is_some()
    }

    /// The name that lately resolved to `address`.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        let server = self.names.server.as_ref()?;
        server.names().name_of(address, self.now).map(Arc::from)
    }

    /// The host's name servers, or its ways out, are these now.
    pub(crate) fn names_follow(&mut self, network: &HostNetwork) {
        let Some(server) = &mut self.names.server else { return };
        server.set_ipv6_upstream(network.has_ipv6);
        if !self.names.own_upstreams {
            server.set_upstreams(network.name_servers.clone(), network.search.clone());
        }
        if !self.names.own_search {
            // A domain that is none cannot be announced.
            let usable = network.search.iter().filter_map(|name| name.parse::<DnsName>().ok());
            self.config.announce.search = usable.map(|name| name.to_string()).collect();
        }
        self.names_flush();
    }

    pub(crate) fn names_timeout(&mut self) {
        let due = self.names.poll_timeout().is_some_and(|at| at <= self.now);
        if let Some(server) = self.names.server.as_mut().filter(|_| due) {
            server.handle_timeout(self.now);
            self.names_flush();
        }
    }

    /// A question that came by datagram.
    pub(crate) fn names_datagram(&mut self, key: &FlowKey, message: &[u8]) {
        let token = self.names.remember(*key);
        if let Some(server) = &mut self.names.server {
            server.handle_query(token, Carrier::Udp, message, self.now);
        }
        self.names_flush();
    }

    /// Hands out what the server has: answers to their sockets, facts to whoever watches.
    fn names_flush(&mut self) {
        while let Some(answer) = self.names.server.as_mut().and_then(DnsServer::poll_answer) {
            self.names_answer(&answer);
            // Each answer makes room for a question, whoever has one.
            for id in std::mem::take(&mut self.names.paused) {
                self.mark_relay(id);
            }
        }
        while let Some(event) = self.names.server.as_mut().and_then(DnsServer::poll_event) {
            self.events.push(Event::Name(event));
        }
    }

    fn names_answer(&mut self, answer: &Answer) {
        match answer.carrier {
            Carrier::Udp => {
                let Some(key) = self.names.clients.remove(&answer.token.0) else { return };
                if !self.outbox.datagram(&key, [&[], &answer.message]) {
                    self.datagram_queue_full();
                }
            }
            Carrier::Tcp => {
                let id = FlowId::from_u64(answer.token.0);
                if let Some(stream) = self.name_stream(id) {
                    stream.outstanding = stream.outstanding.saturating_sub(1);
                    stream.answers.extend(frame(&answer.message).unwrap_or_default());
                    self.mark_relay(id);
                }
            }
        }
    }

    /// The guest wants a stream to the name server: it is there at once.
    pub(crate) fn tcp_serve_names(&mut self, id: FlowId) {
        if let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) {
            tcp.names = Some(Box::default());
        }
        self.tcp_connected(id);
    }

    /// Moves questions and answers of a stream, as the shell does bytes of other flows.
    pub(crate) fn names_relay(&mut self, id: FlowId) {
        let token = QueryToken(id.as_u64());
        loop {
            let takes = self.names.server.as_ref().is_some_and(|server| server.has_room(token));
            let waiting = self.name_stream(id).map_or(usize::MAX, |stream| stream.answers.len());
            if !takes {
                self.names.paused.push(id);
            }
            if !takes || waiting > ANSWERS_WAITING {
                break;
            }
            let Some(mut framer) = self.name_stream(id).map(|s| std::mem::take(&mut s.framer))
            else {
                return;
            };
            let mut message = None;
            let taken = self.from_guest(id, |bytes| {
                let (taken, whole) = framer.feed(bytes);
                message = whole;
                taken
            });
            let Some(stream) = self.name_stream(id) else { return };
            stream.framer = framer;
            stream.outstanding += usize::from(message.is_some());
            if let (Some(message), Some(server)) = (&message, &mut self.names.server) {
                server.handle_query(token, Carrier::Tcp, message, self.now);
                self.names_flush();
            }
            if taken == 0 {
                break;
            }
        }
        self.names_give(id);
    }

    fn names_give(&mut self, id: FlowId) {
        let Some(stream) = self.name_stream(id) else { return };
        let (answers, mut at) = (std::mem::take(&mut stream.answers), stream.taken);
        while at < answers.len() {
            let given = self.to_guest(id, |space| {
                let length = space.len().min(answers.len() - at);
                space[..length].copy_from_slice(&answers[at..at + length]);
                length
            });
            if given == 0 {
                break;
            }
            at += given;
        }
        let Some(stream) = self.name_stream(id) else { return };
        let done = at == answers.len();
        (stream.answers, stream.taken) = if done { (Vec::new(), 0) } else { (answers, at) };
        if done && stream.finished && stream.outstanding == 0 {
            self.tcp_event(id, PhaseEvent::HostEof);
        }
    }

    /// The guest has sent its last question on a stream.
    pub(crate) fn names_finished(&mut self, id: FlowId) {
        if let Some(stream) = self.name_stream(id) {
            stream.finished = true;
            self.mark_relay(id);
        }
    }

    /// A stream is over.
    pub(crate) fn names_closed(&mut self, id: FlowId) {
        if let Some(server) = &mut self.names.server {
            server.forget(QueryToken(id.as_u64()));
        }
    }

    fn name_stream(&mut self, id: FlowId) -> Option<&mut NameStream> {
        self.flows.get_mut(id)?.tcp_mut()?.names.as_deref_mut()
    }
}

/// Sockets that are remembered for their questions: as many again as may wait for an answer, for a
/// question may get none.
const fn most_clients(limits: &Limits) -> usize {
    2 * limits.dns_pending
}

/// Tokens from here on are datagrams'; those of streams are names of flows, which stay below.
const DATAGRAM_TOKENS: u64 = 1 << 63;
/// While so many bytes of answers wait for the guest, it is asked for no more questions.
const ANSWERS_WAITING: usize = 128 * 1024;
