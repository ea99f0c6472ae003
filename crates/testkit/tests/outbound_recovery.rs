//! The guest's own connections under losses that smoltcp alone would not recover from, whatever
//! numbers the streams begin with.

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_core::CloseReason;
use portreeve_testkit::packet::{self, Segment, flag};
use portreeve_testkit::{
    App, Destination, End, Listener, Outcome, Pair, PairSpec, Reading, Script, ServerSpec, content,
};
use portreeve_wire::VirtioNetHdr;

const ISN: u32 = 1000;
const SOON: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_secs(3);

fn somewhere(v6: bool) -> SocketAddr {
    if v6 { "[2001:db8::9]:443" } else { "192.0.2.9:443" }.parse().expect("an address")
}

/// A connection whose server has written so much. The script has heard all of it and said
/// nothing.
fn written(v6: bool, port: u16, app: App) -> (Pair, Script) {
    let mut pair = Pair::new(PairSpec::default());
    pair.scripted = true;
    pair.serve(somewhere(v6), App::open(0));
    let mut script = Script::connecting(&mut pair, port, somewhere(v6), ISN);
    let server = pair.host.server_of((script.local, script.remote)).expect("a server");
    pair.host.peer_mut(server).app = app;
    pair.run_for(SOON);
    let first = script.expected;
    script.listen(&mut pair);
    script.expected = first;
    (pair, script)
}

#[test]
fn a_tail_lost_while_the_window_was_closed_is_repeated() {
    let (mut low, mut high) = (0, 0);
    for port in 5000..5024 {
        let v6 = port % 2 == 1;
        let (mut pair, mut script) = written(v6, port, App::open(2000));
        if script.expected < 1 << 31 {
            low += 1
        } else {
            high += 1
        }
        let segment = if v6 { 1440 } else { 1460 };
        script.acknowledge(&mut pair, segment, 0);
        script.acknowledge(&mut pair, segment, 0xffff);
        let tail = (segment, 2000 - segment as usize, false);
        let heard = script.repeated(&mut pair, LATE);
        assert!(heard.contains(&tail), "{port}, number {}: {heard:?}", script.expected);
    }
    assert!(low > 3 && high > 3, "numbers in both halves of the space: {low}, {high}");
}

#[test]
fn a_fin_behind_a_window_that_was_closed_arrives() {
    for port in 5000..5012 {
        let (mut pair, mut script) = written(port % 2 == 1, port, App::source(2000));
        script.acknowledge(&mut pair, 1000, 0);
        script.acknowledge(&mut pair, 2000, 0xffff);
        let heard = script.repeated(&mut pair, LATE);
        assert!(heard.contains(&(2000, 0, true)), "{heard:?}");
        script.acknowledge(&mut pair, 2001, 0xffff);
        assert_eq!(script.repeated(&mut pair, LATE), []);
        script.expected = script.expected.wrapping_add(2001);
        script.say(&mut pair, &content::bytes(content::StreamId(5), 500));
        assert_eq!(script.acknowledged(), Some(ISN + 501));
    }
}

#[test]
fn a_guest_that_ends_first_and_reads_late_gets_the_rest() {
    for port in 5000..5012 {
        let (mut pair, mut script) = written(port % 2 == 1, port, App::answer(20_000));
        script.window = 2000;
        let first = script.expected;
        let fin = script.segment(flag::FIN | flag::ACK, &[]);
        script.send(&mut pair, &fin);
        let mut got = 0u32;
        let mut ended = false;
        for _ in 0..400 {
            for (offset, length, fin) in script.repeated(&mut pair, Duration::from_millis(50)) {
                if offset == got && length != 0 {
                    got += length as u32;
                }
                ended |= fin && offset + length as u32 == got;
            }
            let taken = got + u32::from(ended);
            script.acknowledge(&mut pair, taken, 2000);
            if ended {
                break;
            }
        }
        assert!(ended, "{port}, number {first}: {got} bytes\n{}", pair.describe());
        assert_eq!(got, 20_000);
        pair.run_for(SOON);
        assert_eq!(pair.engine.flow_count(), 0);
    }
}

