//! The promises of a memory pair, its edges among them.

use super::*;

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};

fn frame(byte: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![byte; VIRTIO_NET_HDR_LEN + length];
    frame[..VIRTIO_NET_HDR_LEN].fill(0);
    frame
}

fn options(capacity_frames: usize) -> MemoryOptions {
    MemoryOptions { capacity_frames, ..MemoryOptions::default() }
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(|_| ()).expect_err("an error is due").kind()
}

/// An epoll with the descriptor registered as mio does.
struct Edges(OwnedFd);

impl Edges {
    fn of(fd: BorrowedFd<'_>) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&epoll, fd, EventData::new_u64(1), flags).unwrap();
        Self(epoll)
    }

    /// Without the report that an eventfd is writable, which registering it causes.
    fn settled(fd: BorrowedFd<'_>) -> Self {
        let edges = Self::of(fd);
        assert_eq!(edges.take(), EventFlags::OUT);
        edges
    }

    fn wait(&self, limit: Timespec) -> EventFlags {
        let mut events: Vec<Event> = Vec::with_capacity(4);
        epoll::wait(&self.0, spare_capacity(&mut events), Some(&limit)).unwrap();
        events.iter().fold(EventFlags::empty(), |all, event| all | event.flags)
    }

    fn take(&self) -> EventFlags {
        self.wait(NOW)
    }

    fn readable(&self) -> bool {
        self.take().contains(EventFlags::IN)
    }

