//! Requests and responses on one connection, one at a time: the time of a round trip, alone and
//! beside thousands of idle connections.

use std::{
    io::{self, BufRead, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use super::{Outcome, Plan, connect};
use crate::{
    protocol::{Header, MESSAGE_LEN, Mode},
    socket::dial,
};

/// No round trip takes longer on a path that works.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(
    plan: &mut Plan,
    idle: usize,
    second_port: Option<u16>,
    hold: bool,
) -> io::Result<Outcome> {
    let others = connect::open_answered(plan, idle, second_port)?;
    if hold {
        writeln!(io::stdout().lock(), "opened")?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
    }
    let mut stream = open(plan)?;
    let started = Instant::now();
    let mut trips: Vec<u64> = Vec::with_capacity(1 << 20);
    while started.elapsed() < plan.warmup {
        round_trip(&mut stream)?;
    }
    let opened = Instant::now();
    while opened.elapsed() < plan.window {
        trips.push(round_trip(&mut stream)?);
    }
    let nanos = u64::try_from(opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
    drop(others);
    trips.sort_unstable();
    Ok(Outcome {
        within: trips.len() as u64,
        nanos,
        p50_nanos: percentile(&trips, 50),
        p99_nanos: percentile(&trips, 99),
        ..Outcome::default()
    })
}

/// Tries until one request has been answered. A port is often open before what is behind it.
pub(super) fn probe(plan: &Plan, patience: Duration) -> io::Result<()> {
    let started = Instant::now();
    loop {
        let Err(error) = open(plan).and_then(|mut stream| round_trip(&mut stream)) else {
            return Ok(());
        };
        if started.elapsed() > patience {
            return Err(io::Error::other(format!("no answer from {}: {error}", plan.target)));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn open(plan: &Plan) -> io::Result<TcpStream> {
    let mut stream = dial(plan.target, None, PATIENCE)?;
    let header = Header { mode: Mode::Exchange, warmup: plan.warmup, window: plan.window, run: 0 };
    stream.write_all(&header.encode())?;
    Ok(stream)
}

fn round_trip(stream: &mut TcpStream) -> io::Result<u64> {
    let mut message = [0x42; MESSAGE_LEN];
    let started = Instant::now();
    stream.write_all(&message)?;
    stream.read_exact(&mut message)?;
    Ok(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Nearest rank; zero of nothing.
pub(super) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (100, 198));
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (7, 0));
    }
}
