//! A vhost-user front end with a driver behind it, of our own: it shares memory, speaks the socket's
//! protocol in the orders of the front ends that exist, and makes and takes what is in the rings.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering, fence};
use std::time::Duration;

use portreeve_link::Link;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use crate::support::Shell;

pub(crate) mod request {
    pub(crate) const GET_FEATURES: u32 = 1;
    pub(crate) const SET_FEATURES: u32 = 2;
    pub(crate) const SET_OWNER: u32 = 3;
    pub(crate) const SET_MEM_TABLE: u32 = 5;
    pub(crate) const SET_VRING_NUM: u32 = 8;
    pub(crate) const SET_VRING_ADDR: u32 = 9;
    pub(crate) const SET_VRING_BASE: u32 = 10;
    pub(crate) const GET_VRING_BASE: u32 = 11;
    pub(crate) const SET_VRING_KICK: u32 = 12;
    pub(crate) const SET_VRING_CALL: u32 = 13;
    pub(crate) const SET_VRING_ERR: u32 = 14;
    pub(crate) const GET_PROTOCOL_FEATURES: u32 = 15;
    pub(crate) const SET_PROTOCOL_FEATURES: u32 = 16;
    pub(crate) const GET_QUEUE_NUM: u32 = 17;
    pub(crate) const SET_VRING_ENABLE: u32 = 18;
    pub(crate) const NET_SET_MTU: u32 = 20;
    pub(crate) const SET_BACKEND_REQ_FD: u32 = 21;
    pub(crate) const GET_MAX_MEM_SLOTS: u32 = 36;
    pub(crate) const ADD_MEM_REG: u32 = 37;
    pub(crate) const REM_MEM_REG: u32 = 38;
}

pub(crate) mod feature {
    pub(crate) const CSUM: u64 = 1 << 0;
    pub(crate) const GUEST_CSUM: u64 = 1 << 1;
    pub(crate) const GUEST_TSO4: u64 = 1 << 7;
    pub(crate) const GUEST_TSO6: u64 = 1 << 8;
    pub(crate) const MRG_RXBUF: u64 = 1 << 15;
    pub(crate) const MQ: u64 = 1 << 22;
    pub(crate) const INDIRECT: u64 = 1 << 28;
    pub(crate) const EVENT_IDX: u64 = 1 << 29;
    pub(crate) const PROTOCOL: u64 = 1 << 30;
    pub(crate) const VERSION_1: u64 = 1 << 32;

    /// As a Linux guest behind QEMU chooses.
    pub(crate) const LINUX: u64 = CSUM
        | GUEST_CSUM
        | GUEST_TSO4
        | GUEST_TSO6
        | MRG_RXBUF
        | INDIRECT
        | EVENT_IDX
        | PROTOCOL
        | VERSION_1;
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// QEMU's: rings are enabled before features are chosen.
    Qemu,
    /// DPDK's virtio-user: rings are enabled last.
    Dpdk,
    /// User-Mode Linux': as DPDK's, with a channel for the back end and a table of memory that is
    /// longer than its regions.
    Uml,
}

/// Memory of the guest: rings in the first region, everything else in the second.
pub(crate) const RINGS: u64 = 0;
pub(crate) const RINGS_LEN: u64 = 1 << 20;
pub(crate) const DATA: u64 = 0x4000_0000;
pub(crate) const DATA_LEN: u64 = 31 << 20;
const USER: u64 = 0x7f00_0000_0000;

pub(crate) struct FrontEnd {
    pub(crate) socket: UnixStream,
    pub(crate) memory: Memory,
    pub(crate) features: u64,
    pub(crate) queues: Vec<Queue>,
}

#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) file: Arc<File>,
    map: Arc<MmapRegion>,
}

/// The driver's side of a ring.
pub(crate) struct Queue {
    memory: Memory,
    pub(crate) index: u32,
    pub(crate) size: u16,
    event_idx: bool,
    indirect: bool,
    pub(crate) kick: OwnedFd,
    pub(crate) call: OwnedFd,
    free: Vec<u16>,
    next_available: u16,
    published: u16,
    next_used: u16,
    /// How many descriptors of the ring each chain has taken.
    taken: Vec<Vec<u16>>,
}

