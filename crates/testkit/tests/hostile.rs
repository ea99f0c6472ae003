//! Guests that lie: windows overrun, numbers guessed, headers forged. The host side stays right,
//! and no stack fails.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use portreeve_core::{CloseReason, DropReason, EgressRefusal, Event, Phase};
use portreeve_testkit::packet::{
    Segment, ethernet, flag, ip, segment_size_option, window_scale_option,
};
use portreeve_testkit::{
    App, ClientId, End, Listener, Pair, PairSpec, Random, Reading, Script, client_spec, content,
};
use portreeve_wire::packet::Protocol;
use portreeve_wire::{GsoType, VirtioNetHdr};

const SOON: Duration = Duration::from_millis(5);
const ISN: u32 = 0x7fff_0000;

/// A client that waits for the scripted guest.
fn dialled(spec: PairSpec, v6: bool, app: App) -> (Pair, ClientId) {
    let mut pair = Pair::new(spec);
    pair.scripted = true;
    pair.guest.scripted.insert(80);
    let port = pair.publish_tcp(80);
    let client = pair.connect_with(client_spec(port, app, v6));
    (pair, client)
}

/// A connection whose guest is played by a script.
fn open(v6: bool, app: App) -> (Pair, ClientId, Script) {
    let (mut pair, client) = dialled(PairSpec::default(), v6, app);
    let script = Script::accepting(&mut pair, 80, ISN);
    assert!(pair.client(client).ends.is_some());
    (pair, client, script)
}

fn faults(pair: &Pair) -> u64 {
    pair.engine.counters().drops(DropReason::StackFault)
}

/// Hands a segment to the engine, which gets no chance to say anything before the next.
fn deliver(pair: &mut Pair, segment: &Segment) {
    let mut frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &segment.packet());
    pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, pair.now());
}

/// The engine's flow, as it stands.
fn phase(pair: &Pair, client: ClientId) -> Option<Phase> {
    pair.engine.flow(pair.client(client).flow?)?.phase
}

#[test]
fn data_far_beyond_the_window_of_the_syn_reaches_nobody() {
    for v6 in [false, true] {
        for offloaded in [false, true] {
            let spec = PairSpec::default();
            let spec = if offloaded { spec.offloaded() } else { spec };
            let (mut pair, client) = dialled(spec, v6, App::open(0));
            let mut script = Script::answering(&mut pair, 80, ISN);
            let syn_ack = script.syn_ack();
            deliver(&mut pair, &syn_ack);
            script.sequence = ISN.wrapping_add(1);
            // All of it before the engine could acknowledge anything.
            for distance in [500_000u32, 300_000, 262_144, 262_143, 100_000, 65_536, 65_535, 65_534]
            {
                let mut data = script.segment(flag::ACK, &[0xee; 1400]);
                data.sequence = data.sequence.wrapping_add(distance);
                deliver(&mut pair, &data);
            }
            pair.run_for(SOON);
            assert_eq!(faults(&pair), 0);
            assert_eq!(pair.engine.counters().drops(DropReason::BeyondWindow), 8);
            assert_eq!(pair.client(client).peer.check.length(), 0);
            script.listen(&mut pair);
            let stream = content::bytes(content::StreamId(5), 1000);
            script.say(&mut pair, &stream);
            assert_eq!(pair.client(client).peer.check.length(), 1000, "the flow lives on");
        }
    }
}

#[test]
fn a_first_answer_that_is_ignored_does_not_open_the_window() {
    // A SYN-ACK that does not answer our SYN must not tell the guard where the window is.
    for ahead in [1u32 << 20, 1 << 28, 1 << 30, (1 << 31) - 100_000] {
        let (mut pair, client) = dialled(PairSpec::default(), false, App::open(0));
        let mut script = Script::answering(&mut pair, 80, ISN);
        let mut forged = script.syn_ack();
        forged.sequence = ISN.wrapping_add(ahead);
        forged.acknowledgement = forged.acknowledgement.wrapping_add(77);
        let syn_ack = script.syn_ack();
        deliver(&mut pair, &forged);
        deliver(&mut pair, &syn_ack);
        script.sequence = ISN.wrapping_add(1);
        let mut data = script.segment(flag::ACK, &[0xee; 1400]);
        data.sequence = data.sequence.wrapping_add(300_000);
        deliver(&mut pair, &data);
        pair.run_for(SOON);
        assert_eq!(faults(&pair), 0);
        assert_eq!(pair.engine.counters().drops(DropReason::BeyondWindow), 1);
        assert_eq!(phase(&pair, client), Some(Phase::Relaying));
    }
}

