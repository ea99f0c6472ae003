//! Links over byte streams: framing, backpressure, guests that come and go, guests that misbehave.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use portreeve_link::{FramingFault, GoneCause, Link, SocketLink, SocketOptions, stream};
use support::{HEADER, Shell, Told, frame, kind, place, with_header};

fn pair() -> (Shell<SocketLink>, UnixStream) {
    let (ours, guest) = UnixStream::pair().unwrap();
    let link = stream::from_fd(ours.into(), &SocketOptions::default()).unwrap();
    (Shell::new(link), guest)
}

fn listening() -> (tempfile::TempDir, std::path::PathBuf, Shell<SocketLink>) {
    let (folder, path) = place();
    let link = stream::listen(&path, &SocketOptions::default()).unwrap();
    (folder, path, Shell::new(link))
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

fn read_frame(guest: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    guest.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    guest.read_exact(&mut frame).unwrap();
    frame
}

#[test]
fn frames_pass_both_ways_with_the_header_added_and_stripped() {
    let (mut shell, mut guest) = pair();
    guest.write_all(&framed(&frame(1, 60))).unwrap();
    let Told::Frame(bytes) = shell.next() else { panic!("a frame is due") };
    // VIRTIO_NET_HDR_F_DATA_VALID: checksums on a unix socket are not verified.
    assert_eq!(bytes[..HEADER], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[HEADER..], frame(1, 60));
    shell.send(&frame(2, 1514));
    assert_eq!(read_frame(&mut guest), frame(2, 1514));
}

#[test]
fn the_longest_frames_pass() {
    let (mut shell, mut guest) = pair();
    let writer = thread::spawn(move || {
        // 65,550 bytes is what libkrun sends.
        for length in [65_550, 65_593, 1, 14] {
            guest.write_all(&framed(&frame(length, length))).unwrap();
        }
        guest
    });
    for length in [65_550, 65_593, 1, 14] {
        assert_eq!(shell.frame(), frame(length, length));
    }
    let mut guest = writer.join().unwrap();
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 65_594)))), ErrorKind::InvalidInput);
    assert_eq!(kind(shell.link.send(&with_header(&[]))), ErrorKind::InvalidInput);
    let reader = thread::spawn(move || read_frame(&mut guest));
    shell.send(&frame(9, 65_593));
    shell.drain();
    while !reader.is_finished() {
        shell.edge(Duration::from_millis(5));
        shell.drain();
    }
    assert_eq!(reader.join().unwrap(), frame(9, 65_593));
}

#[test]
fn a_frame_may_arrive_in_single_bytes() {
    let (mut shell, mut guest) = pair();
    for byte in framed(&frame(3, 100)) {
        shell.silent_now();
        guest.write_all(&[byte]).unwrap();
    }
    assert_eq!(shell.frame(), frame(3, 100));
}

#[test]
fn one_read_brings_many_frames() {
    let (mut shell, mut guest) = pair();
    let all: Vec<u8> = (0..500).flat_map(|number| framed(&frame(number, 64))).collect();
    guest.write_all(&all).unwrap();
    for number in 0..500 {
        assert_eq!(shell.frame(), frame(number, 64));
    }
    shell.silent();
}

#[test]
fn a_full_socket_pushes_back_and_loses_nothing() {
    let (mut shell, mut guest) = pair();
    let taken = shell.fill(&frame(5, 1514));
    assert!(taken > 10);
    // Still full, and nothing tells of room.
    assert!(!shell.edge_without_room());
    let reader = thread::spawn(move || {
        for _ in 0..taken {
            assert_eq!(read_frame(&mut guest), frame(5, 1514));
        }
        for number in 0..2000 {
            assert_eq!(read_frame(&mut guest), frame(number, 1000 + number), "{number}");
        }
    });
    for number in 0..2000 {
        shell.send(&frame(number, 1000 + number));
    }
    // The rest of the last frame goes out without another.
    while !reader.is_finished() {
        shell.edge(Duration::from_millis(5));
        shell.drain();
    }
    reader.join().unwrap();
}

#[test]
fn the_rest_of_a_frame_goes_out_on_an_edge_alone() {
    let (mut shell, mut guest) = pair();
    // Long frames are cut where the socket is full; the last one taken is cut for sure if the
    // buffer is no multiple.
    let taken = shell.fill(&frame(6, 60_001));
    let reader = thread::spawn(move || {
        for _ in 0..taken {
            assert_eq!(read_frame(&mut guest), frame(6, 60_001));
        }
    });
    while !reader.is_finished() {
        shell.edge(Duration::from_millis(5));
        shell.drain();
    }
    reader.join().unwrap();
}

