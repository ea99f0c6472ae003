//! The guest's own connections, datagrams and pings in the model: steps, expectations, comparison.
//!
//! Theory. A few places outside do what the steps say: accept, soon or late, refuse in one way or
//! another, or say nothing; and some become the host's own addresses, which are forbidden. What a
//! place does when the guest asks is what the guest must see, unless it changed its mind meanwhile
//! or a link kept the guest from asking. Datagrams and pings are asked and answered within one step.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_core::{Command, DialFailure};
use portreeve_wire::icmp::{ErrorKind, Unreachable};

use super::steps::{app, listener, reading, write_more};
use super::{Expect, Model, end_soon};
use crate::app::{App, Finish, Writing};
use crate::fuzz::Input;
use crate::guest::tcp::Ends;
use crate::guest::udp::Service;
use crate::host::ClientId;
use crate::host::outside::Destination;
use crate::host::stream::{HostStream, Role, ServerSpec};
use crate::host::world::{Answer, Place};
use crate::pair::Outcome;

/// A connection of the guest's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) ends: Ends,
    expect: Seen,
    /// Somebody cut it off.
    pub(super) disturbed: bool,
}

/// What the guest must see of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// This, and nothing else.
    Exactly(Outcome),
    /// Whatever: the place changed its mind, or a link or a limit came between.
    Anything,
}

impl Model {
    /// Where the `nth` place is.
    fn place(nth: usize) -> SocketAddr {
        let ip: IpAddr = if nth.is_multiple_of(2) {
            [192, 0, 2, 100 + nth as u8].into()
        } else {
            [0x2001, 0xdb8, 9, 0, 0, 0, 0, nth as u16].into()
        };
        SocketAddr::new(ip, 443)
    }

    /// Whether the guest has the family of a place.
    fn reaches(&self, place: SocketAddr) -> bool {
        self.families[usize::from(place.is_ipv6())]
    }

    pub(super) fn guest_connects(&mut self, input: &mut Input<'_>) {
        let nth = input.below(PLACES);
        let place = Self::place(nth);
        let mut settings = listener(input);
        settings.app = app(input);
        if self.own.len() >= MAX_OWN || !self.reaches(place) {
            return;
        }
        let expect = if self.expectation(0) == Expect::Either || self.limited {
            Seen::Anything
        } else {
            self.answer_of(place)
        };
        let ends = self.pair.guest_connect_with(place, &settings);
        self.own.push(Own { ends, expect, disturbed: false });
    }

    /// What a place, or the engine in its stead, does with a connection now.
    fn answer_of(&self, place: SocketAddr) -> Seen {
        if self.forbidden.contains(&place.ip()) {
            return Seen::Exactly(Outcome::Refused);
        }
        let error = |kind| Outcome::Error(ErrorKind::Unreachable(kind));
        Seen::Exactly(match self.pair.host.outside.places.get(&place) {
            Some(Destination::Listen(_)) => Outcome::Connected,
            Some(Destination::Fail(reason, _)) => match reason {
                DialFailure::NetworkUnreachable => error(Unreachable::Network),
                DialFailure::HostUnreachable | DialFailure::TimedOut => error(Unreachable::Host),
                DialFailure::Prohibited => error(Unreachable::Prohibited),
                _ => Outcome::Refused,
            },
            Some(Destination::Blackhole) | None => error(Unreachable::Host),
        })
    }

    /// A place changes what it does.
    pub(super) fn change_place(&mut self, input: &mut Input<'_>) {
        let place = Self::place(input.below(PLACES));
        let after = Duration::from_millis(u64::from(input.byte()) * 10);
        let what = match input.below(5) {
            0 => Destination::Blackhole,
            1 => Destination::Fail(FAILURES[input.below(FAILURES.len())], after),
            _ => {
                let like = listener(input);
                let delay = if input.flag() { after } else { Duration::ZERO };
                let (send_buffer, receive_buffer) = (like.send_buffer, like.receive_buffer);
                Destination::Listen(ServerSpec {
                    delay,
                    send_buffer,
                    receive_buffer,
                    app: like.app,
                })
            }
        };
        self.pair.host.outside.place(place, what);
        self.unsettle_own();
    }

