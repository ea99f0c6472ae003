//! The reference model: connections come, talk and go in any order that bytes describe, and both
//! ends must have seen what a plain TCP connection between them would have shown.
//!
//! Theory. Everything a step does is remembered as at most three facts about each connection: what
//! the guest did with its SYN (`expect`), and whether anybody cut it off (`disturbed`). When the
//! steps are over the links heal, everybody reads and finishes, and then the model is simple: a
//! connection that nobody cut off has delivered every byte both ways and ended in order on both
//! sides; one that was cut off has delivered a prefix and ended; one that was refused has shown
//! nothing. The guest's own connections are judged in the same way (`own.rs`). Bytes themselves are checked as they arrive (`content.rs`).

mod own;
mod steps;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use portreeve_core::RefuseReason;
use portreeve_types::PublishId;

use super::Input;
use crate::app::{App, Finish, Reading};
use crate::guest::connection::Connection;
use crate::guest::port::Port;
use crate::guest::tcp::Ends;
use crate::host::ClientId;
use crate::host::stream::{End, HostStream};
use crate::link::LinkSpec;
use crate::pair::{Pair, PairSpec};
use own::Own;
use smoltcp::socket::tcp::State;

/// Plays `data` and compares.
///
/// # Panics
/// When anything differs from the model.
pub fn run_model(data: &[u8]) {
    let mut input = Input::new(data);
    let mut model = Model::new(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < MAX_STEPS {
        model.step(&mut input);
        steps += 1;
    }
    model.finish();
}

/// The simulation and what is known of it.
struct Model {
    pair: Pair,
    ports: Vec<PublishedPort>,
    clients: Vec<Known>,
    /// Connections of the guest's own.
    own: Vec<Own>,
    /// Addresses outside that are the host's own at the moment.
    forbidden: BTreeSet<IpAddr>,
    /// Whether limits are so low that anything may be refused.
    limited: bool,
    datagrams: u32,
    /// Families that the guest has: IPv4, IPv6.
    families: [bool; 2],
    /// Whether a link or the guest ever lost a frame or changed their order.
    rough: bool,
}

/// A published port.
#[derive(Clone, Copy, Debug)]
struct PublishedPort {
    id: PublishId,
    guest_port: u16,
    gone: bool,
}

/// What is known of one client's connection.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: ClientId,
    publish: usize,
    expect: Expect,
    /// Somebody cut it off.
    disturbed: bool,
}

/// What the guest does with a connection's SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Served,
    Refused,
    /// It changed its mind, or the link kept it from saying so.
    Either,
}

impl Model {
    fn new(input: &mut Input<'_>) -> Self {
        let flags = input.byte();
        let mut spec = PairSpec::default().seeded(u64::from(input.byte()));
        if flags & 1 != 0 {
            spec = spec.offloaded();
        }
        let mut families = [true, true];
        match (flags >> 1) & 3 {
            1 => {
                spec.config.addressing.ipv4 = None;
                families[0] = false;
            }
            2 => {
                spec.config.addressing.ipv6 = None;
                families[1] = false;
            }
            _ => {}
        }
        if flags & 8 != 0 {
            spec.config.addressing.guest_mac = None;
        }
        if flags & 16 != 0 {
            spec.config.limits.to_guest_ring = 4096;
            spec.config.limits.from_guest_ring = 4096;
        }
        if flags & 32 != 0 {
            spec.to_guest.capacity = 4;
            spec.from_guest.capacity = 4;
        }
        if flags & 64 != 0 {
            spec.config.limits.max_flows_per_port = 3;
            spec.config.limits.max_flows = 5;
            spec.config.limits.max_dials = 2;
            spec.config.limits.max_mappings = 3;
        }
        let mut pair = Pair::new(spec);
        if flags & 128 != 0 {
            pair.host.chunk = 100;
        }
        for port in GUEST_PORTS {
            pair.guest.listen(port, steps::listener(input));
        }
        let mut model = Self {
            pair,
            ports: Vec::new(),
            clients: Vec::new(),
            own: Vec::new(),
            forbidden: BTreeSet::new(),
            limited: flags & 64 != 0,
            datagrams: 0,
            families,
            rough: false,
        };
        model.publish(GUEST_PORTS[0]);
        model.first_places();
        model
    }

    fn publish(&mut self, guest_port: u16) {
        let id = self.pair.publish_tcp(guest_port);
        self.ports.push(PublishedPort { id, guest_port, gone: false });
    }

    /// What a guest's port does with a SYN now.
    fn expectation(&self, guest_port: u16) -> Expect {
        let sound = |link: &LinkSpec| link.loss + link.reordering + link.duplication == 0;
        let calm = sound(&self.pair.to_guest.spec)
            && sound(&self.pair.from_guest.spec)
            && !self.pair.to_guest.stalled
            && !self.pair.from_guest.stalled
            && !self.pair.guest.mute;
        if !calm {
            return Expect::Either;
        }
        let listens = |v6: bool| {
            let port = self.pair.guest.tcp.ports.get(&(v6, guest_port));
            self.families[usize::from(v6)] && matches!(port, Some(Port::Listen(_)))
        };
        if listens(false) || listens(true) { Expect::Served } else { Expect::Refused }
    }

    /// The guest or the link is no longer what it was: connections that are still being dialled
    /// may meet either.
    fn unsettle(&mut self) {
        for known in &mut self.clients {
            if self.pair.host.client(known.id).ends.is_none() {
                known.expect = Expect::Either;
            }
        }
        self.unsettle_own();
    }

