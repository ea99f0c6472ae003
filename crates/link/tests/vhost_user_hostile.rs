//! Front ends and guests that are wrong, by mistake or on purpose: each is told by name, its
//! connection is closed, and the next one is served.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[path = "support/front_end.rs"]
mod front_end;
mod support;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use front_end::{
    DATA, DATA_LEN, FrontEnd, Memory, Order, RINGS, RINGS_LEN, entry, feature, pair, request,
};
use portreeve_link::{
    GoneCause, Link, MemoryFault, RingFault, VhostUserFault, VhostUserLink, VhostUserOptions,
    vhost_user,
};
use support::{Shell, Told, frame, place, with_header};

type Case = (&'static str, VhostUserFault, fn(&mut Shell<VhostUserLink>, &mut FrontEnd));

/// Each case has a link to itself, at one path for all, and finds it free.
fn all_are_told(cases: &[Case]) {
    let (_folder, path) = place();
    let options = VhostUserOptions { sealed_memory_only: true, ..VhostUserOptions::default() };
    let mut shell = Shell::new(vhost_user::listen(&path, &options).unwrap());
    for (name, fault, act) in cases {
        let mut front = FrontEnd::connect(&path);
        assert_eq!(shell.next(), Told::Arrived, "{name}");
        act(&mut shell, &mut front);
        assert_eq!(shell.next(), Told::Gone(GoneCause::VhostUser(*fault)), "{name}");
        let mut rest = Vec::new();
        let _ = front.socket.read_to_end(&mut rest);
    }
    let mut front = FrontEnd::connect(&path);
    assert_eq!(shell.next(), Told::Arrived);
    front.set_up(&mut shell, Order::Qemu, feature::LINUX, 2, 64);
    front.send(0, &frame(1, 60), 4096);
    assert_eq!(shell.frame(), frame(1, 60));
}

fn ring(index: u16, fault: RingFault) -> VhostUserFault {
    VhostUserFault::Ring { index, fault }
}

/// A table of memory, each region with the guest's file.
fn table(front: &FrontEnd, regions: &[[u64; 4]]) {
    let mut body = (regions.len() as u64).to_ne_bytes().to_vec();
    body.extend(regions.as_flattened().iter().flat_map(|word| word.to_ne_bytes()));
    let files = vec![front.memory.file.as_fd(); regions.len()];
    front.say(request::SET_MEM_TABLE, &body, &files);
}

#[test]
fn messages() {
    all_are_told(&[
        ("text", VhostUserFault::NoMessage { text: Some(*b"GET ") }, |_, front| {
            front.socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        }),
        ("another version", VhostUserFault::NoMessage { text: None }, |_, front| {
            front.say_with(request::GET_FEATURES, 2, &[], &[]);
        }),
        ("a reply", VhostUserFault::NoMessage { text: None }, |_, front| {
            front.say_with(request::GET_FEATURES, 5, &[], &[]);
        }),
        ("a huge length", VhostUserFault::Length { request: 5, length: u32::MAX }, |_, front| {
            front.socket.write_all([5, 1, u32::MAX].map(u32::to_ne_bytes).as_flattened()).unwrap();
        }),
        ("a wrong length", VhostUserFault::Length { request: 2, length: 4 }, |_, front| {
            front.say(request::SET_FEATURES, &[0; 4], &[]);
        }),
        (
            "more regions than the body holds",
            VhostUserFault::Length { request: 5, length: 40 },
            |_, front| {
                front.say(request::SET_MEM_TABLE, &[&[2u8][..], &[0; 39]].concat(), &[]);
            },
        ),
        ("unknown", VhostUserFault::Unknown { request: 99 }, |_, front| front.say(99, &[], &[])),
        ("not offered", VhostUserFault::Unknown { request: 24 }, |_, front| {
            front.say(24, &[0; 12], &[]);
        }),
        ("no descriptor", VhostUserFault::Descriptors { request: 12 }, |_, front| {
            front.say(request::SET_VRING_KICK, &0u64.to_ne_bytes(), &[]);
        }),
        ("too many descriptors", VhostUserFault::Descriptors { request: 1 }, |_, front| {
            front.say(request::GET_FEATURES, &[], &[front.memory.file.as_fd()]);
        }),
        ("far too many", VhostUserFault::Descriptors { request: 5 }, |_, front| {
            let files = [front.memory.file.as_fd(); 60];
            front.say(request::SET_MEM_TABLE, &0u64.to_ne_bytes(), &files);
        }),
        ("features", VhostUserFault::Features(1 << 34), |_, front| {
            front.say(request::SET_FEATURES, &(1u64 << 34).to_ne_bytes(), &[]);
        }),
        ("features of the protocol", VhostUserFault::Features(1 << 9), |_, front| {
            front.say(request::SET_PROTOCOL_FEATURES, &(1u64 << 9).to_ne_bytes(), &[]);
        }),
        ("answers unread", VhostUserFault::Unread, |shell, front| {
            front.socket.set_nonblocking(true).unwrap();
            let message = [1u32, 1, 0].map(u32::to_ne_bytes);
            for _ in 0..200_000 {
                if front.socket.write_all(message.as_flattened()).is_err() {
                    shell.edge(Duration::ZERO);
                    shell.drain();
                    if shell.told_any() {
                        return;
                    }
                }
            }
        }),
    ]);
}

#[test]
fn memory() {
    let of = VhostUserFault::Memory;
    all_are_told(&[
        ("beyond the file", of(MemoryFault::BeyondFile), |_, front| {
            table(front, &[[0, RINGS_LEN + DATA_LEN + 1, 0, 0]]);
        }),
        ("an offset beyond the file", of(MemoryFault::BeyondFile), |_, front| {
            table(front, &[[0, 4096, 0, 1 << 40]]);
        }),
        ("an offset that wraps", of(MemoryFault::Range), |_, front| {
            table(front, &[[0, 4096, 0, u64::MAX - 100]]);
        }),
        ("nothing", of(MemoryFault::Range), |_, front| table(front, &[[0, 0, 0, 0]])),
        ("around the end", of(MemoryFault::Range), |_, front| {
            table(front, &[[u64::MAX - 4095, 8192, 0, 0]]);
        }),
        ("around the front end's end", of(MemoryFault::Range), |_, front| {
            table(front, &[[0, 8192, u64::MAX - 4095, 0]]);
        }),
        ("twice", of(MemoryFault::Overlap), |_, front| {
            table(front, &[[0, 8192, 0, 0], [4096, 8192, 1 << 20, 0]]);
        }),
        ("a socket", of(MemoryFault::NoFile), |_, front| {
            let body: Vec<u8> =
                [1, 0, 4096, 0, 0].iter().flat_map(|w: &u64| w.to_ne_bytes()).collect();
            front.say(request::SET_MEM_TABLE, &body, &[front.socket.as_fd()]);
        }),
        ("not sealed", of(MemoryFault::Unsealed), |_, front| {
            front.memory = Memory::new(false);
            table(front, &[[0, 4096, 0, 0]]);
        }),
        ("too many", of(MemoryFault::TooMany), |_, front| {
            for at in 0..33u64 {
                let words = [0, at << 12, 4096, at << 12, 0];
                let body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                front.say(request::ADD_MEM_REG, &body, &[front.memory.file.as_fd()]);
            }
        }),
        ("the rings' goes", ring(0, RingFault::Misplaced), |shell, front| {
            front.set_up(shell, Order::Qemu, feature::LINUX, 2, 64);
            let [region, _] = Memory::regions();
            let words = std::iter::once(&0).chain(&region);
            let body: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
            front.say(request::REM_MEM_REG, &body, &[]);
        }),
    ]);
}

#[test]
fn places_of_rings() {
    all_are_told(&[
        ("no such ring", ring(2, RingFault::Missing), |_, front| {
            front.say(request::SET_VRING_ENABLE, &pair(2, 1), &[]);
        }),
        ("no such ring at all", ring(u16::MAX, RingFault::Missing), |_, front| {
            front.say(request::SET_VRING_NUM, &pair(u32::MAX, 64), &[]);
        }),
        ("no size", ring(0, RingFault::Size), |_, front| {
            front.say(request::SET_VRING_NUM, &pair(0, 0), &[]);
        }),
        ("no power of two", ring(1, RingFault::Size), |_, front| {
            front.say(request::SET_VRING_NUM, &pair(1, 100), &[]);
        }),
        ("too large", ring(1, RingFault::Size), |_, front| {
            front.say(request::SET_VRING_NUM, &pair(1, 1 << 16), &[]);
        }),
        ("no kick", ring(1, RingFault::NoKick), |_, front| {
            front.say_file(request::SET_VRING_KICK, 1, None);
        }),
        ("a file for a kick", ring(1, RingFault::NoKick), |_, front| {
            front.say_file(request::SET_VRING_KICK, 1, Some(front.memory.file.as_fd()));
        }),
        ("outside the memory", ring(0, RingFault::Misplaced), |shell, front| {
            front.set_up(shell, Order::Qemu, feature::LINUX, 2, 64);
            front.say(request::SET_VRING_ADDR, &[0; 40], &[]);
        }),
        ("over the memory's end", ring(1, RingFault::Misplaced), |shell, front| {
            front.set_up(shell, Order::Qemu, feature::LINUX, 2, 64);
            let mut body = front.queues[1].addresses();
            let used = 0x7f00_0000_0000 + RINGS_LEN - 512;
            body[16..24].copy_from_slice(&used.to_ne_bytes());
            front.say(request::SET_VRING_ADDR, &body, &[]);
        }),
        ("not aligned", ring(1, RingFault::Misplaced), |shell, front| {
            front.set_up(shell, Order::Qemu, feature::LINUX, 2, 64);
            let mut body = front.queues[1].addresses();
            body[24] += 1;
            front.say(request::SET_VRING_ADDR, &body, &[]);
        }),
    ]);
}

/// A guest's ring of frames with one descriptor that is wrong.
fn with_descriptor(
    shell: &mut Shell<VhostUserLink>,
    front: &mut FrontEnd,
    descriptors: &[(u64, u32, u16, u16)],
) {
    front.set_up(shell, Order::Qemu, feature::LINUX, 2, 64);
    let queue = front.ring_from_guest(0);
    for (index, (address, length, flags, next)) in descriptors.iter().enumerate() {
        queue.describe(index as u16, *address, *length, *flags, *next);
    }
    queue.make_available(0);
    queue.publish();
    queue.kick_now();
}

const NEXT: u16 = 1;
const INDIRECT: u16 = 4;

#[test]
fn descriptors() {
    let of = |fault| ring(1, fault);
    all_are_told(&[
        ("outside", of(RingFault::Buffer), |shell, front| {
            with_descriptor(shell, front, &[(0xdead_0000_0000, 60, 0, 0)]);
        }),
        ("over the end", of(RingFault::Buffer), |shell, front| {
            with_descriptor(shell, front, &[(DATA + DATA_LEN - 59, 60, 0, 0)]);
        }),
        ("around the end", of(RingFault::Buffer), |shell, front| {
            with_descriptor(shell, front, &[(u64::MAX - 10, 60, 0, 0)]);
        }),
        ("between the regions", of(RingFault::Buffer), |shell, front| {
            with_descriptor(shell, front, &[(RINGS + RINGS_LEN - 12, 60, 0, 0)]);
        }),
        ("a loop", of(RingFault::Chain), |shell, front| {
            with_descriptor(shell, front, &[(DATA, 1, NEXT, 0)]);
        }),
        ("a loop of none", of(RingFault::Chain), |shell, front| {
            with_descriptor(shell, front, &[(DATA, 0, NEXT, 1), (DATA, 0, NEXT, 0)]);
        }),
        ("a next that is not there", of(RingFault::Descriptor), |shell, front| {
            with_descriptor(shell, front, &[(DATA, 60, NEXT, 64)]);
        }),
        ("a table outside", of(RingFault::Buffer), |shell, front| {
            with_descriptor(shell, front, &[(0xdead_0000_0000, 16, INDIRECT, 0)]);
        }),
        ("a table around the end", of(RingFault::Buffer), |shell, front| {
            with_descriptor(shell, front, &[(u64::MAX - 3, 32, INDIRECT, 0)]);
        }),
        ("a table of nothing", of(RingFault::Indirect), |shell, front| {
            with_descriptor(shell, front, &[(DATA, 0, INDIRECT, 0)]);
        }),
        ("a table of a part", of(RingFault::Indirect), |shell, front| {
            with_descriptor(shell, front, &[(DATA, 24, INDIRECT, 0)]);
        }),
        ("a huge table", of(RingFault::Indirect), |shell, front| {
            with_descriptor(shell, front, &[(DATA, 1 << 20, INDIRECT, 0)]);
        }),
        ("a table that goes on", of(RingFault::Indirect), |shell, front| {
            with_descriptor(shell, front, &[(DATA, 16, INDIRECT | NEXT, 1)]);
        }),
        ("a table in a table", of(RingFault::Indirect), |shell, front| {
            front.memory.write(DATA, &entry(DATA, 16, INDIRECT, 0));
            with_descriptor(shell, front, &[(DATA, 16, INDIRECT, 0)]);
        }),
        ("a loop in a table", of(RingFault::Chain), |shell, front| {
            front.memory.write(DATA, &entry(DATA, 1, NEXT, 0));
            with_descriptor(shell, front, &[(DATA, 16, INDIRECT, 0)]);
        }),
        ("beyond a table", of(RingFault::Descriptor), |shell, front| {
            front.memory.write(DATA, &entry(DATA, 1, NEXT, 2));
            with_descriptor(shell, front, &[(DATA, 32, INDIRECT, 0)]);
        }),
        ("a first one that is not there", of(RingFault::Descriptor), |shell, front| {
            front.set_up(shell, Order::Qemu, feature::LINUX, 2, 64);
            let queue = front.ring_from_guest(0);
            queue.make_available(64);
            queue.publish();
            queue.kick_now();
        }),
        ("more than there are", of(RingFault::Index), |shell, front| {
            front.set_up(shell, Order::Qemu, feature::LINUX, 2, 64);
            let index = queue_index(front.queues[1].available());
            front.memory.word(index).store(65, Ordering::SeqCst);
            front.queues[1].kick_now();
        }),
    ]);
}

fn queue_index(available: u64) -> u64 {
    available + 2
}

/// The other ring: what is wrong there shows when a frame is sent, and is told all the same.
#[test]
fn buffers_for_frames() {
    let to_guest = |shell: &mut Shell<VhostUserLink>| {
        let error = shell.link.send(&with_header(&frame(1, 60))).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        let again = shell.link.send(&with_header(&frame(1, 60))).unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::NotConnected);
    };
    let (_folder, path) = place();
    let mut shell = Shell::new(vhost_user::listen(&path, &VhostUserOptions::default()).unwrap());
    let buffers = [
        (0xdead_0000_0000, 4096, 2, RingFault::Buffer),
        (DATA + DATA_LEN - 16, 4096, 2, RingFault::Buffer),
        (DATA, 16, 2 | NEXT, RingFault::Chain),
    ];
    for (address, length, flags, fault) in buffers {
        let mut front = FrontEnd::connect(&path);
        assert_eq!(shell.next(), Told::Arrived);
        front.set_up(&mut shell, Order::Qemu, feature::LINUX, 2, 64);
        let before = front.memory.read(DATA, 4096);
        let queue = front.ring_to_guest(0);
        queue.describe(0, address, length, flags, 0);
        queue.make_available(0);
        queue.publish();
        to_guest(&mut shell);
        assert_eq!(shell.next(), Told::Gone(GoneCause::VhostUser(ring(0, fault))));
        assert!(front.memory.read(DATA, 4096) == before, "nothing was written");
    }
    // Buffers that hold nothing, or that the device may not write to, are no fault and no room.
    let mut front = FrontEnd::connect(&path);
    assert_eq!(shell.next(), Told::Arrived);
    front.set_up(&mut shell, Order::Qemu, feature::LINUX, 2, 64);
    let queue = front.ring_to_guest(0);
    queue.offer(&[(DATA, 0, true)]);
    queue.offer(&[(0xdead_0000_0000, 4096, false)]);
    queue.offer(&[(DATA, 4096, true)]);
    queue.publish();
    shell.link.send(&with_header(&frame(1, 60))).unwrap();
    let queue = front.ring_to_guest(0);
    assert_eq!([queue.take().unwrap().1, queue.take().unwrap().1], [0, 0]);
    assert_eq!(queue.take().unwrap().1, 72);
}