#[test]
fn an_overrun_window_is_held_at_any_time() {
    let (mut pair, client, mut script) =
        open(false, App { reading: Reading::Paused, ..App::open(0) });
    // Fill the window without waiting for anybody, and go on.
    let stream = content::bytes(content::StreamId(5), 2_000_000);
    for piece in stream.chunks(1400) {
        let segment = script.segment(flag::ACK, piece);
        script.send(&mut pair, &segment);
    }
    pair.run_for(Duration::from_secs(1));
    script.listen(&mut pair);
    assert_eq!(faults(&pair), 0);
    assert!(pair.engine.counters().drops(DropReason::BeyondWindow) > 0);
    let taken = script.acknowledged().unwrap().wrapping_sub(ISN + 1);
    assert!(taken <= 65_536 + 262_144, "{taken} bytes: a ring and the client's buffer");
    pair.host.peer_mut(client).app = App::open(0);
    pair.run_for(SOON);
    assert_eq!(pair.client(client).peer.check.length(), u64::from(taken), "what was acknowledged");
}

#[test]
fn a_probe_into_a_closed_window_is_answered() {
    // RFC 9293 §3.8.6.1: a guest whose window update was lost must be able to find out.
    let (mut pair, client, mut script) =
        open(false, App { reading: Reading::Paused, ..App::open(0) });
    let stream = content::bytes(content::StreamId(5), 1_000_000);
    let mut at = 0;
    loop {
        let segment = script.segment(flag::ACK, &stream[at..at + 1000]);
        script.send(&mut pair, &segment);
        pair.run_for(SOON);
        script.listen(&mut pair);
        let acknowledged = script.acknowledged().unwrap();
        at = acknowledged.wrapping_sub(ISN + 1) as usize;
        if script.received.last().unwrap().window == 0 {
            script.sequence = acknowledged;
            break;
        }
    }
    for _ in 0..3 {
        let probe = script.segment(flag::ACK, &stream[at..=at]);
        pair.guest.send_segment(&probe);
        pair.run_for(Duration::from_secs(1));
        let answers = script.listen(&mut pair);
        assert_eq!(answers.len(), 1, "every probe is answered");
        assert_eq!(answers[0].acknowledgement, script.sequence);
        assert_eq!(answers[0].window, 0);
    }
    // The window opens, the update is lost, the next probe finds out.
    pair.host.peer_mut(client).app = App::open(0);
    pair.run_for(SOON);
    script.listen(&mut pair);
    let probe = script.segment(flag::ACK, &stream[at..=at]);
    script.send(&mut pair, &probe);
    pair.run_for(SOON);
    assert!(script.listen(&mut pair).last().unwrap().window > 0);
    assert_eq!(pair.client(client).peer.check.length(), at as u64 + 1);
}

#[test]
fn a_window_that_stays_closed_is_probed_and_not_flooded() {
    let (mut pair, client, mut script) = open(false, App::open(100_000));
    script.window = 0;
    pair.run_for(SOON);
    script.listen(&mut pair);
    let shut = script.segment(flag::ACK, &[]);
    script.send(&mut pair, &shut);
    let mut probes = 0;
    for _ in 0..3600 {
        pair.run_for(Duration::from_secs(1));
        let expected = script.expected;
        for probe in script.listen(&mut pair) {
            assert!(probe.payload.len() <= 1);
            script.expected = expected;
            probes += 1;
            let shut = script.segment(flag::ACK, &[]);
            script.send(&mut pair, &shut);
        }
    }
    assert!((60..2000).contains(&probes), "{probes} probes in an hour");
    assert_eq!(pair.client(client).end(), End::Open, "it answers, so it may wait");
    pair.host.reset(client);
    pair.run_for(Duration::from_secs(5));
    script.listen(&mut pair);
    assert!(script.was_reset());
    pair.assert_quiescent();
}