    /// Everything heals, everybody reads and finishes; then both ends are compared.
    fn finish(&mut self) {
        self.pair.to_guest.stalled = false;
        self.pair.from_guest.stalled = false;
        self.pair.to_guest.spec = LinkSpec { capacity: 64, ..LinkSpec::PERFECT };
        self.pair.from_guest.spec = LinkSpec { capacity: 64, ..LinkSpec::PERFECT };
        self.pair.guest.mute = false;
        for _ in 0..60 {
            let guest = self.pair.guest.tcp.peers_mut();
            guest.for_each(|peer| end_soon(&mut peer.app));
            self.finish_own();
            for at in 0..self.clients.len() {
                end_soon(&mut self.pair.host.peer_mut(self.clients[at].id).app);
            }
            self.pair.run_for(Duration::from_secs(5));
            let waits = self.pair.host.clients().iter().any(|stream| !stream.is_done());
            let idle = self.rough || self.pair.guest.tcp.live() == 0;
            if !waits && idle && self.pair.engine.flow_count() == 0 {
                break;
            }
        }
        // Where the guest's reset was lost and nobody speaks, nobody finds out: as in life.
        for known in self.clients.iter().filter(|known| self.rough && known.disturbed) {
            if !self.pair.host.client(known.id).is_done() {
                self.pair.host.reset(known.id);
            }
        }
        self.reset_forgotten();
        // A guest that repeats what nobody acknowledges finds out with the next repetition.
        self.pair.run_for(Duration::from_secs(if self.rough { 65 } else { 5 }));
        for known in &self.clients {
            self.compare(known);
        }
        for own in &self.own {
            self.compare_own(own);
        }
        // Where resets were lost, a guest with nothing to say does not know that it is alone.
        let left = self.pair.guest.tcp.connections();
        let left = left.filter(|c| c.state() != State::TimeWait);
        let left = left.filter(|c| !self.rough || c.unacknowledged() != 0).count();
        assert_eq!(left, 0, "{}", self.pair.describe());
        self.pair.assert_quiescent();
    }

    fn compare(&self, known: &Known) {
        let client = self.pair.host.client(known.id);
        let told = |what: &str| format!("{what}: {known:?} {client:?}\n{}", self.pair.describe());
        assert!(client.is_done(), "{}", told("not done"));
        if let Some(reason) = client.refused {
            let allowed = match reason {
                RefuseReason::NotPublished => self.ports[known.publish].gone,
                RefuseReason::PortLimit | RefuseReason::FlowLimit => true,
                _ => false,
            };
            assert!(allowed, "{}", told("turned away without a reason"));
            return;
        }
        let Some(ends) = client.ends else {
            assert_eq!(client.peer.check.length(), 0, "{}", told("bytes without a connection"));
            assert_ne!(client.end(), End::Eof, "{}", told("an end without a connection"));
            let refused = known.disturbed || known.expect != Expect::Served;
            assert!(refused, "{}", told("refused, though the guest listens"));
            return;
        };
        assert_ne!(known.expect, Expect::Refused, "{}", told("served by nobody"));
        let connection = self.other_end(client, ends);
        if let Some(connection) = connection {
            let (up, down) = (&connection.peer.check, &client.peer.check);
            assert!(up.is_prefix_of(client.peer.stream), "{}", told("another client's bytes"));
            assert!(up.length() <= client.peer.sent(), "{}", told("more than was sent"));
            assert!(down.length() <= connection.peer.sent(), "{}", told("more than was sent"));
        }
        if !known.disturbed {
            let Some(connection) = connection else { panic!("{}", told("no other end")) };
            self.compare_whole(known, client, connection);
        }
    }

    /// A connection that nobody cut off.
    fn compare_whole(&self, known: &Known, client: &HostStream, connection: &Connection) {
        let told = |what: &str| {
            format!("{what}: {known:?} {client:?} {connection:?}\n{}", self.pair.describe())
        };
        assert!(connection.established, "{}", told("shown before the guest accepted"));
        let (up, down) = (connection.peer.check.length(), client.peer.check.length());
        assert_eq!(up, client.peer.sent(), "{}", told("lost on the way to the guest"));
        assert_eq!(down, connection.peer.sent(), "{}", told("lost on the way to the client"));
        assert!(client.peer.eof, "{}", told("no orderly end for the client"));
        assert!(connection.fin, "{}", told("no orderly end for the guest"));
    }

    /// The guest's connection that carried a client's.
    fn other_end(&self, client: &HostStream, ends: Ends) -> Option<&Connection> {
        let tcp = &self.pair.guest.tcp;
        if client.peer.check.length() >= 8
            && let Some(stream) = client.peer.check.stream()
            && stream != client.peer.stream
        {
            return tcp.writing(stream);
        }
        tcp.reading(client.peer.stream).or_else(|| {
            // Too few bytes to tell by; the endpoints do, if they were used once.
            let same = |known: &&Known| self.pair.host.client(known.id).ends == Some(ends);
            let unique = self.clients.iter().filter(same).count() == 1;
            tcp.opened(ends).filter(|_| unique)
        })
    }
}

/// Reads everything and ends its stream behind what it has written.
fn end_soon(app: &mut App) {
    app.reading = Reading::Greedy;
    app.finish = match app.writing {
        crate::app::Writing::Echo(_) => Finish::AfterEof,
        crate::app::Writing::Stream(_) => Finish::AfterWriting,
    };
}

/// Guest ports that may be published.
const GUEST_PORTS: [u16; 3] = [80, 81, 82];
/// Steps of one run.
const MAX_STEPS: usize = 200;
