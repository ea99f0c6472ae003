//! The alphabet: what each byte of an input does to the simulation, and what the model notes.

use std::time::Duration;

use portreeve_core::{Command, Unpublish};

use super::{Expect, GUEST_PORTS, Known, Model};
use crate::app::{App, Finish, Preamble, Reading, Writing};
use crate::fuzz::Input;
use crate::guest::port::{Listener, Port};
use crate::guest::udp::Service;
use crate::pair::client_spec;

impl Model {
    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 40 {
            0..=3 => self.connect(input),
            4 | 5 => self.client_writes(input),
            6 => self.client_shuts_down(input),
            7 => self.client_leaves(input, false),
            8 => self.client_leaves(input, true),
            9 => self.client_reads(input),
            10 | 11 => self.guest_writes(input),
            12 => self.guest_finishes(input),
            13 => self.guest_aborts(input),
            14 => self.guest_reads(input),
            15 => self.change_port(input),
            16 => self.publish_or_unpublish(input),
            17 => self.stall(input),
            18 => self.lose(input),
            19 => self.kill(input),
            20 => self.send_datagrams(input),
            21 => self.pass_time(input),
            22..=26 => self.guest_connects(input),
            27 | 28 => self.change_place(input),
            29..=31 => self.server_acts(input),
            32 | 33 => self.guest_sends(input),
            34 => self.guest_pings(input),
            35 => self.world_speaks(input),
            36 => self.change_network(input),
            37 => self.wait_long(),
            _ => self.pair.run_for(Duration::from_micros(u64::from(input.byte()) * 10)),
        }
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        if self.clients.len() >= MAX_CLIENTS {
            return;
        }
        let publish = input.below(self.ports.len());
        let port = self.ports[publish];
        let mut spec = client_spec(port.id, app(input), input.flag());
        if input.flag() {
            spec.send_buffer = 1000;
            spec.receive_buffer = 1000;
        }
        let expect = self.expectation(port.guest_port);
        let id = self.pair.connect_with(spec);
        self.clients.push(Known { id, publish, expect, disturbed: false });
    }

    /// One of the clients.
    fn client(&self, input: &mut Input<'_>) -> Option<usize> {
        (!self.clients.is_empty()).then(|| input.below(self.clients.len()))
    }

    fn client_writes(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.client(input) {
            let length = input.length();
            let peer = self.pair.host.peer_mut(self.clients[at].id);
            write_more(&mut peer.app, length);
        }
    }

    fn client_shuts_down(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.client(input) {
            self.pair.host.peer_mut(self.clients[at].id).app.finish = Finish::AfterWriting;
        }
    }

    /// A client goes away with a reset, or closes its socket for reading too.
    fn client_leaves(&mut self, input: &mut Input<'_>, in_order: bool) {
        if let Some(at) = self.client(input) {
            let known = &mut self.clients[at];
            // What was over before is not cut off any more.
            known.disturbed |= !self.pair.host.client(known.id).is_done();
            if in_order {
                self.pair.host.close(known.id);
            } else {
                self.pair.host.reset(known.id);
            }
        }
    }

    fn client_reads(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.client(input) {
            let reading = reading(input);
            self.pair.host.peer_mut(self.clients[at].id).app.reading = reading;
        }
    }

    /// One of the guest's connections.
    fn connection(&self, input: &mut Input<'_>) -> Option<crate::guest::tcp::Ends> {
        let ends = self.pair.guest.tcp.ends();
        (!ends.is_empty()).then(|| ends[input.below(ends.len())])
    }

    fn guest_writes(&mut self, input: &mut Input<'_>) {
        if let Some(ends) = self.connection(input) {
            let length = input.length();
            if let Some(peer) = self.pair.guest.tcp.peer_mut(ends) {
                write_more(&mut peer.app, length);
            }
        }
    }

    fn guest_finishes(&mut self, input: &mut Input<'_>) {
        if let Some(ends) = self.connection(input)
            && let Some(peer) = self.pair.guest.tcp.peer_mut(ends)
            && matches!(peer.app.writing, Writing::Stream(_))
        {
            peer.app.finish = Finish::AfterWriting;
        }
    }

    fn guest_aborts(&mut self, input: &mut Input<'_>) {
        if let Some(ends) = self.connection(input) {
            self.pair.guest.tcp.abort(ends);
            for known in &mut self.clients {
                let client = self.pair.host.client(known.id);
                let dialled =
                    client.ends.is_none() && self.ports[known.publish].guest_port == ends.0.port();
                known.disturbed |= client.ends == Some(ends) || dialled;
            }
            self.disturb(Some(ends));
        }
    }

    fn guest_reads(&mut self, input: &mut Input<'_>) {
        if let Some(ends) = self.connection(input) {
            let reading = reading(input);
            if let Some(peer) = self.pair.guest.tcp.peer_mut(ends) {
                peer.app.reading = reading;
            }
        }
    }

    fn change_port(&mut self, input: &mut Input<'_>) {
        let port = GUEST_PORTS[input.below(GUEST_PORTS.len())];
        let families = input.below(3);
        let what = match input.below(4) {
            0 => Port::Refuse,
            1 => Port::Silent,
            _ => Port::Listen(listener(input)),
        };
        for v6 in [false, true] {
            if families == 2 || (families == 1) == v6 {
                self.pair.guest.tcp.ports.insert((v6, port), what);
            }
        }
        self.unsettle();
    }

    fn publish_or_unpublish(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.ports.len());
        let connections = match input.below(4) {
            0 => Unpublish::Drain,
            1 => Unpublish::Reset,
            _ => {
                if self.ports.len() < MAX_PUBLISHED {
                    self.publish(GUEST_PORTS[input.below(GUEST_PORTS.len())]);
                }
                return;
            }
        };
        let publish = self.ports[at].id;
        if connections == Unpublish::Reset {
            let flows: Vec<_> =
                self.pair.engine.flows().map(|flow| Some((flow.guest, flow.remote))).collect();
            for known in self.clients.iter_mut().filter(|known| known.publish == at) {
                // The guest's side may go on when the client's is over.
                let client = self.pair.host.client(known.id);
                known.disturbed |= !client.is_done() || flows.contains(&client.ends);
            }
        }
        let known = self.pair.engine.published(publish).is_some();
        let reply = self.pair.command(Command::Unpublish { publish, connections });
        assert_eq!(reply.is_ok(), known, "an order about {publish:?} was answered by {reply:?}");
        self.ports[at].gone = true;
    }

    fn stall(&mut self, input: &mut Input<'_>) {
        let byte = input.byte();
        self.pair.to_guest.stalled = byte & 1 != 0;
        self.pair.from_guest.stalled = byte & 2 != 0;
        self.pair.guest.mute = byte & 12 == 12;
        self.rough |= self.pair.guest.mute;
        self.unsettle();
    }

    fn lose(&mut self, input: &mut Input<'_>) {
        let byte = input.byte();
        let rate = u16::from(byte >> 2) * 4;
        for link in [&mut self.pair.to_guest, &mut self.pair.from_guest] {
            link.spec.loss = if byte & 1 != 0 { rate } else { 0 };
            link.spec.reordering = if byte & 2 != 0 { rate } else { 0 };
            link.spec.duplication = if byte & 3 == 3 { rate / 2 } else { 0 };
        }
        let link = &self.pair.to_guest.spec;
        self.rough |= link.loss + link.reordering != 0;
        self.unsettle();
    }

    fn kill(&mut self, input: &mut Input<'_>) {
        if let Some(at) = self.client(input)
            && let Some(flow) = self.pair.host.client(self.clients[at].id).flow
        {
            self.clients[at].disturbed = true;
            let reply = self.pair.command(Command::Kill(flow));
            assert!(reply.is_ok(), "a live flow was answered by {reply:?}");
        }
    }

    /// A round of datagrams through a port of its own, while the link is sound.
    fn send_datagrams(&mut self, input: &mut Input<'_>) {
        if self.expectation(0) == Expect::Either {
            return;
        }
        self.pair.guest.udp.serve(53, Service::Echo);
        let port = self.pair.publish_udp(53);
        let length = (input.length() as usize).min(65_000);
        let (client, local) =
            (([192, 0, 2, 7], 4000 + u16::from(input.byte())).into(), ([192, 0, 2, 1], 53).into());
        self.datagrams += 1;
        let mut payload = self.datagrams.to_be_bytes().to_vec();
        payload.resize(4 + length, input.byte());
        let before = self.pair.host.udp.received.len();
        let room = self.has_room();
        self.pair.send_datagram(port, client, local, &payload);
        // The guest's address may have to be asked for again.
        self.pair.run_for(Duration::from_millis(300));
        let received = self.pair.host.udp.received.split_off(before);
        assert!(received.len() <= 1, "an echo came twice");
        match received.first() {
            Some(echo) => {
                assert_eq!((echo.client, echo.local, echo.publish), (client, local, port));
                assert!(echo.payload == payload, "an echo of something else");
            }
            None => assert!(!room, "an echo was lost\n{}", self.pair.describe()),
        }
        let order = Command::Unpublish { publish: port, connections: Unpublish::Reset };
        assert!(self.pair.command(order).is_ok());
    }

    /// Much time passes, but nobody is kept from speaking for so long that he counts as gone.
    fn pass_time(&mut self, input: &mut Input<'_>) {
        let time = Duration::from_millis(u64::from(input.byte()) * 20);
        let held = self.pair.to_guest.stalled
            || self.pair.from_guest.stalled
            || self.pair.guest.mute
            || self.pair.to_guest.spec.loss > 100;
        self.pair.run_for(if held { time / 20 } else { time });
    }

    /// Minutes pass, if nobody is kept from speaking.
    fn wait_long(&mut self) {
        if self.expectation(0) != Expect::Either {
            self.pair.run_for(Duration::from_secs(150));
        }
    }
}

