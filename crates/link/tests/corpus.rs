//! Replays every committed fuzz input of the framings and of vhost-user, and cuts streams at random
//! points both ways.
//!
//! The inputs live in `fuzz/corpus`; an empty folder fails, so that a moved one cannot
//! turn this test into nothing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use portreeve_link::{Link, SocketOptions, fuzz, hyperkit, stream};
use proptest::prelude::*;
use support::{Shell, frame};

#[test]
fn committed_inputs() {
    replay("link_stream", fuzz::fuzz_stream);
    replay("vhost_rings", fuzz::fuzz_vhost_rings);
    replay("vhost_messages", fuzz::fuzz_vhost_messages);
}

fn replay(target: &str, with: fn(&[u8])) {
    for file in committed(target) {
        let data = fs::read(&file).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| with(&data)) {
            panic!("{}: {panic:?}", file.display());
        }
    }
}

fn committed(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{} has {} inputs", folder.display(), files.len());
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::fuzz_stream(&data);
    }

    /// Descriptors that are mostly right: the addresses are the guest's, the links within the ring.
    #[test]
    fn nearly_a_ring(
        choice in any::<[u8; 4]>(),
        descriptors in prop::collection::vec((0u64..0x12000, 0u32..5000, 0u16..8, 0u16..130), 1..128),
        heads in prop::collection::vec(0u16..130, 1..128),
        waiting in 0u16..129,
    ) {
        let mut image = vec![0; 4096];
        for (at, (address, length, flags, next)) in descriptors.iter().enumerate() {
            let entry = &mut image[16 * at..];
            entry[..8].copy_from_slice(&address.to_le_bytes());
            entry[8..12].copy_from_slice(&length.to_le_bytes());
            entry[12..14].copy_from_slice(&flags.to_le_bytes());
            entry[14..16].copy_from_slice(&next.to_le_bytes());
        }
        let index = u16::from(choice[2]).wrapping_add(waiting);
        image[2050..2052].copy_from_slice(&index.to_le_bytes());
        for (at, head) in heads.iter().enumerate() {
            image[2052 + 2 * at..][..2].copy_from_slice(&head.to_le_bytes());
        }
        fuzz::fuzz_vhost_rings(&[&choice[..], &image].concat());
    }

    /// What was committed, with a few bytes that are others.
    #[test]
    fn nearly_a_committed_input(
        which in any::<prop::sample::Index>(),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        type Target = (&'static str, fn(&[u8]));
        let targets: [Target; 2] =
            [("vhost_messages", fuzz::fuzz_vhost_messages), ("vhost_rings", fuzz::fuzz_vhost_rings)];
        for (target, with) in targets {
            let files = committed(target);
            let mut data = fs::read(which.get(&files)).unwrap();
            for (at, value) in &wrong {
                *at.get_mut(&mut data) = *value;
            }
            with(&data);
        }
    }

    #[test]
    fn any_messages(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::fuzz_vhost_messages(&data);
        fuzz::fuzz_vhost_rings(&data);
    }

    /// Bytes that are mostly right.
    #[test]
    fn nearly_frames(
        choice in any::<u8>(),
        lengths in prop::collection::vec(0usize..3000, 0..12),
        wrong in prop::option::of((0usize..2000, any::<u8>())),
    ) {
        let qemu = choice & 1 == 0;
        let mut data = vec![choice];
        if !qemu && choice & 2 == 0 {
            data.extend_from_slice(b"POST /connect HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for (number, length) in lengths.iter().enumerate() {
            if qemu {
                data.extend((*length as u32).to_be_bytes());
            } else {
                data.extend((*length as u16).to_le_bytes());
            }
            data.extend(frame(number, *length));
        }
        if let Some((at, value)) = wrong && at < data.len() {
            data[at] = value;
        }
        fuzz::fuzz_stream(&data);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// Frames of any length, written in pieces of any length and read back in pieces of any length
    /// by a peer that sends them home, through sockets with little room.
    #[test]
    fn frames_survive_any_cutting(
        hyperkit_form in any::<bool>(),
        lengths in prop::collection::vec(prop_oneof![1usize..200, 1400usize..1600, 30_000usize..65_536], 1..30),
        cuts in prop::collection::vec(1usize..70_000, 1..20),
        reads in prop::collection::vec(1usize..70_000, 1..20),
        flush_every in prop::option::of(1usize..8),
    ) {
        let (ours, guest) = UnixStream::pair().unwrap();
        let options = SocketOptions { send_buffer: Some(20_000), ..SocketOptions::default() };
        let link = if hyperkit_form {
            hyperkit::from_fd(ours.into(), &options).unwrap()
        } else {
            stream::from_fd(ours.into(), &options).unwrap()
        };
        let mut bytes = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            if hyperkit_form {
                bytes.extend((*length as u16).to_le_bytes());
            } else {
                bytes.extend((*length as u32).to_be_bytes());
            }
            bytes.extend(frame(number, *length));
        }
        let expected = bytes.clone();
        let mut writer = guest.try_clone().unwrap();
        let write = thread::spawn(move || {
            if hyperkit_form {
                writer.write_all(b"POST /connect HTTP/1.1\r\n\r\n").unwrap();
            }
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at(rest.len().min(*cut));
                writer.write_all(piece).unwrap();
                if after.is_empty() {
                    break;
                }
                rest = after;
            }
        });
        let mut reader = guest;
        let total = expected.len();
        let read = thread::spawn(move || {
            let mut got = vec![0; total];
            let mut at = 0;
            for length in reads.iter().cycle() {
                let end = (at + length).min(total);
                at += reader.read(&mut got[at..end]).unwrap();
                if at == total {
                    break;
                }
            }
            got
        });
        let mut shell = Shell::new(link);
        for (number, length) in lengths.iter().enumerate() {
            let received = shell.frame();
            assert_eq!(received, frame(number, *length), "frame {number}");
            shell.send(&received);
            if flush_every.is_some_and(|every| number % every == 0) {
                shell.link.flush();
            }
        }
        if flush_every.is_some() {
            shell.link.flush();
        }
        while !read.is_finished() {
            shell.edge(std::time::Duration::from_millis(2));
            shell.drain();
        }
        write.join().unwrap();
        assert!(read.join().unwrap() == expected);
    }
}
