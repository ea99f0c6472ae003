//! One TCP stream at full speed, in either direction, with every byte accounted for at its end.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use super::{Direction, Outcome, Plan};
use crate::{
    protocol::{Header, Meter, Mode, SLACK, Tally},
    socket::dial,
};

/// Same as the server's.
const CHUNK: usize = 256 * 1024;
/// How long a stream may stand still: a path that has collapsed still drains its buffers.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(plan: &Plan, direction: Direction) -> io::Result<Outcome> {
    let stream = dial(plan.target, None, PATIENCE)?;
    let mode = match direction {
        Direction::Send => Mode::Sink,
        Direction::Receive => Mode::Source,
    };
    let header = Header { mode, warmup: plan.warmup, window: plan.window, run: 0 };
    (&stream).write_all(&header.encode())?;
    let (tally, sent) = match direction {
        Direction::Send => send(&stream, plan)?,
        Direction::Receive => receive(&stream, plan)?,
    };
    if tally.total != sent {
        return Err(io::Error::other(format!(
            "the stream lost or made up bytes: {sent} sent, {} received",
            tally.total
        )));
    }
    Ok(Outcome {
        within: tally.within,
        nanos: tally.nanos,
        total: tally.total,
        sent,
        stall_nanos: tally.stall,
        ..Outcome::default()
    })
}

fn send(mut stream: &TcpStream, plan: &Plan) -> io::Result<(Tally, u64)> {
    let started = Instant::now();
    let end = plan.warmup + plan.window + SLACK;
    let buffer = vec![0xa5; CHUNK];
    let mut sent = 0;
    while started.elapsed() < end {
        sent += stream.write(&buffer)? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok((Tally::read(&mut stream)?, sent))
}

fn receive(mut stream: &TcpStream, plan: &Plan) -> io::Result<(Tally, u64)> {
    let started = Instant::now();
    let mut meter = Meter::new(plan.warmup, plan.window);
    let mut buffer = vec![0; CHUNK];
    let mut tail = Tail::default();
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        tail.push(&buffer[..count]);
        meter.add(count as u64, started.elapsed());
    }
    let mut tally = meter.tally();
    let trailer = tail.bytes.len() as u64;
    tally.total -= trailer;
    Ok((tally, tail.value()?))
}

/// The last eight bytes of a stream: the number of those before them.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(&chunk[chunk.len().saturating_sub(8)..]);
        let surplus = self.bytes.len().saturating_sub(8);
        self.bytes.drain(..surplus);
    }

    fn value(&self) -> io::Result<u64> {
        let bytes: [u8; 8] = self
            .bytes
            .as_slice()
            .try_into()
            .map_err(|_| io::Error::other("the stream ended before its length"))?;
        Ok(u64::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn tail_keeps_the_last_eight_bytes() {
        let mut tail = Tail::default();
        tail.push(&[9; 5]);
        assert!(tail.value().is_err());
        tail.push(&[7; 300]);
        tail.push(&[0, 0, 0, 0, 0]);
        tail.push(&[0, 1, 2]);
        assert_eq!(tail.value().expect("eight"), 0x0102);
    }
}
