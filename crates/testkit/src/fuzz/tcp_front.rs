//! TCP-shaped segments around the live sequence numbers of one flow, through its whole life.
//!
//! The guest is played by the input: flags, options and payload as they come, sequence and
//! acknowledgement numbers as small distances from where the flow really stands, which is where
//! the faults are.

use std::time::Duration;

use portreeve_core::DropReason;

use super::Input;
use crate::app::{App, Reading};
use crate::host::ClientId;
use crate::packet::{Segment, flag};
use crate::pair::{Pair, PairSpec, client_spec};
use crate::script::Script;

/// Plays a guest's side of a connection from `data`.
///
/// # Panics
/// When a stack fails, or a rule of the simulation is broken.
pub fn fuzz_tcp_front(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let mut spec = PairSpec::default();
    if flags & 1 != 0 {
        spec = spec.offloaded();
    }
    spec.config.limits.from_guest_ring =
        [4096, 65_536, 131_072, 262_144][usize::from(flags >> 1) & 3];
    spec.config.limits.to_guest_ring = [4096, 65_536][usize::from(flags >> 3) & 1];
    let v6 = flags & 16 != 0;
    let mut pair = Pair::new(spec);
    pair.scripted = true;
    pair.guest.scripted.insert(80);
    let port = pair.publish_tcp(80);
    let app = App::open(u64::from(input.byte()) * 300);
    // What the guest says is no stream that a client could check.
    let client = pair.connect_with(client_spec(port, App { reading: Reading::Paused, ..app }, v6));
    let mut script = Script::answering(&mut pair, 80, u32::from(input.byte()) << 24);
    if flags & 32 != 0 {
        let answer = script.syn_ack();
        script.send(&mut pair, &answer);
        pair.run_for(Duration::from_millis(1));
        script.listen(&mut pair);
    }
    let mut segments = 0;
    while !input.is_empty() && segments < MAX_SEGMENTS {
        step(&mut pair, &mut script, client, &mut input);
        segments += 1;
    }
    assert_eq!(pair.engine.counters().drops(DropReason::StackFault), 0);
    pair.host.reset(client);
    pair.run_for(Duration::from_secs(200));
    assert_eq!(pair.engine.flow_count(), 0, "{}", pair.describe());
    assert_eq!(pair.engine.poll_timeout(), None, "{}", pair.describe());
}

fn step(pair: &mut Pair, script: &mut Script, client: ClientId, input: &mut Input<'_>) {
    let kind = input.byte();
    match kind & 7 {
        0 => {
            let time = u64::from(input.byte());
            pair.run_for(Duration::from_millis(time * time / 8));
            script.listen(pair);
        }
        1 => client_acts(pair, client, input),
        2 => {
            // A well-behaved piece of the stream.
            let length = usize::from(input.byte()) * 16;
            let segment = script.segment(flag::ACK, &vec![0xab; length]);
            script.send(pair, &segment);
            if kind & 8 != 0 {
                pair.run_for(Duration::from_millis(1));
                script.listen(pair);
            }
        }
        _ => {
            let segment = wild(script, input, kind);
            if kind & 8 != 0 {
                script.send(pair, &segment);
            } else {
                pair.guest.send_segment(&segment);
            }
            if kind & 16 != 0 {
                pair.run_for(Duration::from_millis(1));
            }
            if kind & 32 != 0 {
                script.listen(pair);
            }
        }
    }
}

/// A segment of which nothing is certain.
fn wild(script: &Script, input: &mut Input<'_>, kind: u8) -> Segment {
    let flags = input.byte();
    let length = match kind >> 6 {
        0 => 0,
        1 => usize::from(input.byte()),
        2 => usize::from(input.byte()) * 6,
        _ => usize::from(input.short()).min(60_000),
    };
    let mut segment = script.segment(flags, &vec![0xcd; length]);
    let (near, far) = (input.byte(), input.byte());
    segment.sequence = segment.sequence.wrapping_add(distance(near));
    segment.acknowledgement = segment.acknowledgement.wrapping_add(distance(far));
    segment.window = match input.byte() {
        0 => 0,
        byte => u16::from(byte) << 8 | u16::from(byte),
    };
    segment.urgent = u16::from(near) << 4;
    if flags & 0x40 != 0 {
        let options = input.slice();
        segment.options = options[..options.len().min(40)].to_vec();
    } else if flags & flag::SYN != 0 {
        segment.options = script.syn_ack().options;
    }
    segment
}

/// Distances that matter: none, a byte, a window, a ring, half the sequence space; both ways.
fn distance(byte: u8) -> u32 {
    let magnitude = match byte & 0x7f {
        small @ 0..=31 => u32::from(small),
        middle @ 32..=63 => u32::from(middle - 31) * 1460,
        edge @ 64..=95 => 65_520 + u32::from(edge - 64),
        ring @ 96..=111 => 262_136 + u32::from(ring - 96),
        large => 1 << (large - 96),
    };
    if byte & 0x80 != 0 { magnitude.wrapping_neg() } else { magnitude }
}

fn client_acts(pair: &mut Pair, client: ClientId, input: &mut Input<'_>) {
    match input.below(4) {
        0 => pair.host.shutdown(client),
        1 => {
            let more = u64::from(input.byte()) * 100;
            let peer = pair.host.peer_mut(client);
            peer.app = App { reading: peer.app.reading, ..App::open(peer.sent() + more) };
        }
        2 => pair.host.skip(client),
        _ => pair.run_for(Duration::from_millis(100)),
    }
}

/// Segments of one run.
const MAX_SEGMENTS: usize = 400;
