//! Connections of one request each, a fixed number at a time, from one event loop: the next
//! starts when one has ended.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};

use super::{Outcome, Plan};
use crate::{
    protocol::{HEADER_LEN, Header, MESSAGE_LEN, Meter, Mode},
    socket::start_dial,
};

/// After this a connection counts as failed.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens connections for the warm-up and the window and counts those that were answered.
pub(super) fn run(plan: &mut Plan, in_flight: usize) -> io::Result<Outcome> {
    let mut pool = Pool::new(plan)?;
    let mut meter = Meter::new(plan.warmup, plan.window);
    let started = Instant::now();
    let end = plan.warmup + plan.window;
    let mut failed = 0;
    while started.elapsed() < end {
        while pool.open.len() < in_flight {
            let target = plan.target();
            pool.start(target, plan)?;
        }
        let round = pool.wait(Duration::from_millis(20))?;
        // Anything that ends in one round has ended at the same time, as far as can be told.
        meter.add(round.answered, started.elapsed());
        failed += round.failed;
    }
    meter.add(0, started.elapsed().max(end));
    let tally = meter.tally();
    Ok(Outcome {
        within: tally.within,
        nanos: tally.nanos,
        total: tally.total,
        failed,
        ..Outcome::default()
    })
}

/// Opens `count` connections that have each been answered once, and keeps them.
pub(super) fn open_answered(
    plan: &mut Plan,
    count: usize,
    second_port: Option<u16>,
) -> io::Result<Vec<TcpStream>> {
    let mut pool = Pool::new(plan)?;
    let mut targets = [plan.target; 2];
    if let Some(port) = second_port {
        targets[1].set_port(port);
    }
    pool.keep = Some(Vec::with_capacity(count));
    let kept = |pool: &Pool| pool.keep.as_ref().map_or(0, Vec::len);
    let mut last_progress = (0, Instant::now());
    while kept(&pool) < count {
        while pool.open.len() < 64 && kept(&pool) + pool.open.len() < count {
            targets.swap(0, 1);
            pool.start(targets[0], plan)?;
        }
        let round = pool.wait(Duration::from_millis(20))?;
        if round.failed > 0 {
            let sort = round.error.unwrap_or_default();
            let have = kept(&pool);
            return Err(io::Error::other(format!("idle connection {have} of {count}: {sort}")));
        }
        if kept(&pool) > last_progress.0 {
            last_progress = (kept(&pool), Instant::now());
        } else if last_progress.1.elapsed() > PATIENCE {
            return Err(io::Error::other(format!(
                "idle connections stopped at {} of {count}",
                last_progress.0
            )));
        }
    }
    Ok(pool.keep.take().unwrap_or_default())
}

/// Connections in flight.
struct Pool {
    poll: OwnedFd,
    open: HashMap<u64, Attempt>,
    request: [u8; HEADER_LEN + MESSAGE_LEN],
    events: Vec<epoll::Event>,
    /// Answered connections, if they are to be kept.
    keep: Option<Vec<TcpStream>>,
}

struct Attempt {
    stream: TcpStream,
    started: Instant,
    state: State,
}

enum State {
    Connecting,
    Awaiting { received: usize },
}

/// What one wait has brought.
#[derive(Default)]
struct Round {
    answered: u64,
    failed: u64,
    error: Option<String>,
}

impl Pool {
    fn new(plan: &Plan) -> io::Result<Self> {
        let header =
            Header { mode: Mode::Exchange, warmup: plan.warmup, window: plan.window, run: 0 };
        let mut request = [0; HEADER_LEN + MESSAGE_LEN];
        request[..HEADER_LEN].copy_from_slice(&header.encode());
        Ok(Self {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            open: HashMap::new(),
            request,
            events: Vec::with_capacity(256),
            keep: None,
        })
    }

    fn start(&mut self, target: SocketAddr, plan: &mut Plan) -> io::Result<()> {
        let stream = start_dial(target, plan.sources.take())?;
        let key = u64::try_from(stream.as_raw_fd()).map_err(io::Error::other)?;
        epoll::add(&self.poll, &stream, epoll::EventData::new_u64(key), epoll::EventFlags::OUT)?;
        let started = Instant::now();
        self.open.insert(key, Attempt { stream, started, state: State::Connecting });
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> io::Result<Round> {
        self.events.clear();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
        let room = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.poll, room, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut round = Round::default();
        for event in &self.events {
            let key = event.data.u64();
            let Some(attempt) = self.open.get_mut(&key) else { continue };
            match attempt.advance(&self.request) {
                Ok(Progress::Partial) => {}
                Ok(Progress::Sent) => {
                    let data = epoll::EventData::new_u64(key);
                    epoll::modify(&self.poll, &attempt.stream, data, epoll::EventFlags::IN)?;
                }
                Ok(Progress::Answered) => {
                    round.answered += 1;
                    let answered = self.open.remove(&key);
                    if let (Some(kept), Some(attempt)) = (&mut self.keep, answered) {
                        epoll::delete(&self.poll, &attempt.stream)?;
                        kept.push(attempt.stream);
                    }
                }
                Err(error) => {
                    round.failed += 1;
                    round.error = Some(error.to_string());
                    self.open.remove(&key);
                }
            }
        }
        if self.events.is_empty() {
            self.expire(&mut round);
        }
        Ok(round)
    }

    /// Gives up on what has waited too long; looked at only when nothing else happens.
    fn expire(&mut self, round: &mut Round) {
        let before = self.open.len();
        self.open.retain(|_, attempt| attempt.started.elapsed() < PATIENCE);
        let expired = before - self.open.len();
        if expired > 0 {
            round.failed += expired as u64;
            round.error = Some(format!("no answer within {PATIENCE:?}"));
        }
    }
}

enum Progress {
    Sent,
    Partial,
    Answered,
}

impl Attempt {
    fn advance(&mut self, request: &[u8]) -> io::Result<Progress> {
        match &mut self.state {
            State::Connecting => {
                if let Some(error) = self.stream.take_error()? {
                    return Err(error);
                }
                // A fresh connection's buffer takes the whole request.
                self.stream.write_all(request)?;
                self.state = State::Awaiting { received: 0 };
                Ok(Progress::Sent)
            }
            State::Awaiting { received } => {
                let mut buffer = [0; MESSAGE_LEN];
                match self.stream.read(&mut buffer) {
                    Ok(0) => Err(io::Error::other("closed before the response")),
                    Ok(count) => {
                        *received += count;
                        let whole = *received >= MESSAGE_LEN;
                        Ok(if whole { Progress::Answered } else { Progress::Partial })
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Progress::Partial),
                    Err(error) => Err(error),
                }
            }
        }
    }
}
