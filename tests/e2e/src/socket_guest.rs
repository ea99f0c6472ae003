//! A namespace that attaches as a virtual machine does: its TAP's frames, over a socket.
//!
//! Owns what a VMM does, as plainly as can be, one thread each way. As libkrun does, it drops the
//! virtio-net header: what the guest's kernel sends has only the pseudo-header's checksum and up to
//! 64 KiB in a frame, and nothing says so.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use portreeve::{Link as _, MAX_FRAME_LEN, Tap, free_addressing};
use portreeve_sandbox::Running;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::calls::{Caller, Calls};
use crate::library::{Prepared, Started};
use crate::lines::Lines;

/// The guest, attached to nothing yet.
pub struct SocketGuest {
    /// What the guest's program prints.
    pub out: Lines,
    tap: Arc<Mutex<Tap>>,
    orders: File,
    calls: Calls,
    _running: Running,
    _directory: tempfile::TempDir,
}

/// How frames go over the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Behind a length of four bytes, big endian.
    Qemu,
    /// Behind `POST /connect`, and then a length of two bytes, little endian.
    HyperKit,
    /// One in each packet.
    Packets,
}

/// A cable. Dropped, it is pulled.
#[derive(Debug)]
pub struct Cable {
    socket: Arc<Socket>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

const HEADER: usize = 12;

impl SocketGuest {
    /// Runs services of the guest's program; `None`, said aloud, where this process may not.
    pub fn serve(services: &[&str]) -> Option<Self> {
        let mut prepared = Prepared::new(&free_addressing(), services)?;
        let tap = Arc::new(Mutex::new(prepared.take_tap()));
        let Started { out, running, orders, directory } = prepared.start();
        let calls = Calls::default();
        Some(Self { out, tap, orders, calls, _running: running, _directory: directory })
    }

    /// Attaches it.
    pub fn attach(&self, socket: Socket, framing: Framing) -> Cable {
        let socket = Arc::new(socket);
        let over = Arc::new(AtomicBool::new(false));
        if framing == Framing::HyperKit {
            (&*socket).write_all(b"POST /connect HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
        }
        let out = {
            let (tap, socket, over) = (self.tap.clone(), socket.clone(), over.clone());
            let fd: OwnedFd = tap.lock().unwrap().event_fd().try_clone_to_owned().unwrap();
            std::thread::spawn(move || send(&tap, &fd, &socket, framing, &over))
        };
        let back = {
            let (tap, socket) = (self.tap.clone(), socket.clone());
            std::thread::spawn(move || drop(receive(&tap, &socket, framing)))
        };
        Cable { socket, over, threads: vec![out, back] }
    }
}

impl Caller for SocketGuest {
    fn orders(&self) -> impl Write {
        &self.orders
    }

    fn lines(&self) -> &Lines {
        &self.out
    }

    fn calls(&self) -> &Calls {
        &self.calls
    }

    fn words(&self) -> String {
        self.out.so_far()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // One that the other side has closed is none any more.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A stream socket that is connected to this path.
pub fn stream(path: &Path) -> Socket {
    Socket::from(OwnedFd::from(UnixStream::connect(path).unwrap()))
}

/// A socket of packets in sequence that is connected to this path.
pub fn seqpacket(path: &Path) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    socket.connect(&SockAddr::unix(path).unwrap()).unwrap();
    socket
}

/// A datagram socket at one path, connected to the other.
pub fn datagram(own: &Path, path: &Path) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
    // As VMMs do with what their last run left there.
    let _ = std::fs::remove_file(own);
    socket.bind(&SockAddr::unix(own).unwrap()).unwrap();
    socket.connect(&SockAddr::unix(path).unwrap()).unwrap();
    socket
}

fn send(tap: &Mutex<Tap>, fd: &OwnedFd, socket: &Socket, framing: Framing, over: &AtomicBool) {
    let mut buffer = vec![0; MAX_FRAME_LEN];
    while !over.load(Ordering::Relaxed) {
        let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let _ = poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)], Some(&wait));
        loop {
            let received = tap.lock().unwrap().receive(&mut buffer);
            let Ok(length) = received else { break };
            let frame = &buffer[HEADER..length];
            let sent = match framing {
                Framing::Qemu => {
                    let prefix = u32::try_from(frame.len()).unwrap().to_be_bytes();
                    (&*socket).write_all(&[&prefix, frame].concat())
                }
                Framing::HyperKit => {
                    let prefix = u16::try_from(frame.len()).unwrap().to_le_bytes();
                    (&*socket).write_all(&[&prefix, frame].concat())
                }
                Framing::Packets => socket.send(frame).map(|_| ()),
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

fn receive(tap: &Mutex<Tap>, mut socket: &Socket, framing: Framing) -> io::Result<()> {
    let mut buffer = vec![0; MAX_FRAME_LEN];
    loop {
        let length = match framing {
            Framing::Qemu => {
                let mut prefix = [0; 4];
                socket.read_exact(&mut prefix)?;
                u32::from_be_bytes(prefix) as usize
            }
            Framing::HyperKit => {
                let mut prefix = [0; 2];
                socket.read_exact(&mut prefix)?;
                u16::from_le_bytes(prefix).into()
            }
            Framing::Packets => socket.read(&mut buffer[HEADER..])?,
        };
        if length == 0 {
            return Ok(());
        }
        if framing != Framing::Packets {
            socket.read_exact(&mut buffer[HEADER..HEADER + length])?;
        }
        // A guest whose interface is busy loses frames as any does.
        let _ = tap.lock().unwrap().send(&buffer[..HEADER + length]);
    }
}