#[test]
fn a_guest_that_stops_answering_probes_is_gone() {
    let (mut pair, client, mut script) = open(false, App::open(100_000));
    script.window = 0;
    let shut = script.segment(flag::ACK, &[]);
    script.send(&mut pair, &shut);
    pair.run_for(Duration::from_secs(110));
    assert_eq!(pair.client(client).end(), End::Open);
    pair.run_for(Duration::from_secs(20));
    assert_eq!(pair.client(client).end(), End::Reset);
}

#[test]
fn a_fin_that_is_lost_is_repeated_whatever_duplicates_say() {
    let (mut pair, _, mut script) = open(false, App::source(0));
    let fin = script.received.iter().find(|segment| segment.flags & flag::FIN != 0).cloned();
    let fin = fin.expect("the client has ended its stream");
    script.expected = fin.sequence;
    for _ in 0..10 {
        let duplicate = script.segment(flag::ACK, &[]);
        pair.guest.send_segment(&duplicate);
    }
    script.received.clear();
    pair.run_for(Duration::from_millis(400));
    let again = script.listen(&mut pair);
    assert!(again.iter().any(|segment| segment.flags & flag::FIN != 0), "the FIN comes again");
}

#[test]
fn resets_out_of_the_window_are_ignored_and_guesses_end_nothing() {
    let (mut pair, client, mut script) = open(false, App::open(0));
    let mut random = Random::new(9);
    for _ in 0..2000 {
        let mut reset = script.segment(flag::RST, &[]);
        reset.sequence = script.sequence.wrapping_add(300_000 + random.below(1 << 31) as u32);
        pair.guest.send_segment(&reset);
        reset.flags |= flag::ACK;
        pair.guest.send_segment(&reset);
    }
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client(client).end(), End::Open);
    let reset = script.segment(flag::RST | flag::ACK, &[]);
    script.send(&mut pair, &reset);
    pair.run_for(SOON);
    assert_eq!(pair.client(client).end(), End::Reset);
    pair.assert_quiescent();
}

#[test]
fn acknowledgements_of_what_was_never_sent_free_nothing() {
    let (mut pair, client, mut script) = open(false, App::open(50_000));
    pair.run_for(SOON);
    for ahead in [1u32, 100_000, 1 << 30, (1 << 31) - 1, 1 << 31, u32::MAX] {
        let mut segment = script.segment(flag::ACK, &[]);
        segment.acknowledgement = segment.acknowledgement.wrapping_add(60_000).wrapping_add(ahead);
        pair.guest.send_segment(&segment);
    }
    pair.run_for(SOON);
    assert_eq!(pair.client(client).end(), End::Open);
    // A guest that now plays by the rules gets every byte.
    let mut got = Vec::new();
    for segment in &script.received {
        got.extend_from_slice(&segment.payload);
    }
    while got.len() < 50_000 {
        let fresh = script.listen(&mut pair);
        let first = script.received[0].sequence.wrapping_add(1);
        for segment in fresh {
            if segment.sequence.wrapping_sub(first) as usize == got.len() {
                got.extend_from_slice(&segment.payload);
            }
        }
        script.expected = first.wrapping_add(got.len() as u32);
        let acknowledge = script.segment(flag::ACK, &[]);
        script.send(&mut pair, &acknowledge);
        pair.run_for(Duration::from_millis(300));
    }
    assert_eq!(got, content::bytes(pair.client(client).peer.stream, 50_000));
}

#[test]
fn urgent_data_is_data() {
    let (mut pair, client, mut script) = open(false, App::open(0));
    let stream = content::bytes(content::StreamId(5), 3000);
    for (nth, piece) in stream.chunks(500).enumerate() {
        let mut segment = script.segment(flag::ACK | flag::URG, piece);
        segment.urgent = [0, 1, 250, 500, 501, 0xffff][nth];
        script.send(&mut pair, &segment);
    }
    pair.run_for(SOON);
    assert_eq!(pair.client(client).peer.check.length(), 3000);
}