#[test]
fn a_syn_ack_that_is_lost_is_repeated_and_no_second_dial_made() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.serve(somewhere(v6), App::open(100));
        pair.guest.scripted.insert(5000);
        let from = SocketAddr::new(pair.guest.address(v6), 5000);
        let mut syn = Segment::new(from, somewhere(v6), flag::SYN);
        syn.sequence = ISN;
        pair.guest.send_segment(&syn);
        for _ in 0..3 {
            pair.run_for(Duration::from_secs(1));
            pair.guest.send_segment(&syn);
        }
        pair.run_for(SOON);
        let answers: Vec<_> = pair.guest.segments.drain(..).map(|(_, answer)| answer).collect();
        assert!(answers.len() >= 3, "{answers:?}");
        for answer in &answers {
            assert_eq!(answer.flags, flag::SYN | flag::ACK);
            assert_eq!(answer.acknowledgement, ISN + 1);
            assert_eq!(answer.sequence, answers[0].sequence);
        }
        assert_eq!(pair.host.outside.dialled.len(), 1);
        let server = pair.server((from, somewhere(v6))).unwrap();
        assert_eq!(server.unread(), 100, "nothing goes before the handshake is complete");
        // The data of the guest may come with the acknowledgement.
        let data = Segment {
            flags: flag::ACK,
            sequence: ISN + 1,
            acknowledgement: answers[0].sequence.wrapping_add(1),
            payload: content::bytes(content::StreamId(5), 200),
            ..syn
        };
        pair.guest.send_segment(&data);
        pair.run_for(SOON);
        assert_eq!(pair.server((from, somewhere(v6))).unwrap().peer.check.length(), 200);
    }
}

#[test]
fn data_far_beyond_the_window_before_the_first_acknowledgement_reaches_nobody() {
    for v6 in [false, true] {
        for offloaded in [false, true] {
            let spec = PairSpec::default();
            let mut pair = Pair::new(if offloaded { spec.offloaded() } else { spec });
            pair.scripted = true;
            let reading = App { reading: Reading::Paused, ..App::open(0) };
            let server = ServerSpec { receive_buffer: 1000, ..ServerSpec::new(reading) };
            pair.host.outside.place(somewhere(v6), Destination::Listen(server));
            let script = Script::connecting(&mut pair, 5000, somewhere(v6), ISN);
            for distance in [500_000u32, 300_000, 262_144, 262_143, 100_000, 65_536, 65_535] {
                let mut data = script.segment(flag::ACK, &[0xee; 1400]);
                data.sequence = data.sequence.wrapping_add(distance);
                pair.guest.send_segment(&data);
            }
            pair.run_for(SOON);
            let ends = (script.local, script.remote);
            assert_eq!(pair.server(ends).unwrap().waiting(), 0);
            let dropped = pair.engine.counters().drops(portreeve_core::DropReason::BeyondWindow);
            assert!(dropped >= 4, "{dropped}");
            assert_eq!(pair.server(ends).unwrap().end(), End::Open, "the flow lives on");
            pair.guest.send_segment(&script.segment(flag::RST | flag::ACK, &[]));
            pair.run_for(SOON);
            let reset = |event: &portreeve_core::Event| {
                matches!(
                    event,
                    portreeve_core::Event::FlowClosed { reason: CloseReason::GuestReset, .. }
                )
            };
            assert!(pair.events.iter().any(reset));
            pair.assert_quiescent();
        }
    }
}