    /// Connections that are still being opened may see anything.
    pub(super) fn unsettle_own(&mut self) {
        for own in &mut self.own {
            if self.pair.outcome(own.ends) == Outcome::Waiting {
                own.expect = Seen::Anything;
            }
        }
    }

    /// Some of the places are the host's own from now on, and the others are not.
    pub(super) fn change_network(&mut self, input: &mut Input<'_>) {
        let byte = input.byte();
        let own = (0..PLACES).filter(|nth| byte >> nth & 1 != 0).map(|nth| Self::place(nth).ip());
        self.forbidden = own.collect();
        let addresses: Vec<_> = self.forbidden.iter().copied().collect();
        self.pair.set_host_addresses(&addresses);
        self.unsettle_own();
    }

    /// One of the servers that were reached.
    fn server(&self, input: &mut Input<'_>) -> Option<ClientId> {
        let is_server = |at: &usize| matches!(self.pair.host.clients()[*at].role, Role::Server(_));
        let all: Vec<_> = (0..self.pair.host.clients().len()).filter(is_server).collect();
        (!all.is_empty()).then(|| ClientId(all[input.below(all.len())]))
    }

    pub(super) fn server_acts(&mut self, input: &mut Input<'_>) {
        let kind = input.below(6);
        let Some(id) = self.server(input) else { return };
        let server = self.pair.host.client(id);
        let ends = server.ends;
        match kind {
            0 => {
                let length = input.length();
                write_more(&mut self.pair.host.peer_mut(id).app, length);
            }
            1 => {
                if matches!(server.peer.app.writing, Writing::Stream(_)) {
                    self.pair.host.peer_mut(id).app.finish = Finish::AfterWriting;
                }
            }
            2 => {
                let reading = reading(input);
                self.pair.host.peer_mut(id).app.reading = reading;
            }
            3 | 4 => {
                if !server.is_done() {
                    self.disturb(ends);
                }
                if kind == 3 { self.pair.host.reset(id) } else { self.pair.host.close(id) }
            }
            _ => {
                if let Some(flow) = server.flow {
                    self.disturb(ends);
                    assert!(self.pair.command(Command::Kill(flow)).is_ok(), "a live flow");
                }
            }
        }
    }

    /// Somebody cuts off what has these ends.
    pub(super) fn disturb(&mut self, ends: Option<Ends>) {
        for own in self.own.iter_mut().filter(|own| Some(own.ends) == ends) {
            own.disturbed = true;
            own.expect = Seen::Anything;
        }
    }

    /// The guest asks by datagram, and has its answer or its error within the step.
    pub(super) fn guest_sends(&mut self, input: &mut Input<'_>) {
        let place = Self::place(input.below(PLACES));
        let port = 6000 + input.below(6) as u16;
        let length = (input.length() as usize).min(60_000);
        let kind = input.below(4);
        let calm = self.expectation(0) != Expect::Either;
        if !self.reaches(place) || !calm {
            return;
        }
        let to = SocketAddr::new(place.ip(), 7000);
        let what = PLACE_KINDS[kind];
        self.pair.host.world.udp.insert(to, what);
        self.pair.guest.udp.serve(port, Service::Sink);
        self.datagrams += 1;
        let mut payload = self.datagrams.to_be_bytes().to_vec();
        payload.resize(4 + length, input.byte());
        let room = self.has_room();
        let (before, errors) = (self.pair.guest.udp.received.len(), self.pair.guest.errors.len());
        self.pair.guest_send_udp(port, to, &payload);
        self.pair.run_for(Duration::from_millis(300));
        // What belongs to this question: others may still have been on their way.
        let mut received = self.pair.guest.udp.received.split_off(before);
        received.retain(|got| got.payload.starts_with(&self.datagrams.to_be_bytes()));
        let mut errors = self.pair.guest.errors.split_off(errors);
        errors.retain(|error| error.upper.get(8..12) == Some(&payload[..4]));
        if !room {
            return;
        }
        let told = || self.pair.describe();
        let expected = self.error_of(place, what);
        let echoed = expected.is_none() && what.answer == Answer::Echo;
        assert_eq!(received.len(), usize::from(echoed), "an echo\n{}", told());
        assert!(received.iter().all(|got| got.from == to && got.payload == payload));
        let kinds: Vec<_> = errors.iter().map(|error| error.kind).collect();
        assert_eq!(kinds, Vec::from_iter(expected), "an error about {to}\n{}", told());
    }

