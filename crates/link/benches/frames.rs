//! What a frame costs over the sockets of virtual machines: between a link and a thread that takes
//! or makes the frames as a VMM does, on a pair of sockets.
//!
//! `cargo bench -p portreeve-link`. Prints; judges nothing.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark on a terminal")]

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use portreeve_link::{Link, MAX_FRAME_LEN, SocketOptions, datagram, stream};
use rustix::event::{PollFd, PollFlags};

const LENGTHS: [usize; 3] = [64, 1514, 65_550];
const HEADER: usize = 12;

/// Sends frames for a second, in batches of 64, and returns how many a second were taken.
fn send(link: &mut dyn Link, length: usize, flush: bool) -> f64 {
    let frame = vec![0; HEADER + length];
    let (mut count, began) = (0u64, Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        for _ in 0..64 {
            match link.send(&frame) {
                Ok(()) => count += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(link);
                    // What the driver does after each edge: it finishes what was taken in part.
                    let _ = link.receive(&mut [0; 64]);
                }
                Err(error) => panic!("{error}"),
            }
        }
        if flush {
            link.flush();
        }
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Receives frames for a second and returns how many a second came.
fn receive(link: &mut dyn Link) -> f64 {
    let mut buf = vec![0; MAX_FRAME_LEN];
    let (mut count, began) = (0u64, Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        for _ in 0..64 {
            match link.receive(&mut buf) {
                Ok(_) => count += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait(link),
                Err(error) => panic!("{error}"),
            }
        }
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Level-triggered, and so only for arrivals; the timeout is for room.
fn wait(link: &dyn Link) {
    let fd = link.event_fd();
    let timeout = Duration::from_millis(1).try_into().unwrap();
    rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap();
}

fn print(what: &str, length: usize, per_second: f64) {
    let gigabits = per_second * length as f64 * 8.0 / 1e9;
    println!("{what:<28} {length:6} B: {:8.0} frames/ms, {gigabits:6.2} Gbit/s", per_second / 1e3);
}

fn streams(length: usize) {
    for (what, flush) in [("stream, to the guest", false), ("stream, to it, gathered", true)] {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        let mut link = stream::from_fd(ours.into(), &SocketOptions::default()).unwrap();
        let sink = thread::spawn(move || {
            let mut buf = vec![0; 69_632];
            while guest.read(&mut buf).is_ok_and(|length| length > 0) {}
        });
        print(what, length, send(&mut link, length, flush));
        drop(link);
        sink.join().unwrap();
    }

    let (ours, mut guest) = UnixStream::pair().unwrap();
    let mut link = stream::from_fd(ours.into(), &SocketOptions::default()).unwrap();
    let source = thread::spawn(move || {
        let prefix = (length as u32).to_be_bytes();
        let frame = vec![0; length];
        let whole = [&prefix[..], &frame].concat();
        loop {
            match guest.write_vectored(&[IoSlice::new(&prefix), IoSlice::new(&frame)]) {
                Ok(sent) if guest.write_all(&whole[sent..]).is_ok() => {}
                _ => return,
            }
        }
    });
    print("stream, from the guest", length, receive(&mut link));
    drop(link);
    source.join().unwrap();
}

/// Takes datagrams until a single byte comes.
fn sink(guest: UnixDatagram) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buf = vec![0; 69_632];
        while guest.recv(&mut buf).unwrap() > 1 {}
    })
}

fn end(link: &mut dyn Link, sink: thread::JoinHandle<()>) {
    while link.send(&[0; HEADER + 1]).is_err() {
        wait(link);
    }
    sink.join().unwrap();
}

fn datagrams(length: usize) {
    let options = SocketOptions::default();
    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut link = datagram::from_fd(ours.into(), &options).unwrap();
    let sink_thread = sink(guest);
    print("datagram pair, to the guest", length, send(&mut link, length, false));
    end(&mut link, sink_thread);

    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut link = datagram::from_fd(ours.into(), &options).unwrap();
    let source = thread::spawn(move || {
        let frame = vec![0; length];
        while guest.send(&frame).is_ok() {}
    });
    print("datagram pair, from", length, receive(&mut link));
    drop(link);
    source.join().unwrap();
}

/// As vfkit does: the guest has a path and is connected.
fn named_datagrams(folder: &Path, length: usize) {
    let (path, own) = (folder.join(format!("link{length}")), folder.join(format!("guest{length}")));
    let mut link = datagram::listen(&path, &SocketOptions::default()).unwrap();
    let guest = UnixDatagram::bind(&own).unwrap();
    guest.connect(&path).unwrap();
    guest.send(b"VFKT").unwrap();
    assert_eq!(link.receive(&mut [0; 64]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    link.take_event().unwrap();
    let sink_thread = sink(guest);
    print("datagram by path, to", length, send(&mut link, length, false));
    end(&mut link, sink_thread);
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    for length in LENGTHS {
        streams(length);
        datagrams(length);
        named_datagrams(folder.path(), length);
    }
}