#[test]
fn gathered_frames_go_out_when_flushed_and_in_order() {
    let (mut shell, mut guest) = pair();
    guest.set_nonblocking(true).unwrap();
    shell.link.flush();
    for number in 0..20 {
        shell.send(&frame(number, 1000));
    }
    assert_eq!(kind(guest.read(&mut [0; 10])), ErrorKind::WouldBlock);
    shell.link.flush();
    guest.set_nonblocking(false).unwrap();
    for number in 0..20 {
        assert_eq!(read_frame(&mut guest), frame(number, 1000));
    }
    // One that does not fit beside those that wait takes them along.
    shell.send(&frame(1, 1000));
    shell.send(&frame(2, 65_000));
    assert_eq!(read_frame(&mut guest), frame(1, 1000));
    assert_eq!(read_frame(&mut guest), frame(2, 65_000));
}

#[test]
fn gathered_frames_are_bounded_push_back_and_lose_nothing() {
    let (ours, mut guest) = UnixStream::pair().unwrap();
    let options = SocketOptions { send_buffer: Some(20_000), ..SocketOptions::default() };
    let mut shell = Shell::new(stream::from_fd(ours.into(), &options).unwrap());
    shell.link.flush();
    let taken = shell.fill(&frame(5, 1514));
    // Twice the buffer asked for is what the kernel gives; 64 KiB wait outside it.
    assert!(taken * 1518 < 40_000 + 64 * 1024, "{taken} frames taken");
    let reader = thread::spawn(move || {
        for _ in 0..taken {
            assert_eq!(read_frame(&mut guest), frame(5, 1514));
        }
        for number in 0..3000 {
            assert_eq!(read_frame(&mut guest), frame(number, 50 + number * 7), "{number}");
        }
    });
    for number in 0..3000 {
        shell.send(&frame(number, 50 + number * 7));
        if number % 50 == 0 {
            shell.link.flush();
        }
    }
    shell.link.flush();
    while !reader.is_finished() {
        shell.edge(Duration::from_millis(5));
        shell.drain();
    }
    reader.join().unwrap();
}

#[test]
fn gathering_outlives_the_guest_and_its_frames_do_not() {
    let (_folder, path, mut shell) = listening();
    shell.link.flush();
    let guest = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    shell.send(&frame(1, 60));
    drop(guest);
    assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
    let mut guest = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    shell.send(&frame(2, 60));
    shell.send(&frame(3, 60));
    shell.link.flush();
    assert_eq!(read_frame(&mut guest), frame(2, 60));
    assert_eq!(read_frame(&mut guest), frame(3, 60));
}

#[test]
fn a_guest_that_never_reads_still_gets_its_frames_taken() {
    let (mut shell, mut guest) = pair();
    shell.fill(&frame(7, 1514));
    guest.write_all(&framed(&frame(8, 90))).unwrap();
    assert_eq!(shell.frame(), frame(8, 90));
    assert_eq!(kind(shell.link.send(&with_header(&frame(7, 1514)))), ErrorKind::WouldBlock);
}

#[test]
fn the_end_of_a_given_connection_is_the_end_of_the_link() {
    let (mut shell, mut guest) = pair();
    shell.silent();
    guest.write_all(&framed(&frame(1, 60))).unwrap();
    drop(guest);
    assert_eq!(shell.frame(), frame(1, 60));
    assert!(matches!(shell.next(), Told::Ended(text) if text.contains("closed the connection")));
    assert_eq!(kind(shell.link.receive(&mut [0; 100])), ErrorKind::BrokenPipe);
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 60)))), ErrorKind::BrokenPipe);
}

#[test]
fn what_a_guest_sent_before_it_went_is_received_after_a_failed_send() {
    let (_folder, path, mut shell) = listening();
    let mut guest = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    shell.silent();
    guest.write_all(&framed(&frame(1, 60))).unwrap();
    drop(guest);
    assert_eq!(kind(shell.link.send(&with_header(&frame(2, 60)))), ErrorKind::NotConnected);
    assert_eq!(shell.frame(), frame(1, 60));
    assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
}

