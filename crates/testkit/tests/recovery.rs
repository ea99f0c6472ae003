//! Losses that smoltcp alone would not recover from: its timer stops with something in flight.

use std::time::Duration;

use portreeve_testkit::packet::{ethernet, flag};
use portreeve_testkit::{App, ClientId, Pair, PairSpec, Script, client_spec, content};
use portreeve_wire::VirtioNetHdr;

const ISN: u32 = 1000;
const SOON: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_secs(3);

/// A connection whose client has written so much, and finished where `app` says so. The script
/// has heard all of it and said nothing.
fn written(v6: bool, app: App) -> (Pair, ClientId, Script) {
    let mut pair = Pair::new(PairSpec::default());
    pair.scripted = true;
    pair.guest.scripted.insert(80);
    let port = pair.publish_tcp(80);
    let client = pair.connect_with(client_spec(port, App::open(0), v6));
    let mut script = Script::accepting(&mut pair, 80, ISN);
    pair.host.peer_mut(client).app = app;
    pair.run_for(SOON);
    let first = script.expected;
    script.listen(&mut pair);
    script.expected = first;
    (pair, client, script)
}

#[test]
fn a_tail_lost_while_the_window_was_closed_is_repeated() {
    for v6 in [false, true] {
        let (mut pair, _, mut script) = written(v6, App::open(2000));
        let segment = if v6 { 1440 } else { 1460 };
        script.acknowledge(&mut pair, segment, 0);
        script.acknowledge(&mut pair, segment, 0xffff);
        let tail = (segment, 2000 - segment as usize, false);
        assert!(script.repeated(&mut pair, LATE).contains(&tail));
    }
}

#[test]
fn a_window_that_closed_over_data_in_flight_is_probed() {
    let (mut pair, _, mut script) = written(false, App::open(2000));
    script.acknowledge(&mut pair, 0, 0);
    // The retransmission timer runs into the closed window; the update is lost.
    let heard = script.repeated(&mut pair, LATE);
    assert!(heard.iter().any(|&(offset, length, _)| offset == 0 && length == 1), "{heard:?}");
    script.acknowledge(&mut pair, 0, 0xffff);
    assert!(script.repeated(&mut pair, LATE).contains(&(0, 1460, false)));
}

#[test]
fn a_fin_lost_while_the_window_was_closed_is_repeated() {
    for v6 in [false, true] {
        let (mut pair, _, mut script) = written(v6, App::source(2000));
        script.acknowledge(&mut pair, 1000, 0);
        script.acknowledge(&mut pair, 2000, 0xffff);
        let heard = script.repeated(&mut pair, LATE);
        assert!(heard.contains(&(2000, 0, true)), "{heard:?}");
        script.acknowledge(&mut pair, 2001, 0xffff);
        assert_eq!(script.repeated(&mut pair, LATE), []);
        // And the stream of the guest goes on.
        script.expected = script.expected.wrapping_add(2001);
        script.say(&mut pair, &content::bytes(content::StreamId(5), 500));
        assert_eq!(script.acknowledged(), Some(ISN + 501));
    }
}

#[test]
fn duplicates_behind_data_do_not_stop_the_fin_either() {
    let (mut pair, client, script) = written(false, App::source(100));
    let mut script = script;
    script.acknowledge(&mut pair, 100, 0xffff);
    script.expected = script.expected.wrapping_add(100);
    // Data and bare acknowledgements arrive in one go, before the engine answers any.
    let data = script.segment(flag::ACK, &content::bytes(content::StreamId(5), 500));
    script.sequence = script.sequence.wrapping_add(500);
    let bare = script.segment(flag::ACK, &[]);
    for segment in [&data, &bare, &bare, &bare, &bare] {
        let mut frame = ethernet(pair.guest.nic.mac, pair.guest.nic.gateway_mac, &segment.packet());
        let now = pair.now();
        pair.engine.handle_guest_frame(&VirtioNetHdr::default(), &mut frame, now);
    }
    let heard = script.repeated(&mut pair, LATE);
    assert!(heard.contains(&(0, 0, true)), "{heard:?}");
    assert_eq!(pair.client(client).peer.check.length(), 500);
}

#[test]
fn duplicates_make_nobody_send_beyond_the_window() {
    // With super-segments a fast retransmission may be larger than the window; whatever stands
    // behind it is then out of the guest's window, acknowledgements and all.
    let mut pair = Pair::new(PairSpec::default().offloaded());
    pair.scripted = true;
    pair.guest.scripted.insert(80);
    let port = pair.publish_tcp(80);
    let client = pair.connect_with(client_spec(port, App::open(0), false));
    let mut script = Script::answering(&mut pair, 80, ISN);
    let mut syn_ack = script.syn_ack();
    syn_ack.options.truncate(4);
    syn_ack.window = 3000;
    script.send(&mut pair, &syn_ack);
    script.window = 3000;
    pair.run_for(SOON);
    script.listen(&mut pair);
    pair.host.peer_mut(client).app = App::open(40_000);
    pair.run_for(SOON);
    let first = script.expected;
    script.listen(&mut pair);
    script.expected = first;
    for _ in 0..5 {
        script.acknowledge(&mut pair, 0, 3000);
    }
    let mut taken = 0u32;
    for _ in 0..400 {
        pair.run_for(Duration::from_millis(50));
        let edge = taken + 3000;
        let mut heard = script.listen(&mut pair);
        heard.sort_by_key(|segment| segment.sequence.wrapping_sub(first));
        for segment in heard {
            let start = segment.sequence.wrapping_sub(first);
            let end = start + segment.payload.len() as u32;
            assert!(end <= edge, "nothing is sent beyond the window");
            if start <= taken && end > taken {
                taken = end;
            }
        }
        script.expected = first;
        script.acknowledge(&mut pair, taken, 3000);
        if taken == 40_000 {
            return;
        }
    }
    panic!("stalled at {taken}");
}

#[test]
fn the_end_of_a_stream_behind_a_closed_window_arrives() {
    // Both have finished, the guest first: in smoltcp's LAST-ACK a window that opens goes unheard.
    for v6 in [false, true] {
        let mut pair = Pair::new(PairSpec::default());
        pair.scripted = true;
        pair.guest.scripted.insert(80);
        let port = pair.publish_tcp(80);
        let client = pair.connect_with(client_spec(port, App::open(0), v6));
        let mut script = Script::accepting(&mut pair, 80, ISN);
        let fin = script.segment(flag::ACK | flag::FIN, &[]);
        script.send(&mut pair, &fin);
        script.acknowledge(&mut pair, 0, 8);
        script.listen(&mut pair);
        pair.host.peer_mut(client).app = App::source(2000);
        let heard = script.repeated(&mut pair, SOON);
        assert_eq!(heard, [(0, 1024, false)], "as much as the window takes");
        script.acknowledge(&mut pair, 0, 0);
        let heard = script.repeated(&mut pair, LATE);
        assert!(heard.contains(&(0, 1, false)), "a probe: {heard:?}");
        script.acknowledge(&mut pair, 0, 0xffff);
        let mut taken = 0;
        for _ in 0..10 {
            for (offset, length, fin) in script.repeated(&mut pair, LATE) {
                if offset == taken {
                    taken += length as u32 + u32::from(fin);
                }
            }
            script.acknowledge(&mut pair, taken, 0xffff);
        }
        assert_eq!(taken, 2001, "every byte and the end");
        pair.assert_quiescent();
    }
}