impl Memory {
    pub(crate) fn new(sealed: bool) -> Self {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("guest", flags).unwrap());
        file.set_len(RINGS_LEN + DATA_LEN).unwrap();
        if sealed {
            rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
        }
        let whole = FileOffset::new(file.try_clone().unwrap(), 0);
        let map = MmapRegion::from_file(whole, (RINGS_LEN + DATA_LEN) as usize).unwrap();
        Self { file: file.into(), map: map.into() }
    }

    /// As in a message: where the guest has it, its length, where the front end has it, and where
    /// it is in the file.
    pub(crate) fn regions() -> [[u64; 4]; 2] {
        [[RINGS, RINGS_LEN, USER, 0], [DATA, DATA_LEN, USER + (1 << 30), RINGS_LEN]]
    }

    pub(crate) fn write(&self, guest: u64, bytes: &[u8]) {
        self.map.get_slice(Self::offset(guest), bytes.len()).unwrap().copy_from(bytes);
    }

    pub(crate) fn read(&self, guest: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.map.get_slice(Self::offset(guest), length).unwrap().copy_to(&mut bytes);
        bytes
    }

    pub(crate) fn word(&self, guest: u64) -> &AtomicU16 {
        self.map.get_atomic_ref(Self::offset(guest)).unwrap()
    }

    fn offset(guest: u64) -> usize {
        (if guest >= DATA { guest - DATA + RINGS_LEN } else { guest }) as usize
    }
}