#[test]
fn a_listening_link_serves_one_guest_after_the_other() {
    let (_folder, path, mut shell) = listening();
    shell.silent();
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 60)))), ErrorKind::NotConnected);
    for number in 0..3 {
        let mut guest = UnixStream::connect(&path).unwrap();
        assert_eq!(shell.next(), Told::Arrived);
        guest.write_all(&framed(&frame(number, 60))).unwrap();
        assert_eq!(shell.frame(), frame(number, 60));
        shell.send(&frame(number, 70));
        assert_eq!(read_frame(&mut guest), frame(number, 70));
        drop(guest);
        assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
        shell.silent();
    }
}

#[test]
fn a_second_guest_waits_for_the_first_to_go() {
    let (_folder, path, mut shell) = listening();
    let first = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    let mut second = UnixStream::connect(&path).unwrap();
    second.write_all(&framed(&frame(2, 60))).unwrap();
    shell.silent();
    drop(first);
    assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(2, 60));
}

#[test]
fn nothing_but_the_event_comes_before_it_was_taken() {
    let (_folder, path, mut shell) = listening();
    let mut guest = UnixStream::connect(&path).unwrap();
    guest.write_all(&framed(&frame(2, 60))).unwrap();
    let mut buf = [0; 200];
    for _ in 0..3 {
        assert_eq!(kind(shell.link.receive(&mut buf)), ErrorKind::ConnectionReset);
        assert_eq!(kind(shell.link.send(&with_header(&[1; 60]))), ErrorKind::ConnectionReset);
    }
    assert_eq!(shell.next(), Told::Arrived);
    assert_eq!(shell.frame(), frame(2, 60));
}

#[test]
fn the_rest_of_the_old_guests_frame_is_not_sent_to_the_new() {
    let (_folder, path, mut shell) = listening();
    let guest = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    shell.fill(&frame(6, 60_001));
    drop(guest);
    let Told::Gone(_) = shell.next() else { panic!("the guest is gone") };
    let mut guest = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    shell.send(&frame(1, 60));
    assert_eq!(read_frame(&mut guest), frame(1, 60));
}