#[test]
fn options_that_lie_about_their_length_do_no_harm() {
    let bad: [&[u8]; 12] = [
        &[2, 0, 0, 0],
        &[2, 1, 0, 0],
        &[2, 3, 0, 0],
        &[2, 255, 5, 0xb4],
        &[3, 0, 0, 0],
        &[3, 3, 255, 0],
        &[8, 10, 0, 0],
        &[5, 2, 0, 0],
        &[5, 255, 0, 0],
        &[1, 1, 1, 2],
        &[255, 0, 0, 0],
        &[4, 0, 2, 4],
    ];
    for options in bad {
        let (mut pair, client) = dialled(PairSpec::default(), false, App::open(0));
        let mut script = Script::answering(&mut pair, 80, ISN);
        let mut syn_ack = script.syn_ack();
        syn_ack.options = options.to_vec();
        pair.guest.send_segment(&syn_ack);
        pair.run_for(SOON);
        script.listen(&mut pair);
        // Taken or dropped as malformed; a sound answer then finds the flow all the same.
        let syn_ack = script.syn_ack();
        script.send(&mut pair, &syn_ack);
        pair.run_for(SOON);
        script.listen(&mut pair);
        let mut data = script.segment(flag::ACK, &content::bytes(content::StreamId(5), 100));
        data.options = options.to_vec();
        pair.guest.send_segment(&data);
        pair.run_for(SOON);
        assert_eq!(faults(&pair), 0);
        assert_eq!(pair.client(client).end(), End::Open, "{options:?}");
    }
}

#[test]
fn tiny_and_absurd_segment_sizes() {
    for size in [0u16, 1, 47, 48, 536, 1459, 1460, 1461, 9000, 0xffff] {
        for offloaded in [false, true] {
            for v6 in [false, true] {
                let spec = PairSpec::default();
                let spec = if offloaded { spec.offloaded() } else { spec };
                let (mut pair, client) = dialled(spec, v6, App::open(20_000));
                let mut script = Script::answering(&mut pair, 80, ISN);
                let mut syn_ack = script.syn_ack();
                syn_ack.options = segment_size_option(size).to_vec();
                script.send(&mut pair, &syn_ack);
                pair.run_for(SOON);
                let fresh = script.listen(&mut pair);
                let largest = fresh.iter().map(|segment| segment.payload.len()).max().unwrap();
                // A size of nothing is taken for no size at all or for the smallest.
                let sizes = match size {
                    0 => 48..=536,
                    size => {
                        let size = usize::from(size).clamp(48, 1460);
                        size.min(1440)..=size
                    }
                };
                assert!(sizes.contains(&largest), "{size}: {largest}");
                assert_eq!(pair.client(client).end(), End::Open);
            }
        }
    }
}

#[test]
fn a_second_syn_changes_nothing() {
    // Least of all the segment size: on a link without offloads a frame larger than that would
    // be marked as a super-segment.
    for offloaded in [false, true] {
        let spec = PairSpec::default();
        let spec = if offloaded { spec.offloaded() } else { spec };
        let (mut pair, client) = dialled(spec, false, App::open(0));
        let mut script = Script::accepting(&mut pair, 80, ISN);
        for sequence in [ISN, script.sequence, script.sequence.wrapping_add(1000)] {
            for flags in [flag::SYN, flag::SYN | flag::ACK] {
                let mut again = script.segment(flags, &[]);
                again.sequence = sequence;
                again.options = segment_size_option(100).to_vec();
                pair.guest.send_segment(&again);
            }
        }
        pair.run_for(SOON);
        script.listen(&mut pair);
        assert!(!script.was_reset());
        pair.host.peer_mut(client).app = App::open(5000);
        pair.run_for(SOON);
        let fresh = script.listen(&mut pair);
        let largest = fresh.iter().map(|segment| segment.payload.len()).max().unwrap();
        assert_eq!(largest, 1460, "as the handshake said");
        let stream = content::bytes(content::StreamId(5), 100_000);
        for piece in stream.chunks(1000) {
            script.say(&mut pair, piece);
        }
        assert_eq!(pair.client(client).peer.check.length(), 100_000, "nor the window");
    }
}