    /// The same with a ping.
    pub(super) fn guest_pings(&mut self, input: &mut Input<'_>) {
        let place = Self::place(input.below(PLACES));
        let identifier = input.below(6) as u16;
        let length = (input.length() as usize).min(60_000);
        let kind = input.below(4);
        if !self.reaches(place) || self.expectation(0) == Expect::Either {
            return;
        }
        let what = PLACE_KINDS[kind];
        self.pair.host.world.echo.insert(place.ip(), what);
        self.datagrams += 1;
        let sequence = self.datagrams as u16;
        let payload = vec![input.byte(); length];
        let room = self.has_room();
        let errors = self.pair.guest.errors.len();
        self.pair.guest_ping(identifier, sequence, place.ip(), &payload);
        self.pair.run_for(Duration::from_millis(300));
        let mut echoes = std::mem::take(&mut self.pair.guest.echoes);
        echoes.retain(|echo| echo.sequence == sequence);
        let mut errors = self.pair.guest.errors.split_off(errors);
        errors.retain(|error| error.upper.get(6..8) == Some(&sequence.to_be_bytes()));
        if !room {
            return;
        }
        let expected = self.error_of(place, what);
        let echoed = expected.is_none() && what.answer == Answer::Echo;
        assert_eq!(echoes.len(), usize::from(echoed), "an echo\n{}", self.pair.describe());
        assert!(echoes.iter().all(|echo| {
            (echo.from, echo.identifier, echo.sequence) == (place.ip(), identifier, sequence)
                && echo.payload == payload
        }));
        let kinds: Vec<_> = errors.iter().map(|error| error.kind).collect();
        assert_eq!(kinds, Vec::from_iter(expected), "an error about {place}");
    }

    /// What the guest is told of a datagram to a place that does this.
    fn error_of(&self, place: SocketAddr, what: Place) -> Option<ErrorKind> {
        if self.forbidden.contains(&place.ip()) {
            return Some(ErrorKind::Unreachable(Unreachable::Prohibited));
        }
        match what.answer {
            Answer::Unreachable(kind, _) => Some(ErrorKind::Unreachable(kind)),
            Answer::Echo | Answer::Sink => None,
        }
    }

    /// Whether another flow is within every limit that a run may have, when all that the guest has
    /// asked for has come.
    pub(super) fn has_room(&self) -> bool {
        let waiting = |own: &&Own| self.pair.outcome(own.ends) == Outcome::Waiting;
        let flows = self.pair.engine.flow_count() + self.own.iter().filter(waiting).count();
        !self.limited || flows < MOST_FLOWS_FOR_DATAGRAMS
    }

    /// Somebody says something about a datagram that left, or speaks without being asked.
    pub(super) fn world_speaks(&mut self, input: &mut Input<'_>) {
        let kind = input.byte();
        let world = &mut self.pair.host.world;
        if world.departed.is_empty() {
            return;
        }
        let about = world.departed[input.below(world.departed.len())].clone();
        let errors = [
            ErrorKind::Unreachable(Unreachable::Port),
            ErrorKind::Unreachable(Unreachable::Network),
            ErrorKind::TooBig { mtu: u32::from(input.short()) },
            ErrorKind::TimeExceeded,
        ];
        if kind & 1 != 0 {
            let shown = usize::from(input.byte());
            world.report(&about, errors[usize::from(kind >> 1 & 3)], None, shown);
        } else {
            let mut source = about.destination;
            if kind & 2 != 0 && source.port() != 0 {
                source.set_port(input.short());
            }
            world.send(about.flow, source, input.slice());
        }
        self.pair.run_for(Duration::from_millis(1));
    }