impl FrontEnd {
    pub(crate) fn connect(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).unwrap())
    }

    pub(crate) fn over(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, memory: Memory::new(true), features: 0, queues: Vec::new() }
    }

    /// Sets a device up, with rings of that size.
    pub(crate) fn set_up<L: Link>(
        &mut self,
        shell: &mut Shell<L>,
        order: Order,
        features: u64,
        rings: u32,
        size: u16,
    ) {
        use request::*;
        let enable = |front: &Self| {
            (0..rings).for_each(|index| front.say(SET_VRING_ENABLE, &pair(index, 1), &[]));
        };
        self.features = features;
        self.queues =
            (0..rings).map(|index| Queue::new(&self.memory, index, size, features)).collect();
        if order == Order::Qemu {
            assert_eq!(self.ask(shell, GET_FEATURES, &[]) & features, features);
            self.ask(shell, GET_PROTOCOL_FEATURES, &[]);
            self.say(SET_PROTOCOL_FEATURES, &0x8009u64.to_ne_bytes(), &[]);
            assert!(self.ask(shell, GET_QUEUE_NUM, &[]) * 2 >= rings.into());
            assert_eq!(self.ask(shell, GET_MAX_MEM_SLOTS, &[]), 32);
            self.say(SET_OWNER, &[], &[]);
            self.ask(shell, GET_FEATURES, &[]);
            for queue in &self.queues {
                self.say_file(SET_VRING_CALL, queue.index, Some(queue.call.as_fd()));
                self.say_file(SET_VRING_ERR, queue.index, Some(queue.call.as_fd()));
            }
            enable(self);
        } else {
            self.say(SET_OWNER, &[], &[]);
            assert_eq!(self.ask(shell, GET_FEATURES, &[]) & features, features);
            let offered = self.ask(shell, GET_PROTOCOL_FEATURES, &[]);
            if order == Order::Uml {
                assert!(offered & (1 << 5) != 0, "its probe fails without BACKEND_REQ");
                let (channel, _) = UnixStream::pair().unwrap();
                self.say(SET_BACKEND_REQ_FD, &[], &[channel.as_fd()]);
            }
            self.say(SET_PROTOCOL_FEATURES, &(offered & 9).to_ne_bytes(), &[]);
        }
        self.say(SET_FEATURES, &features.to_ne_bytes(), &[]);
        self.share(order == Order::Uml);
        self.start();
        if order != Order::Qemu {
            enable(self);
        }
        shell.edge(Duration::from_secs(5));
        shell.drain();
    }

    /// Sends the table of memory.
    pub(crate) fn share(&self, padded: bool) {
        let regions = Memory::regions();
        let mut body = 2u64.to_ne_bytes().to_vec();
        body.extend(regions.as_flattened().iter().flat_map(|word| word.to_ne_bytes()));
        if padded {
            body.resize(body.len().max(72), 0);
        }
        let file = self.memory.file.as_fd();
        self.say(request::SET_MEM_TABLE, &body, &[file, file]);
    }

    /// Starts all rings where they stopped.
    pub(crate) fn start(&self) {
        use request::*;
        for queue in &self.queues {
            let index = queue.index;
            self.say(SET_VRING_NUM, &pair(index, queue.size.into()), &[]);
            self.say(SET_VRING_BASE, &pair(index, queue.published.into()), &[]);
            self.say(SET_VRING_ADDR, &queue.addresses(), &[]);
            self.say_file(SET_VRING_CALL, index, Some(queue.call.as_fd()));
            self.say_file(SET_VRING_KICK, index, Some(queue.kick.as_fd()));
        }
    }

    /// Stops a ring; where it would go on.
    pub(crate) fn stop<L: Link>(&self, shell: &mut Shell<L>, index: u32) -> u32 {
        (self.ask(shell, request::GET_VRING_BASE, &pair(index, 0)) >> 32) as u32
    }

    pub(crate) fn say(&self, request: u32, body: &[u8], files: &[BorrowedFd<'_>]) {
        self.say_with(request, 1, body, files);
    }

    pub(crate) fn say_with(&self, request: u32, flags: u32, body: &[u8], files: &[BorrowedFd<'_>]) {
        let header = [request, flags, body.len() as u32].map(u32::to_ne_bytes);
        let message = [header.as_flattened(), body].concat();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(files.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(files)));
        // Fails where the link has closed the connection already.
        let _ = rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(&message)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        );
    }

    pub(crate) fn say_file(&self, request: u32, index: u32, file: Option<BorrowedFd<'_>>) {
        let word = u64::from(index) | if file.is_none() { 0x100 } else { 0 };
        self.say(request, &word.to_ne_bytes(), file.as_slice());
    }

    /// Asks, lets the link answer, and reads the answer.
    pub(crate) fn ask<L: Link>(&self, shell: &mut Shell<L>, request: u32, body: &[u8]) -> u64 {
        self.ask_with(shell, request, 1, body, &[])
    }

    pub(crate) fn ask_with<L: Link>(
        &self,
        shell: &mut Shell<L>,
        request: u32,
        flags: u32,
        body: &[u8],
        files: &[BorrowedFd<'_>],
    ) -> u64 {
        self.say_with(request, flags, body, files);
        shell.edge(Duration::from_secs(5));
        shell.drain();
        let mut reply = [0; 20];
        (&self.socket).read_exact(&mut reply).unwrap();
        let head = [request, 5, 8].map(u32::to_ne_bytes);
        assert_eq!(reply[..12], *head.as_flattened());
        u64::from_ne_bytes(reply[12..].try_into().unwrap())
    }

    /// The ring with frames to the guest, of a pair.
    pub(crate) fn ring_to_guest(&mut self, pair: usize) -> &mut Queue {
        &mut self.queues[2 * pair]
    }

    pub(crate) fn ring_from_guest(&mut self, pair: usize) -> &mut Queue {
        &mut self.queues[2 * pair + 1]
    }

    pub(crate) fn header_len(&self) -> usize {
        if self.features & (feature::VERSION_1 | feature::MRG_RXBUF) == 0 { 10 } else { 12 }
    }

    /// Makes a frame with an empty header available, in pieces of that length, and kicks if asked.
    pub(crate) fn send(&mut self, pair: usize, frame: &[u8], piece: usize) -> bool {
        let bytes = [&vec![0; self.header_len()][..], frame].concat();
        let queue = self.ring_from_guest(pair);
        let at = queue.data(0) + (u64::from(queue.next_available % 16) << 17);
        queue.memory.write(at, &bytes);
        let buffers: Vec<_> = (0..bytes.len())
            .step_by(piece)
            .map(|from| (at + from as u64, piece.min(bytes.len() - from) as u32, false))
            .collect();
        queue.offer(&buffers);
        queue.publish();
        queue.kick()
    }

    /// The next frame to the guest, header included, put together of the buffers it was spread over.
    pub(crate) fn receive(&mut self, pair: usize, buffer: u32) -> Option<Vec<u8>> {
        let header_len = self.header_len();
        let mergeable = self.features & feature::MRG_RXBUF != 0;
        let queue = self.ring_to_guest(pair);
        let (head, length) = queue.take()?;
        let mut frame = queue.memory.read(queue.data(head), length as usize);
        assert!(length <= buffer);
        if mergeable {
            let count = u16::from_le_bytes([frame[10], frame[11]]);
            for _ in 1..count {
                let (head, length) = queue.take().expect("all of a frame is shown at once");
                frame.extend(queue.memory.read(queue.data(head), length as usize));
            }
        }
        assert!(frame.len() > header_len);
        Some(frame)
    }

    /// Makes buffers of that length available until there are no descriptors.
    pub(crate) fn refill(&mut self, pair: usize, buffer: u32) {
        let queue = self.ring_to_guest(pair);
        while let Some(head) = queue.free.last().copied() {
            queue.offer(&[(queue.data(head), buffer, true)]);
        }
        queue.publish();
        queue.kick();
    }
}