#[test]
fn an_answer_that_carries_data() {
    for v6 in [false, true] {
        let (mut pair, client) = dialled(PairSpec::default(), v6, App::open(0));
        let mut script = Script::answering(&mut pair, 80, ISN);
        let stream = content::bytes(content::StreamId(5), 1000);
        let mut syn_ack = script.syn_ack();
        syn_ack.payload = stream.clone();
        pair.guest.send_segment(&syn_ack);
        pair.run_for(SOON);
        script.listen(&mut pair);
        // Taken or left: the acknowledgement says how much.
        let taken = script.acknowledged().unwrap().wrapping_sub(ISN + 1) as usize;
        script.sequence = ISN.wrapping_add(1 + taken as u32);
        script.say(&mut pair, &stream[taken..]);
        assert_eq!(pair.client(client).peer.check.length(), 1000);
    }
}

#[test]
fn a_simultaneous_open_meets_in_the_middle() {
    for v6 in [false, true] {
        let (mut pair, client) = dialled(PairSpec::default(), v6, App::open(100));
        let mut script = Script::answering(&mut pair, 80, ISN);
        let mut syn = script.syn_ack();
        syn.flags = flag::SYN;
        script.send(&mut pair, &syn);
        pair.run_for(SOON);
        script.listen(&mut pair);
        assert_eq!(phase(&pair, client), Some(Phase::DialingGuest));
        assert_eq!(pair.client(client).peer.check.length(), 0);
        let acknowledge = script.segment(flag::ACK, &[]);
        script.send(&mut pair, &acknowledge);
        pair.run_for(SOON);
        script.listen(&mut pair);
        assert_eq!(phase(&pair, client), Some(Phase::Relaying));
        script.say(&mut pair, &content::bytes(content::StreamId(5), 1000));
        assert_eq!(pair.client(client).peer.check.length(), 1000);
    }
}

#[test]
fn a_fin_that_overtakes_its_data_waits_for_it() {
    let (mut pair, client, mut script) = open(false, App::open(0));
    let stream = content::bytes(content::StreamId(5), 2000);
    let first = script.segment(flag::ACK, &stream[..1000]);
    script.send(&mut pair, &first.clone());
    let last = script.segment(flag::ACK | flag::FIN, &stream[1000..]);
    // Undo the first: it is late.
    pair.guest.transmit();
    pair.guest.send_segment(&last);
    pair.run_for(SOON);
    assert_eq!(pair.client(client).end(), End::Open);
    assert_eq!(pair.client(client).peer.check.length(), 0);
    pair.guest.send_segment(&first);
    pair.run_for(SOON);
    assert_eq!(pair.client(client).peer.check.length(), 2000);
    assert_eq!(pair.client(client).end(), End::Open, "the socket keeps no FIN for later");
    // A repetition begins behind what was acknowledged.
    let again = Segment { sequence: last.sequence.wrapping_add(1000), payload: vec![], ..last };
    pair.guest.send_segment(&again);
    pair.run_for(SOON);
    assert_eq!(pair.client(client).end(), End::Eof);
}

#[test]
fn data_after_the_fin_is_nobodys() {
    let (mut pair, client, mut script) = open(false, App::open(0));
    let stream = content::bytes(content::StreamId(5), 100);
    let fin = script.segment(flag::ACK | flag::FIN, &stream);
    script.send(&mut pair, &fin);
    script.sequence = script.sequence.wrapping_sub(1);
    for ahead in [0, 1, 50, 5000] {
        let mut data = script.segment(flag::ACK | flag::PSH, &[0xee; 500]);
        data.sequence = data.sequence.wrapping_add(ahead);
        pair.guest.send_segment(&data);
    }
    pair.run_for(SOON);
    assert_eq!(pair.client(client).peer.check.length(), 100);
    assert_eq!(pair.client(client).end(), End::Eof);
    assert_eq!(faults(&pair), 0);
}

