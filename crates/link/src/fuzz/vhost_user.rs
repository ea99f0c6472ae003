//! Any bytes as what a vhost-user front end says, and as what its guest has in its rings.
//!
//! Owns a second, simplest reading of a ring, with which the real one is compared; panics on a
//! violation.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::link::{Link, MAX_FRAME_LEN};
use crate::vhost_user::fuzzed::{Memory, Put, Region, Ring, RingAddresses, Room, Took, put, take};
use crate::vhost_user::{VhostUserOptions, from_fd};

/// Memory with a ring at its beginning: the descriptors, what is available, what is used; then
/// whatever the bytes have there.
const MEMORY: usize = 1 << 16;
const AVAILABLE: usize = 2048;
const USED: usize = 2560;
/// Where the guest has it, so that there is something in front.
const GUEST: u64 = 0x1000;

/// The first bytes choose the ring's size and features, the rest is memory. What is read out of the
/// ring is what the simplest reading of the same bytes gives.
pub fn fuzz_vhost_rings(data: &[u8]) {
    let Some(([size, choice, base, length], image)) = data.split_first_chunk() else { return };
    let size = 1u16 << (size % 8);
    let header_len = if choice & 1 == 0 { 12 } else { 10 };
    let Some((memory, file)) = memory_of(image) else { return };
    let addresses =
        RingAddresses { descriptors: 0, available: AVAILABLE as u64, used: USED as u64 };
    let ring = Ring::new(&memory, &addresses, size, (*base).into(), choice & 2 != 0);
    let Ok(mut ring) = ring else { panic!("a ring that is within its memory") };
    let mut buf = vec![0; if choice & 4 == 0 { MAX_FRAME_LEN } else { 100 }];
    for _ in 0..=size {
        // A buffer may be in the used ring itself: all that is said there is said before.
        ring.refuse_kicks();
        let before = bytes_of(&file);
        let expected = read_simply(&before, size, ring.base(), header_len, buf.len());
        let took = take(&mut ring, &memory, header_len, &mut buf);
        let took = match took {
            Ok(Took::Frame(length)) => Reading::Frame(buf[..length].to_vec()),
            Ok(Took::Discarded) => Reading::Discarded,
            Ok(Took::Nothing) => Reading::Nothing,
            Err(_) => Reading::Fault,
        };
        assert_eq!(took, expected);
        if matches!(took, Reading::Nothing | Reading::Fault) {
            break;
        }
        ring.publish();
    }
    let frame = vec![0xaa; usize::from(*length) * 64 + 1];
    let mut room = Room::default();
    for _ in 0..=size {
        let mut header = [0; 12];
        let start = ring.unpublished();
        let mergeable = choice & 8 != 0;
        let pieces = [&frame[..], &[], &[]];
        let taken =
            put(&mut ring, &memory, mergeable, &mut header[..header_len], pieces, &mut room);
        let chains = ring.unpublished().wrapping_sub(start);
        match taken {
            Ok(Put::Taken) => assert!(chains >= 1 && (mergeable || chains == 1)),
            _ => assert_eq!(chains, 0, "nothing is given back that was not filled"),
        }
        if taken != Ok(Put::Taken) {
            break;
        }
    }
    let _ = ring.ask_for_kicks();
}

/// The first two bytes are the length of what the memory holds, which follows; the rest is what a
/// front end says: each message a number, flags and how many descriptors, a length, a body.
pub fn fuzz_vhost_messages(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (image, mut said) = rest.split_at(length);
    let (Ok((ours, theirs)), Ok(file)) = (UnixStream::pair(), file_of(image)) else { return };
    let options = VhostUserOptions { queue_pairs: 2, ..VhostUserOptions::default() };
    let Ok(mut link) = from_fd(ours.into(), &options) else { return };
    let mut buf = vec![0; MAX_FRAME_LEN];
    let frame = [0; 2000];
    for _ in 0..MESSAGES {
        let Some(([request, flags, length], body)) = said.split_first_chunk() else { break };
        let (body, next) = body.split_at(usize::from(*length).min(body.len()));
        said = next;
        if say(&theirs, &file, u32::from(*request), *flags, body).is_none() {
            break;
        }
        for _ in 0..8 {
            let _ = link.send(&frame);
            match link.receive(&mut buf) {
                Ok(length) => assert!((12..=buf.len()).contains(&length)),
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return,
                Err(_) => break,
            }
        }
        link.flush();
    }
}