    /// Every server reads and finishes.
    pub(super) fn finish_own(&mut self) {
        for at in 0..self.pair.host.clients().len() {
            if matches!(self.pair.host.clients()[at].role, Role::Server(_)) {
                end_soon(&mut self.pair.host.peer_mut(ClientId(at)).app);
            }
        }
    }

    /// Where the guest's reset was lost and nobody speaks, nobody finds out: as in life.
    pub(super) fn reset_forgotten(&mut self) {
        for at in 0..self.pair.host.clients().len() {
            let server = &self.pair.host.clients()[at];
            let known = self.own.iter().find(|own| Some(own.ends) == server.ends);
            let over = known
                .is_none_or(|own| own.disturbed || !self.pair.connection(own.ends).established);
            if self.rough && !server.is_done() && over {
                self.pair.host.reset(ClientId(at));
            }
        }
    }

    pub(super) fn compare_own(&self, own: &Own) {
        let connection = self.pair.connection(own.ends);
        let told = |what: &str| format!("{what}: {own:?} {connection:?}\n{}", self.pair.describe());
        let of_own = |stream: &&HostStream| {
            matches!(stream.role, Role::Server(_)) && stream.ends == Some(own.ends)
        };
        let servers: Vec<_> = self.pair.host.clients().iter().filter(of_own).collect();
        for server in &servers {
            assert!(server.is_done(), "{}: {server:?}", told("not done"));
        }
        if let Seen::Exactly(expected) = own.expect
            && !own.disturbed
        {
            assert_eq!(self.pair.outcome(own.ends), expected, "{}", told("it saw something else"));
        }
        if !connection.established {
            assert_eq!(connection.peer.check.length(), 0, "{}", told("bytes from nobody"));
            let heard = servers.iter().any(|server| server.peer.check.length() != 0);
            assert!(!heard, "{}", told("bytes without a connection"));
            return;
        }
        // A SYN that a rough link delivers once more when all is over opens another connection, of
        // which the guest wants to know nothing.
        let heard = |server: &&&HostStream| (server.peer.check.length(), server.peer.eof);
        let Some(server) = servers.iter().max_by_key(heard) else {
            panic!("{}", told("connected to nobody"))
        };
        assert!(self.rough || servers.len() == 1, "{}", told("connected twice"));
        let (up, down) = (&server.peer.check, &connection.peer.check);
        assert!(up.is_prefix_of(connection.peer.stream), "{}", told("another guest's bytes"));
        assert!(up.length() <= connection.peer.sent(), "{}", told("more than was sent"));
        assert!(down.length() <= server.peer.sent(), "{}", told("more than was sent"));
        if !own.disturbed {
            let told = |what: &str| format!("{} {server:?}", told(what));
            assert_eq!(up.length(), connection.peer.sent(), "{}", told("lost on the way out"));
            assert_eq!(down.length(), server.peer.sent(), "{}", told("lost on the way in"));
            assert!(server.peer.eof && connection.fin, "{}", told("no orderly end"));
        }
    }

    /// Places before the first step: some serve, one refuses, one says nothing.
    pub(super) fn first_places(&mut self) {
        for nth in 0..PLACES - 2 {
            self.pair.serve(Self::place(nth), if nth < 2 { App::ECHO } else { App::answer(5000) });
        }
        let refusal = Destination::Fail(DialFailure::Refused, Duration::ZERO);
        self.pair.host.outside.place(Self::place(PLACES - 2), refusal);
    }
}

/// Places that the guest may ask.
const PLACES: usize = 6;
/// Connections of the guest's own in one run.
const MAX_OWN: usize = 24;
/// Below the smallest limit that a run may have.
const MOST_FLOWS_FOR_DATAGRAMS: usize = 5;
const FAILURES: [DialFailure; 8] = [
    DialFailure::Refused,
    DialFailure::NetworkUnreachable,
    DialFailure::HostUnreachable,
    DialFailure::TimedOut,
    DialFailure::Prohibited,
    DialFailure::HostAddress,
    DialFailure::Exhausted,
    DialFailure::Other,
];
const PLACE_KINDS: [Place; 4] = [
    Place::ECHO,
    Place::SINK,
    Place::CLOSED,
    Place { answer: Answer::Unreachable(Unreachable::Host, None), ..Place::ECHO },
];