#[test]
fn overlapping_and_repeated_segments_count_once() {
    let (mut pair, client, script) = open(false, App::open(0));
    let stream = content::bytes(content::StreamId(5), 40_000);
    let mut random = Random::new(4);
    let base = script.sequence;
    for _ in 0..2000 {
        let start = random.below(40_000) as usize;
        let end = (start + random.below(1460) as usize).min(40_000);
        let mut segment = script.segment(flag::ACK, &stream[start..end]);
        segment.sequence = base.wrapping_add(start as u32);
        pair.guest.send_segment(&segment);
        if random.chance(100) {
            pair.run_for(Duration::from_millis(1));
        }
    }
    for start in (0..40_000).step_by(1000) {
        let mut segment = script.segment(flag::ACK, &stream[start..start + 1000]);
        segment.sequence = base.wrapping_add(start as u32);
        pair.guest.send_segment(&segment);
    }
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.client(client).peer.check.length(), 40_000);
    assert_eq!(faults(&pair), 0);
}

#[test]
fn truncated_and_overlong_frames_are_counted_and_nothing_else() {
    for v6 in [false, true] {
        let (mut pair, client, script) = open(v6, App::open(0));
        let packet = script.segment(flag::ACK | flag::RST, &[7; 40]).packet();
        let whole = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &packet);
        let before = pair.engine.counters().total_drops();
        for length in 0..whole.len() {
            pair.guest.send_frame(&VirtioNetHdr::default(), &whole[..length]);
            pair.run_for(Duration::from_millis(1));
        }
        assert_eq!(pair.engine.counters().total_drops() - before, whole.len() as u64);
        // Longer than its packet: Ethernet padding, which is no part of it.
        let mut padded = ethernet(
            pair.guest.nic.mac,
            pair.guest.nic.gateway_mac,
            &script.segment(flag::ACK, &content::bytes(content::StreamId(5), 10)).packet(),
        );
        padded.resize(400, 0xee);
        pair.guest.send_frame(&VirtioNetHdr::default(), &padded);
        pair.guest.send_frame(&VirtioNetHdr::default(), &vec![0xee; 70_000]);
        pair.run_for(SOON);
        assert_eq!(pair.client(client).end(), End::Open);
        assert_eq!(pair.client(client).peer.check.length(), 10);
        assert_eq!(pair.engine.counters().drops(DropReason::FrameTooLong), 1);
    }
}

#[test]
fn checksums_are_verified_unless_the_link_vouches_for_them() {
    for v6 in [false, true] {
        let (mut pair, client, script) = open(v6, App::open(0));
        let mut packet =
            script.segment(flag::ACK, &content::bytes(content::StreamId(5), 100)).packet();
        let last = packet.len() - 1;
        packet[last] ^= 1;
        pair.guest.send_packet(&packet);
        pair.run_for(SOON);
        assert_eq!(pair.client(client).peer.check.length(), 0);
        assert_eq!(pair.engine.counters().drops(DropReason::TransportChecksum), 1);
        packet[last] ^= 1;
        // A partial checksum is none yet, whatever stands there.
        let at = if v6 { 40 } else { 20 } + 16;
        packet[at] ^= 0xff;
        let frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &packet);
        let link = VirtioNetHdr { needs_csum: true, ..VirtioNetHdr::default() };
        pair.guest.send_frame(&link, &frame);
        pair.run_for(SOON);
        assert_eq!(pair.client(client).peer.check.length(), 100);
    }
}

#[test]
fn link_headers_that_lie_do_no_harm() {
    let (mut pair, client, mut script) = open(false, App::open(0));
    let stream = content::bytes(content::StreamId(5), 16 * 1000);
    for (nth, piece) in stream.chunks(1000).enumerate() {
        let segment = script.segment(flag::ACK, piece);
        let packet = segment.packet();
        script.sequence = script.sequence.wrapping_add(1000);
        let frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &packet);
        let link = VirtioNetHdr {
            needs_csum: nth % 2 == 0,
            gso: [GsoType::Tcp4, GsoType::Tcp6, GsoType::UdpL4, GsoType::None][nth % 4],
            gso_size: [0, 1, 1460, 0xffff][nth / 4],
            hdr_len: 0xffff,
            csum_start: 0xffff,
            csum_offset: 0xffff,
            ..VirtioNetHdr::default()
        };
        pair.guest.send_frame(&link, &frame);
    }
    pair.run_for(SOON);
    assert_eq!(pair.client(client).peer.check.length(), 16_000);
}