#[test]
fn a_connecting_link_follows_its_guest_through_restarts() {
    let (_folder, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let options = SocketOptions::default();
    let mut shell = Shell::new(stream::connect(&path, &options).unwrap());
    let (mut guest, _) = listener.accept().unwrap();
    guest.write_all(&framed(&frame(1, 60))).unwrap();
    assert_eq!(shell.frame(), frame(1, 60));
    drop((guest, listener));
    assert!(matches!(shell.next(), Told::Gone(_)));
    // Not there for a while, its path neither.
    std::fs::remove_file(&path).unwrap();
    thread::sleep(Duration::from_millis(500));
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    let (mut guest, _) = listener.accept().unwrap();
    shell.send(&frame(3, 60));
    assert_eq!(read_frame(&mut guest), frame(3, 60));
}

#[test]
fn a_connecting_link_without_reconnection_ends() {
    let (_folder, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let options = SocketOptions { reconnect: None, ..SocketOptions::default() };
    let mut shell = Shell::new(stream::connect(&path, &options).unwrap());
    drop(listener.accept().unwrap());
    assert!(matches!(shell.next(), Told::Ended(_)));
}

/// The reason a listening link gives for a guest that wrote this and closed, and that it serves
/// the next one.
fn reason_for(bytes: &[u8]) -> GoneCause {
    let (_folder, path, mut shell) = listening();
    let mut guest = UnixStream::connect(&path).unwrap();
    guest.write_all(bytes).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    drop(guest);
    let cause = loop {
        match shell.next() {
            Told::Gone(cause) => break cause,
            Told::Frame(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let mut next = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    next.write_all(&framed(&frame(1, 60))).unwrap();
    assert_eq!(shell.frame(), frame(1, 60));
    cause
}

#[test]
fn a_wrong_guest_is_told_from_a_right_one() {
    let oversized =
        |length, text| GoneCause::Framing(FramingFault::Oversized { length, limit: 65_593, text });
    assert_eq!(reason_for(b"GET / HTTP/1.1\r\n\r\n"), oversized(0x4745_5420, Some(*b"GET ")));
    assert_eq!(reason_for(&[0xff; 64]), oversized(u32::MAX, None));
    assert_eq!(reason_for(&65_594u32.to_be_bytes()), oversized(65_594, None));
    assert_eq!(reason_for(&[0; 8]), GoneCause::Framing(FramingFault::Empty));
    assert_eq!(reason_for(&[0, 0]), GoneCause::ClosedMidFrame);
    assert_eq!(reason_for(&framed(&frame(1, 60))[..30]), GoneCause::ClosedMidFrame);
    assert_eq!(reason_for(&framed(&frame(1, 60))), GoneCause::Closed);
    assert_eq!(reason_for(&[]), GoneCause::Closed);
    let text = oversized(0x4745_5420, Some(*b"GET ")).to_string();
    assert!(text.contains("1195725856") && text.contains("\"GET \""), "{text}");
}

#[test]
fn a_wrong_guest_is_disconnected_though_it_holds_the_connection() {
    let (_folder, path, mut shell) = listening();
    let mut guest = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    guest.write_all(b"SSH-2.0-OpenSSH\r\n").unwrap();
    assert!(matches!(shell.next(), Told::Gone(GoneCause::Framing(_))));
    // Closed with bytes of the guest unread: the guest may see a reset, too.
    let end = guest.read(&mut [0; 10]);
    assert!(matches!(end, Ok(0)) || kind(end) == ErrorKind::ConnectionReset);
}

#[test]
fn a_guest_that_closes_only_its_ear_is_gone() {
    let (_folder, path, mut shell) = listening();
    let guest = UnixStream::connect(&path).unwrap();
    assert_eq!(shell.next(), Told::Arrived);
    guest.shutdown(std::net::Shutdown::Read).unwrap();
    assert_eq!(kind(shell.link.send(&with_header(&frame(1, 60)))), ErrorKind::NotConnected);
    assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
}

#[test]
fn tcp_connections_and_listeners_can_be_passed_in() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = SocketOptions::default();
    let mut shell = Shell::new(stream::from_fd(listener.into(), &options).unwrap());
    for number in 0..2 {
        let mut guest = TcpStream::connect(address).unwrap();
        assert_eq!(shell.next(), Told::Arrived);
        guest.write_all(&framed(&frame(number, 1514))).unwrap();
        let Told::Frame(bytes) = shell.next() else { panic!("a frame is due") };
        // Over TCP checksums are verified.
        assert_eq!(bytes[..HEADER], [0; HEADER]);
        shell.send(&frame(number, 1514));
        assert_eq!(read_frame(&mut guest), frame(number, 1514));
        drop(guest);
        assert_eq!(shell.next(), Told::Gone(GoneCause::Closed));
    }
}

#[test]
fn another_process_holding_the_same_socket_causes_no_edges_after_the_end() {
    let (_folder, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let mut guest = UnixStream::connect(&path).unwrap();
    let (ours, _) = listener.accept().unwrap();
    let copy = ours.try_clone().unwrap();
    let mut shell = Shell::new(stream::from_fd(ours.into(), &SocketOptions::default()).unwrap());
    guest.write_all(&[0; 4]).unwrap();
    assert!(matches!(shell.next(), Told::Ended(_)));
    while shell.edge(Duration::from_millis(20)) {}
    guest.write_all(&[1; 10]).unwrap();
    assert!(!shell.edge(Duration::from_millis(50)));
    drop(copy);
}

#[test]
fn super_frames_are_sent_only_to_guests_that_take_them_and_with_whole_checksums() {
    // A pseudo-header's sum of 0x1234 in the field, at 16 bytes into what is summed.
    let mut bytes = vec![0; HEADER];
    bytes[..HEADER].copy_from_slice(&[1, 1, 54, 0, 0xa0, 5, 34, 0, 16, 0, 0, 0]);
    let mut content = frame(3, 9001);
    content[34 + 16..34 + 18].copy_from_slice(&[0x12, 0x34]);
    bytes.extend_from_slice(&content);
    let (mut shell, _guest) = pair();
    assert!(!shell.link.capabilities().tso4);
    assert_eq!(kind(shell.link.send(&bytes)), ErrorKind::InvalidInput);

    let (ours, mut guest) = UnixStream::pair().unwrap();
    let options = SocketOptions { super_frames: true, ..SocketOptions::default() };
    let mut link = stream::from_fd(ours.into(), &options).unwrap();
    assert!(link.capabilities().tso4 && link.capabilities().checksum_offload);
    link.send(&bytes).unwrap();
    let got = read_frame(&mut guest);
    let sum = content[34..].chunks(2).fold(0u64, |sum, pair| {
        sum + u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = ((folded & 0xffff) + (folded >> 16)) as u16;
    content[34 + 16..34 + 18].copy_from_slice(&(!folded).to_be_bytes());
    assert_eq!(got, content);
    // A checksum that would lie outside the frame.
    bytes[6..8].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(kind(link.send(&bytes)), ErrorKind::InvalidInput);
}
