//! A loop that waits for a link as the engine's does, edge-triggered, and makes no call before an
//! edge has come. The descriptor is registered with the flags that mio uses, without mio: only the
//! shell has an event loop.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use portreeve_link::{GoneCause, Link, LinkEvent, MAX_FRAME_LEN};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

pub(crate) const HEADER: usize = 12;
const PATIENCE: Duration = Duration::from_secs(20);

/// What a link had to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A frame, header included.
    Frame(Vec<u8>),
    Arrived,
    Gone(GoneCause),
    /// The link has ended.
    Ended(String),
}

pub(crate) struct Shell<L> {
    pub(crate) link: L,
    epoll: OwnedFd,
    readable: bool,
    told: VecDeque<Told>,
    buf: Vec<u8>,
}

impl<L: Link> Shell<L> {
    pub(crate) fn new(link: L) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&epoll, link.event_fd(), EventData::new_u64(1), flags).unwrap();
        let buf = vec![0xee; MAX_FRAME_LEN];
        Self { link, epoll, readable: true, told: VecDeque::new(), buf }
    }

    /// Waits for an edge; false if none came in that time.
    pub(crate) fn edge(&mut self, limit: Duration) -> bool {
        let limit = limit.try_into().unwrap();
        let mut events: Vec<Event> = Vec::with_capacity(4);
        let came = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&limit)).unwrap() > 0;
        self.readable |= came;
        came
    }

    /// Receives until the link has no more.
    pub(crate) fn drain(&mut self) {
        while self.readable {
            match self.link.receive(&mut self.buf) {
                Ok(length) => self.told.push_back(Told::Frame(self.buf[..length].to_vec())),
                Err(error) => self.note(&error),
            }
        }
    }

    fn note(&mut self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.readable = false,
            io::ErrorKind::ConnectionReset => {
                let told = self.told.len();
                while let Some(event) = self.link.take_event() {
                    self.told.push_back(match event {
                        LinkEvent::GuestArrived => Told::Arrived,
                        LinkEvent::GuestGone(cause) => Told::Gone(cause),
                        other => panic!("{other}"),
                    });
                }
                assert!(self.told.len() > told, "a change that nothing tells of");
            }
            io::ErrorKind::BrokenPipe => {
                self.readable = false;
                self.told.push_back(Told::Ended(error.to_string()));
            }
            _ => panic!("{error}"),
        }
    }

    /// The next thing the link says, waiting for edges only.
    pub(crate) fn next(&mut self) -> Told {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(told) = self.told.pop_front() {
                return told;
            }
            if !self.readable {
                assert!(self.edge(PATIENCE) && Instant::now() < deadline, "no edge came");
            }
            self.drain();
        }
    }

    /// The next thing, which has to be a frame, without its header.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        match self.next() {
            Told::Frame(frame) => frame[HEADER..].to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// Whether anything was said that nobody has asked for.
    pub(crate) fn told_any(&self) -> bool {
        !self.told.is_empty()
    }

    /// Frames or none, the guest goes.
    pub(crate) fn until_gone(&mut self) {
        while !matches!(
            {
                self.readable = true;
                self.next()
            },
            Told::Gone(_)
        ) {}
    }

    /// Nothing is said, however long an edge is waited for.
    pub(crate) fn silent(&mut self) {
        self.drain();
        while self.edge(Duration::from_millis(50)) {
            self.drain();
        }
        assert_eq!(self.told.pop_front(), None);
    }

    /// Nothing is said now.
    pub(crate) fn silent_now(&mut self) {
        self.edge(Duration::ZERO);
        self.drain();
        assert_eq!(self.told.pop_front(), None);
    }

    /// Whether an edge comes though nothing has changed, but for those owed from before.
    pub(crate) fn edge_without_room(&mut self) -> bool {
        while self.edge(Duration::from_millis(10)) {}
        self.edge(Duration::from_millis(30))
    }

    /// Sends one frame, waiting for edges; what comes meanwhile is kept.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        let frame = with_header(frame);
        loop {
            match self.link.send(&frame) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(self.edge(PATIENCE), "no edge when there was room");
                    self.drain();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends copies of a frame until the link is full; how many it took.
    pub(crate) fn fill(&mut self, frame: &[u8]) -> usize {
        let frame = with_header(frame);
        for sent in 0..1_000_000 {
            match self.link.send(&frame) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                    return sent;
                }
            }
        }
        panic!("a link without a bound");
    }
}

pub(crate) fn with_header(frame: &[u8]) -> Vec<u8> {
    [&[0; HEADER][..], frame].concat()
}

/// A frame that can be told from others.
pub(crate) fn frame(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number.wrapping_mul(31) + at * 7 + (at >> 8)) as u8).collect()
}

pub(crate) fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(|_| ()).expect_err("an error is due").kind()
}

pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("link.sock");
    (folder, path)
}