    fn writable(&self) -> bool {
        self.take().contains(EventFlags::OUT)
    }
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const LONG: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

fn level_readable(fd: BorrowedFd<'_>, limit: Timespec) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&limit)).unwrap() == 1
}

#[test]
fn frames_cross_in_order_both_ways() {
    let (mut link, mut peer) = pair(&options(8)).unwrap();
    let mut buf = vec![0; MAX_FRAME_LEN];
    for byte in 1..=8 {
        peer.send(&frame(byte, 60)).unwrap();
        link.send(&frame(byte + 100, 70)).unwrap();
    }
    for byte in 1..=8 {
        let length = link.receive(&mut buf).unwrap();
        assert_eq!(buf[..length], frame(byte, 60));
        let taken = peer.recv(Duration::ZERO).unwrap().unwrap();
        assert_eq!(taken, frame(byte + 100, 70));
    }
    assert_eq!(kind(link.receive(&mut buf)), io::ErrorKind::WouldBlock);
    assert_eq!(peer.recv(Duration::ZERO).unwrap(), None);
}

#[test]
fn bare_frames_get_an_empty_header() {
    let (mut link, mut peer) = pair(&options(1)).unwrap();
    peer.send_frame(&[7; 60]).unwrap();
    let mut buf = vec![0xff; MAX_FRAME_LEN];
    let length = link.receive(&mut buf).unwrap();
    assert_eq!(buf[..length], frame(7, 60));
    assert_eq!(VirtioNetHdr::parse(&buf), Some(VirtioNetHdr::default()));
}

#[test]
fn a_fresh_edge_follows_each_empty_receive() {
    let (mut link, mut peer) = pair(&options(4)).unwrap();
    let edges = Edges::settled(link.event_fd());
    let mut buf = vec![0; MAX_FRAME_LEN];
    for round in 0..3 {
        peer.send_frame(&[1; 60]).unwrap();
        peer.send_frame(&[2; 60]).unwrap();
        assert!(edges.readable(), "round {round}");
        assert!(!edges.readable(), "no edge without news");
        link.receive(&mut buf).unwrap();
        link.receive(&mut buf).unwrap();
        assert_eq!(kind(link.receive(&mut buf)), io::ErrorKind::WouldBlock);
        assert!(!edges.readable(), "an emptied link is not readable");
    }
}

#[test]
fn a_frame_sent_before_registration_is_reported() {
    let (link, mut peer) = pair(&options(4)).unwrap();
    peer.send_frame(&[1; 60]).unwrap();
    assert!(Edges::of(link.event_fd()).readable());
}

#[test]
fn a_full_queue_pushes_back_and_room_is_an_edge() {
    let (mut link, mut peer) = pair(&options(2)).unwrap();
    let edges = Edges::settled(link.event_fd());
    for round in 0..3 {
        link.send(&frame(1, 60)).unwrap();
        link.send(&frame(2, 60)).unwrap();
        assert_eq!(kind(link.send(&frame(3, 60))), io::ErrorKind::WouldBlock);
        assert_eq!(kind(link.send(&frame(3, 60))), io::ErrorKind::WouldBlock);
        edges.take();
        assert!(!edges.writable(), "round {round}: no room yet");
        assert_eq!(peer.recv(Duration::ZERO).unwrap().unwrap(), frame(1, 60));
        assert!(edges.writable(), "round {round}: room");
        link.send(&frame(3, 60)).unwrap();
        assert_eq!(peer.recv(Duration::ZERO).unwrap().unwrap(), frame(2, 60));
        assert_eq!(peer.recv(Duration::ZERO).unwrap().unwrap(), frame(3, 60));
        assert_eq!(peer.recv(Duration::ZERO).unwrap(), None);
    }
}

#[test]
fn news_of_room_survives_an_empty_receive() {
    let (mut link, mut peer) = pair(&options(1)).unwrap();
    let mut buf = vec![0; MAX_FRAME_LEN];
    peer.send_frame(&[1; 60]).unwrap();
    assert_eq!(kind(peer.send_frame(&[2; 60])), io::ErrorKind::WouldBlock);
    link.receive(&mut buf).unwrap();
    assert_eq!(peer.recv(Duration::ZERO).unwrap(), None);
    assert!(level_readable(peer.event_fd(), NOW), "the empty receive came after the news");
    peer.send_frame(&[2; 60]).unwrap();
    assert!(!level_readable(peer.event_fd(), NOW), "the news was used");
    link.send(&frame(9, 60)).unwrap();
    assert!(level_readable(peer.event_fd(), NOW));
}

#[test]
fn using_news_of_room_keeps_news_of_frames() {
    let (mut link, mut peer) = pair(&options(1)).unwrap();
    peer.send_frame(&[1; 60]).unwrap();
    assert_eq!(kind(peer.send_frame(&[2; 60])), io::ErrorKind::WouldBlock);
    link.receive(&mut [0; 100]).unwrap();
    link.send(&frame(9, 60)).unwrap();
    peer.send_frame(&[2; 60]).unwrap();
    assert!(level_readable(peer.event_fd(), NOW), "a frame is there");
}

#[test]
fn a_dropped_peer_breaks_the_link_after_its_last_frame() {
    let (mut link, mut peer) = pair(&options(4)).unwrap();
    let edges = Edges::settled(link.event_fd());
    let mut buf = vec![0; MAX_FRAME_LEN];
    assert_eq!(kind(link.receive(&mut buf)), io::ErrorKind::WouldBlock);
    peer.send_frame(&[5; 60]).unwrap();
    assert!(edges.readable());
    drop(peer);
    assert!(edges.readable(), "the drop is an edge of its own");
    assert_eq!(kind(link.send(&frame(1, 60))), io::ErrorKind::BrokenPipe);
    assert_eq!(link.receive(&mut buf).unwrap(), VIRTIO_NET_HDR_LEN + 60);
    assert_eq!(kind(link.receive(&mut buf)), io::ErrorKind::BrokenPipe);
    assert_eq!(kind(link.receive(&mut buf)), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_dropped_link_ends_a_waiting_recv() {
    let (link, mut peer) = pair(&options(4)).unwrap();
    let waiter = std::thread::spawn(move || kind(peer.recv(Duration::from_secs(20))));
    std::thread::sleep(Duration::from_millis(20));
    drop(link);
    assert_eq!(waiter.join().unwrap(), io::ErrorKind::BrokenPipe);
}

#[test]
fn recv_waits_for_a_frame_and_gives_up_in_time() {
    let (mut link, mut peer) = pair(&options(4)).unwrap();
    let start = Instant::now();
    assert_eq!(peer.recv(Duration::from_millis(30)).unwrap(), None);
    assert!(start.elapsed() >= Duration::from_millis(30));
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        link.send(&frame(3, 60)).unwrap();
        link
    });
    assert_eq!(peer.recv(Duration::from_secs(20)).unwrap().unwrap(), frame(3, 60));
    drop(sender.join().unwrap());
}

#[test]
fn without_offloads_only_complete_frames_within_the_mtu_pass() {
    let plain = MemoryOptions { offloads: false, ..MemoryOptions::default() };
    let (mut link, _peer) = pair(&plain).unwrap();
    assert!(!link.capabilities().tso4 && !link.capabilities().checksum_offload);
    link.send(&frame(1, 1514)).unwrap();
    assert_eq!(kind(link.send(&frame(1, 1515))), io::ErrorKind::InvalidInput);
    for header in [
        VirtioNetHdr { needs_csum: true, ..VirtioNetHdr::default() },
        VirtioNetHdr { gso: GsoType::Tcp4, gso_size: 1000, ..VirtioNetHdr::default() },
        VirtioNetHdr { gso: GsoType::UdpL4, gso_size: 1000, ..VirtioNetHdr::default() },
    ] {
        let mut unfinished = frame(1, 100);
        header.emit(&mut unfinished);
        assert_eq!(kind(link.send(&unfinished)), io::ErrorKind::InvalidInput, "{header:?}");
    }
}

#[test]
fn frames_of_impossible_length_are_refused() {
    let (mut link, mut peer) = pair(&options(4)).unwrap();
    assert_eq!(kind(peer.send(&[0; VIRTIO_NET_HDR_LEN - 1])), io::ErrorKind::InvalidInput);
    assert_eq!(kind(peer.send(&vec![0; MAX_FRAME_LEN + 1])), io::ErrorKind::InvalidInput);
    peer.send(&vec![0; MAX_FRAME_LEN]).unwrap();
    assert_eq!(link.receive(&mut vec![0; MAX_FRAME_LEN]).unwrap(), MAX_FRAME_LEN);
    assert_eq!(kind(link.send(&[])), io::ErrorKind::InvalidInput);
}

#[test]
fn two_threads_lose_and_double_nothing() {
    const FRAMES: u32 = 20_000;
    let (mut link, mut peer) = pair(&options(7)).unwrap();
    let guest = std::thread::spawn(move || {
        for number in 0..FRAMES {
            while let Err(error) = peer.send_frame(&number.to_be_bytes()) {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                assert!(level_readable(peer.event_fd(), LONG), "no news of room at {number}");
            }
        }
        peer
    });
    let edges = Edges::of(link.event_fd());
    let mut buf = vec![0; MAX_FRAME_LEN];
    let mut expected = 0u32;
    while expected < FRAMES {
        assert!(!edges.wait(LONG).is_empty(), "a wake-up was lost at {expected}");
        while let Ok(length) = link.receive(&mut buf) {
            assert_eq!(buf[VIRTIO_NET_HDR_LEN..length], expected.to_be_bytes());
            expected += 1;
        }
    }
    drop(guest.join().unwrap());
}