impl Queue {
    fn new(memory: &Memory, index: u32, size: u16, features: u64) -> Self {
        let event = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let queue = Self {
            memory: memory.clone(),
            index,
            size,
            event_idx: features & feature::EVENT_IDX != 0,
            indirect: features & feature::INDIRECT != 0,
            kick: event(),
            call: event(),
            free: (0..size).rev().collect(),
            next_available: 0,
            published: 0,
            next_used: 0,
            taken: vec![Vec::new(); size.into()],
        };
        memory.write(queue.descriptors(), &vec![0; 0x1_0000]);
        queue
    }

    pub(crate) fn descriptors(&self) -> u64 {
        RINGS + u64::from(self.index) * 0x1_0000
    }

    pub(crate) fn available(&self) -> u64 {
        self.descriptors() + 0x5000
    }

    pub(crate) fn used(&self) -> u64 {
        self.descriptors() + 0x6000
    }

    /// The memory of buffers of this ring.
    pub(crate) fn data(&self, head: u16) -> u64 {
        DATA + (u64::from(self.index) << 22) + (u64::from(head) << 12)
    }

    fn table(&self, head: u16) -> u64 {
        DATA + (24 << 20) + (u64::from(self.index) << 20) + u64::from(head) * 2048
    }

    pub(crate) fn addresses(&self) -> Vec<u8> {
        let words = [self.descriptors(), self.used(), self.available(), RINGS];
        let mut body = pair(self.index, 0);
        body.extend(words.iter().flat_map(|at| (USER + at).to_ne_bytes()));
        body
    }

    /// A chain of buffers: where, how long, whether the device writes.
    pub(crate) fn offer(&mut self, buffers: &[(u64, u32, bool)]) -> u16 {
        let indirect = self.indirect && buffers.len() > 1;
        let count = if indirect { 1 } else { buffers.len() };
        let taken: Vec<u16> = (0..count).map(|_| self.free.pop().expect("descriptors")).collect();
        let head = taken[0];
        let last = buffers.len() - 1;
        let flags = |at, writable| u16::from(at < last) | if writable { 2 } else { 0 };
        if indirect {
            let table = self.table(head);
            for (at, (address, length, writable)) in buffers.iter().enumerate() {
                let flags = flags(at, *writable);
                let next = at as u16 + 1;
                self.memory.write(table + 16 * at as u64, &entry(*address, *length, flags, next));
            }
            self.describe(head, table, 16 * buffers.len() as u32, 4, 0);
        } else {
            for (at, (address, length, writable)) in buffers.iter().enumerate() {
                let next = taken.get(at + 1).copied().unwrap_or_default();
                self.describe(taken[at], *address, *length, flags(at, *writable), next);
            }
        }
        self.taken[usize::from(head)] = taken;
        self.make_available(head);
        head
    }