pub(super) fn write_more(app: &mut App, length: u64) {
    if let Writing::Stream(sent) = &mut app.writing {
        *sent += length;
    }
}

/// What an application does.
pub(super) fn app(input: &mut Input<'_>) -> App {
    let finish = [Finish::AfterWriting, Finish::AfterEof, Finish::Never][input.below(3)];
    App {
        reading: Reading::Greedy,
        writing: Writing::Stream(input.length()),
        finish,
        preamble: Preamble::None,
    }
}

/// A port that accepts, in one of many ways.
pub(super) fn listener(input: &mut Input<'_>) -> Listener {
    let kind = input.byte();
    let app = if kind & 1 != 0 {
        App { writing: Writing::Echo(100 + usize::from(kind >> 2)), ..App::ECHO }
    } else {
        app(input)
    };
    let size = [1000, 4096, 65_536, 262_144][input.below(4)];
    let delay = if kind & 2 != 0 { Duration::from_millis(u64::from(kind)) } else { Duration::ZERO };
    Listener { receive_buffer: size, send_buffer: size, delay, app }
}

pub(super) fn reading(input: &mut Input<'_>) -> Reading {
    match input.below(3) {
        0 => Reading::Greedy,
        1 => Reading::Paused,
        _ => Reading::Slow {
            bytes: 1 + usize::from(input.byte()) * 16,
            every: Duration::from_millis(1 + u64::from(input.byte())),
        },
    }
}

/// Connections of one run.
const MAX_CLIENTS: usize = 24;
/// Published ports of one run.
const MAX_PUBLISHED: usize = 4;