/// A guest that keeps its ring full of what are no frames does not hold its front end up.
#[test]
fn rubbish_without_end_does_not_stop_the_rest() {
    let (_folder, path) = place();
    let mut shell = Shell::new(vhost_user::listen(&path, &VhostUserOptions::default()).unwrap());
    let mut front = FrontEnd::connect(&path);
    assert_eq!(shell.next(), Told::Arrived);
    front.set_up(&mut shell, Order::Qemu, feature::LINUX, 2, 256);
    let queue = front.ring_from_guest(0);
    for _ in 0..256 {
        queue.offer(&[(DATA, 1, false)]);
    }
    queue.publish();
    queue.kick_now();
    let (index, used) = (queue_index(queue.available()), queue.used() + 2);
    let stop = Arc::new(AtomicBool::new(false));
    let (memory, stopped) = (front.memory.clone(), stop.clone());
    let flood = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let done = memory.word(used).load(Ordering::Acquire);
            memory.word(index).store(done.wrapping_add(256), Ordering::Release);
        }
    });
    assert_eq!(front.ask(&mut shell, request::GET_QUEUE_NUM, &[]), 1);
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    assert!(shell.link.discarded() >= 256);
}

/// A guest that rewrites everything while it is read harms nobody; it ends as a fault, or goes on.
#[test]
fn memory_that_changes_all_the_time() {
    let (_folder, path) = place();
    let mut shell = Shell::new(vhost_user::listen(&path, &VhostUserOptions::default()).unwrap());
    for seed in 0..8u64 {
        let mut front = FrontEnd::connect(&path);
        assert_eq!(shell.next(), Told::Arrived);
        front.set_up(&mut shell, Order::Qemu, feature::LINUX, 2, 64);
        let memory = front.memory.clone();
        let queues: Vec<_> =
            front.queues.iter().map(|q| (q.descriptors(), q.available())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let writer = std::thread::spawn(move || {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            while !stopped.load(Ordering::Relaxed) {
                for (descriptors, available) in &queues {
                    let index = random() % 64;
                    let inside = DATA + random() % DATA_LEN;
                    let address = if random() % 64 == 0 { random() } else { inside };
                    let bytes = entry(
                        address,
                        (random() % 5000) as u32,
                        (random() % 8) as u16,
                        (random() % 66) as u16,
                    );
                    memory.write(descriptors + 16 * index, &bytes);
                    memory
                        .write(available + 4 + 2 * index, &((random() % 64) as u16).to_le_bytes());
                    memory.word(available + 2).fetch_add((random() % 3) as u16, Ordering::SeqCst);
                }
            }
        });
        let began = std::time::Instant::now();
        let mut buf = vec![0; portreeve_link::MAX_FRAME_LEN];
        'run: while began.elapsed() < Duration::from_millis(150) {
            match shell.link.receive(&mut buf) {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break 'run,
                _ => {}
            }
            let _ = shell.link.send(&with_header(&frame(1, 3000)));
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        drop(front);
        shell.until_gone();
    }
}