/// What the guest sends fills the window to its last byte and ends there. The window, in units of
/// eight bytes, has meanwhile been told anew and reaches a few bytes less far.
fn filled_to_the_last_byte(pair: &mut Pair, script: &mut Script, first: usize) {
    let stream = content::bytes(content::StreamId(5), WINDOW);
    let mut deliver = |pair: &mut Pair, flags: u8, piece: &[u8]| {
        let segment = script.segment(flag::ACK | flags, piece);
        let (mac, gateway) = (pair.guest.nic.mac, pair.guest.nic.gateway_mac);
        let mut frame = packet::ethernet(mac, gateway, &segment.packet());
        let now = pair.now();
        pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, now);
        script.sequence = script.sequence.wrapping_add(piece.len() as u32);
    };
    deliver(pair, 0, &stream[..first]);
    // It is acknowledged before anybody has read it.
    let mut frame = vec![0; portreeve_core::MAX_FRAME_LEN];
    while pair.engine.poll_guest_frame(&mut frame, pair.now()) != 0 {}
    let mut at = first;
    for piece in stream[first..].chunks(60_000) {
        at += piece.len();
        deliver(pair, if at == WINDOW { flag::FIN } else { 0 }, piece);
    }
    pair.run_for(SOON);
    // The guest repeats what was not acknowledged, as it would.
    let received = script.listen(pair);
    let acknowledged = received.last().expect("an acknowledgement").acknowledgement;
    let missing = script.sequence.wrapping_add(1).wrapping_sub(acknowledged) as usize;
    if missing != 0 {
        assert!(missing <= 8 + 1, "{missing} bytes and the end, {first} at first");
        let mut rest = script.segment(flag::ACK | flag::FIN, &stream[WINDOW + 1 - missing..]);
        rest.sequence = acknowledged;
        pair.guest.send_segment(&rest);
        pair.run_for(SOON);
    }
}

#[test]
fn a_stream_that_fills_the_window_to_its_last_byte_arrives_whole() {
    for first in 1..=17 {
        let mut pair = Pair::new(PairSpec::default());
        pair.scripted = true;
        pair.serve(somewhere(false), App::open(0));
        let mut script = Script::connecting(&mut pair, 5000, somewhere(false), ISN);
        filled_to_the_last_byte(&mut pair, &mut script, first);
        let server = pair.server((script.local, script.remote)).unwrap();
        assert_eq!(server.peer.check.length(), WINDOW as u64, "{first}");
        assert!(server.peer.eof, "{first}");

        // And the same for a guest that was called.
        let mut pair = Pair::new(PairSpec::default());
        pair.scripted = true;
        pair.guest.scripted.insert(80);
        let port = pair.publish_tcp(80);
        let client = pair.connect(port, App::open(0));
        let mut script = Script::accepting(&mut pair, 80, ISN);
        filled_to_the_last_byte(&mut pair, &mut script, first);
        assert_eq!(pair.client(client).peer.check.length(), WINDOW as u64, "{first}");
        assert!(pair.client(client).peer.eof, "{first}");
    }
}

/// Bytes of the ring, and so of the first window.
const WINDOW: usize = 1 << 18;

#[test]
fn a_guest_that_was_switched_off_may_use_its_endpoints_again() {
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.serve(somewhere(v6), App::open(1000));
        let ends = pair.guest_connect(somewhere(v6), App::open(500));
        pair.run_for(SOON);
        assert_eq!(pair.outcome(ends), Outcome::Connected);
        // Nobody is told; the same program then opens the same connection.
        pair.guest.tcp.vanish();
        pair.guest.tcp.connect(ends, &Listener::new(App::open(700)));
        pair.run_for(Duration::from_secs(4));
        assert_eq!(pair.outcome(ends), Outcome::Connected, "{}", pair.describe());
        assert_eq!(pair.host.outside.dialled.len(), 2);
        assert_eq!(pair.connection(ends).peer.check.length(), 1000);
        assert_eq!(pair.server(ends).expect("a server").peer.check.length(), 700);
        pair.guest.tcp.abort(ends);
        pair.assert_quiescent();
    }
}