#[test]
fn frames_of_somebody_else_are_dropped() {
    for v6 in [false, true] {
        let (mut pair, client, script) = open(v6, App::open(0));
        let data = script.segment(flag::ACK, &content::bytes(content::StreamId(5), 100));
        let frame = ethernet([2, 1, 1, 1, 1, 1], pair.guest.nic.gateway_mac, &data.packet());
        pair.guest.send_frame(&VirtioNetHdr::default(), &frame);
        let others: [IpAddr; 3] = if v6 {
            ["2001:db8::1", "::1", "fe80::2"].map(|address| address.parse().unwrap())
        } else {
            ["192.0.2.1", "127.0.0.1", "0.0.0.0"].map(|address| address.parse().unwrap())
        };
        for other in others {
            let mut forged = data.clone();
            forged.from = SocketAddr::new(other, 80);
            pair.guest.send_segment(&forged);
        }
        let gateway = pair.guest.gateway(v6);
        let mut forged = data.clone();
        forged.from = SocketAddr::new(gateway, 80);
        pair.guest.send_segment(&forged);
        pair.run_for(SOON);
        assert_eq!(pair.client(client).peer.check.length(), 0);
        assert_eq!(pair.engine.counters().drops(DropReason::SourceMac), 1);
        assert_eq!(pair.engine.counters().drops(DropReason::SourceAddress), 4);
        script_is_untouched(&mut pair, script);
    }
}

fn script_is_untouched(pair: &mut Pair, mut script: Script) {
    assert!(script.listen(pair).is_empty(), "nobody is answered");
}

#[test]
fn icmp_errors_end_no_open_connection() {
    for v6 in [false, true] {
        let (mut pair, client, mut script) = open(v6, App::open(1000));
        pair.run_for(SOON);
        let sent = script.listen(&mut pair);
        for segment in script.received.clone().iter().chain(&sent) {
            pair.guest.refuse_by_icmp(segment);
        }
        pair.run_for(SOON);
        assert_eq!(pair.client(client).end(), End::Open);
        script.say(&mut pair, &content::bytes(content::StreamId(5), 100));
        assert_eq!(pair.client(client).peer.check.length(), 100);
    }
}

#[test]
fn errors_about_strangers_and_malformed_errors_are_counted() {
    let (mut pair, client) = dialled(PairSpec::default(), false, App::open(0));
    pair.run_for(SOON);
    let (guest, gateway) = (pair.guest.address(false), pair.guest.gateway(false));
    let stranger = Segment::new(SocketAddr::new(gateway, 9), SocketAddr::new(guest, 9), flag::SYN);
    pair.guest.refuse_by_icmp(&stranger);
    for length in 0..40 {
        let mut message = vec![0u8; length];
        if let Some(kind) = message.first_mut() {
            *kind = 3;
        }
        let sum = portreeve_wire::checksum::sum(&message);
        if length >= 4 {
            let value = portreeve_wire::checksum::finish(sum).to_be_bytes();
            message[2..4].copy_from_slice(&value);
        }
        pair.guest.send_packet(&ip(guest, gateway, Protocol::ICMP, &message, None));
    }
    pair.run_for(SOON);
    assert_eq!(pair.client(client).end(), End::Open);
    assert_eq!(phase(&pair, client), Some(Phase::DialingGuest));
    assert_eq!(pair.engine.counters().drops(DropReason::NoFlow), 1);
    // A message of no bytes at all has a checksum that cannot fit; the rest is of no meaning.
    assert!(pair.engine.counters().total_drops() >= 40);
}