    pub(crate) fn describe(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let at = self.descriptors() + 16 * u64::from(index);
        self.memory.write(at, &entry(address, length, flags, next));
    }

    pub(crate) fn make_available(&mut self, head: u16) {
        let at = u64::from(self.next_available & (self.size - 1));
        self.memory.write(self.available() + 4 + 2 * at, &head.to_le_bytes());
        self.next_available = self.next_available.wrapping_add(1);
    }

    pub(crate) fn publish(&self) {
        self.memory.word(self.available() + 2).store(self.next_available, Ordering::Release);
    }

    /// Kicks if the device wants that.
    pub(crate) fn kick(&mut self) -> bool {
        let old = std::mem::replace(&mut self.published, self.next_available);
        fence(Ordering::SeqCst);
        let wanted = if self.event_idx {
            let at = self.used() + 4 + 8 * u64::from(self.size);
            let event = self.memory.word(at).load(Ordering::Relaxed);
            let new = self.published;
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.memory.word(self.used()).load(Ordering::Relaxed) & 1 == 0
        };
        if wanted {
            self.kick_now();
        }
        wanted
    }

    pub(crate) fn kick_now(&self) {
        rustix::io::write(&self.kick, &1u64.to_ne_bytes()).unwrap();
    }

    /// What the device has given back, and how much it wrote.
    pub(crate) fn take(&mut self) -> Option<(u16, u32)> {
        let index = self.memory.word(self.used() + 2).load(Ordering::Acquire);
        if index == self.next_used {
            return None;
        }
        let at = u64::from(self.next_used & (self.size - 1));
        let entry = self.memory.read(self.used() + 4 + 8 * at, 8);
        self.next_used = self.next_used.wrapping_add(1);
        let head = u32::from_le_bytes(entry[..4].try_into().unwrap()) as u16;
        let taken = std::mem::take(&mut self.taken[usize::from(head)]);
        self.free.extend(taken.into_iter().rev());
        Some((head, u32::from_le_bytes(entry[4..].try_into().unwrap())))
    }

    /// Asks to be called when the device has given back that many more.
    pub(crate) fn ask_for_calls(&self, more: u16) {
        let at = self.available() + 4 + 2 * u64::from(self.size);
        let event = self.next_used.wrapping_add(more).wrapping_sub(1);
        self.memory.word(at).store(event, Ordering::SeqCst);
        self.memory.word(self.available()).store(0, Ordering::SeqCst);
    }

    pub(crate) fn refuse_calls(&self) {
        self.memory.word(self.available()).store(1, Ordering::SeqCst);
    }

    /// How often it was called since it was asked last.
    pub(crate) fn calls(&self) -> u64 {
        let mut count = [0; 8];
        rustix::io::read(&self.call, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }

    /// How often it has kicked; the link does not read that.
    pub(crate) fn kicks(&self) -> u64 {
        let mut count = [0; 8];
        rustix::io::read(&self.kick, &mut count).map_or(0, |_| u64::from_ne_bytes(count))
    }
}

pub(crate) fn entry(address: u64, length: u32, flags: u16, next: u16) -> [u8; 16] {
    let rest = u64::from(length) | u64::from(flags) << 32 | u64::from(next) << 48;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..].copy_from_slice(&rest.to_le_bytes());
    bytes
}

pub(crate) fn pair(index: u32, value: u32) -> Vec<u8> {
    [index, value].iter().flat_map(|word| word.to_ne_bytes()).collect()
}