fn say(to: &UnixStream, file: &File, request: u32, flags: u8, body: &[u8]) -> Option<()> {
    let wants_reply = u32::from(flags & 1) << 3;
    let header = [request, 1 | wants_reply, u32::try_from(body.len()).ok()?].map(u32::to_ne_bytes);
    let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).ok()?;
    let event_is_due = matches!(request, 12..=14 | 21) != (flags & 0x80 != 0);
    let one: BorrowedFd<'_> = if event_is_due { event.as_fd() } else { file.as_fd() };
    let files = [one; 3];
    let files = &files[..usize::from(flags >> 1 & 3)];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(files));
    }
    let message = [IoSlice::new(header.as_flattened()), IoSlice::new(body)];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(to, &message, &mut ancillary, flags).ok().map(|_| ())
}

fn memory_of(image: &[u8]) -> Option<(Memory, File)> {
    let file = file_of(image).ok()?;
    let region = Region { guest: GUEST, length: MEMORY as u64, user: 0, offset: 0 };
    let shared = OwnedFd::from(file.try_clone().ok()?);
    Some((Memory::new(&[region], vec![shared], false).ok()?, file))
}

fn file_of(image: &[u8]) -> std::io::Result<File> {
    let file = File::from(rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC)?);
    file.set_len(MEMORY as u64)?;
    file.write_all_at(&image[..image.len().min(MEMORY)], 0)?;
    Ok(file)
}

fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; MEMORY];
    if file.read_exact_at(&mut bytes, 0).is_err() {
        bytes.clear();
    }
    bytes
}

#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Frame(Vec<u8>),
    Discarded,
    Nothing,
    Fault,
}

fn read_simply(bytes: &[u8], size: u16, base: u16, header_len: usize, space: usize) -> Reading {
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let waiting = word(AVAILABLE + 2).wrapping_sub(base);
    match waiting {
        0 => return Reading::Nothing,
        _ if waiting > size => return Reading::Fault,
        _ => {}
    }
    let head = word(AVAILABLE + 4 + 2 * usize::from(base % size));
    let missing = 12 - header_len;
    match content_of(bytes, size, head, space - missing) {
        None => Reading::Fault,
        Some(Some(content)) if content.len() > header_len => {
            let (header, rest) = content.split_at(header_len);
            Reading::Frame([header, &[0; 2][..missing], rest].concat())
        }
        // Not even a byte behind the header, or too long.
        Some(_) => Reading::Discarded,
    }
}

/// Everything a chain has to read, if it is one; inside, none if there is no space for that.
fn content_of(bytes: &[u8], size: u16, head: u16, space: usize) -> Option<Option<Vec<u8>>> {
    let memory = |address: u64, length: usize| {
        let at = usize::try_from(address.checked_sub(GUEST)?).ok()?;
        bytes.get(at..at.checked_add(length)?)
    };
    let (mut table, mut entries, mut steps) = (None, usize::from(size), size.into());
    let (mut content, mut fits, mut next) = (Vec::new(), true, Some(head));
    while let Some(index) = next {
        if steps == 0 || usize::from(index) >= entries {
            return None;
        }
        steps -= 1;
        let entry = match table {
            None => &bytes[16 * usize::from(index)..],
            Some(address) => memory(u64::checked_add(address, 16 * u64::from(index))?, 16)?,
        };
        let number = u128::from_le_bytes(*entry.first_chunk()?);
        let (address, length) = (number as u64, (number >> 64) as u32 as usize);
        let (flags, after) = ((number >> 96) as u16, (number >> 112) as u16);
        if flags & 4 != 0 {
            let fit = table.is_none() && flags & 1 == 0 && length.is_multiple_of(16);
            if !fit || !(1..=1024).contains(&(length / 16)) {
                return None;
            }
            (table, entries, steps, next) = (Some(address), length / 16, length / 16, Some(0));
            continue;
        }
        next = (flags & 1 != 0).then_some(after);
        if flags & 2 == 0 && fits && length > 0 {
            if content.len() + length <= space {
                content.extend_from_slice(memory(address, length)?);
            } else {
                fits = false;
            }
        }
    }
    Some(fits.then_some(content))
}

/// More than it takes to set a device up twice.
const MESSAGES: usize = 96;