#[test]
fn guests_that_may_open_nothing_are_told_so() {
    for v6 in [false, true] {
        let mut spec = PairSpec::default();
        spec.config.egress.enabled = false;
        let mut pair = Pair::new(spec);
        pair.guest.scripted.insert(5000);
        let from = SocketAddr::new(pair.guest.address(v6), 5000);
        let to: SocketAddr =
            if v6 { "[2001:db8::9]:443".parse() } else { "192.0.2.9:443".parse() }.unwrap();
        let mut syn = Segment::new(from, to, flag::SYN);
        syn.sequence = 77;
        syn.options = window_scale_option(7).to_vec();
        pair.guest.send_segment(&syn);
        pair.run_for(SOON);
        let (_, answer) = pair.guest.segments.pop_front().expect("refused audibly");
        assert_eq!(answer.flags, flag::RST | flag::ACK);
        assert_eq!((answer.from, answer.acknowledgement), (to, 78));
        assert_eq!(pair.egress_refusals(), [EgressRefusal::Disabled]);
        let stray = Segment { flags: flag::ACK, acknowledgement: 99, ..syn };
        pair.guest.send_segment(&stray);
        pair.run_for(SOON);
        let (_, answer) = pair.guest.segments.pop_front().expect("so is a stray segment");
        assert_eq!((answer.flags, answer.sequence), (flag::RST, 99));
        let reset = Segment { flags: flag::RST, ..stray };
        pair.guest.send_segment(&reset);
        pair.run_for(SOON);
        assert!(pair.guest.segments.is_empty(), "a reset is never answered");
        assert_eq!(pair.engine.flow_count(), 0);
    }
}

#[test]
fn a_flood_of_syns_costs_no_flows() {
    let mut pair = Pair::new(PairSpec::default());
    pair.guest.scripted.extend(1000..2000);
    let (guest, gateway) = (pair.guest.address(false), pair.guest.gateway(false));
    for number in 0..20_000u32 {
        let from = SocketAddr::new(guest, 1000 + (number % 1000) as u16);
        let to = SocketAddr::new(gateway, (number / 1000) as u16);
        let mut frame = ethernet(
            pair.guest.nic.mac,
            pair.guest.nic.gateway_mac,
            &Segment::new(from, to, flag::SYN).packet(),
        );
        let now = pair.now();
        pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, now);
    }
    assert_eq!(pair.engine.flow_count(), 0);
    assert_eq!(pair.engine.counters().drops(DropReason::EgressDenied), 20_000);
    assert!(pair.engine.counters().drops(DropReason::ControlQueueFull) > 0, "a bounded queue");
    pair.run_for(SOON);
    pair.assert_quiescent();
}

#[test]
fn a_reset_guest_flow_is_reported_once() {
    let (mut pair, client, mut script) = open(false, App::open(0));
    for _ in 0..3 {
        let reset = script.segment(flag::RST | flag::ACK, &[]);
        script.send(&mut pair, &reset);
    }
    pair.run_for(SOON);
    let closed: Vec<_> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            Event::FlowClosed { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [CloseReason::GuestReset]);
    assert_eq!(pair.client(client).end(), End::Reset);
    pair.assert_quiescent();
}

#[test]
fn one_hostile_flow_leaves_the_others_alone() {
    let mut pair = Pair::new(PairSpec::default());
    pair.scripted = true;
    pair.guest.scripted.insert(80);
    pair.guest.listen(81, Listener::new(App::ECHO));
    let (bad, good) = (pair.publish_tcp(80), pair.publish_tcp(81));
    pair.connect(bad, App::open(0));
    let script = Script::accepting(&mut pair, 80, ISN);
    let client = pair.connect(good, App::source(300_000));
    let mut random = Random::new(11);
    let mut rounds = 0;
    while !pair.client(client).is_done() {
        rounds += 1;
        assert!(rounds < 10_000, "{}", pair.describe());
        let mut segment = script.segment(random.next_u64() as u8 & 0x3f, &[0xee; 100]);
        segment.sequence = segment.sequence.wrapping_add(random.below(100_000) as u32);
        segment.acknowledgement = segment.acknowledgement.wrapping_add(random.below(9) as u32);
        segment.window = random.next_u64() as u16;
        pair.guest.send_segment(&segment);
        pair.run_for(Duration::from_micros(100));
        pair.guest.segments.clear();
    }
    assert_eq!(pair.client(client).peer.check.length(), 300_000);
    assert_eq!(faults(&pair), 0);
}
