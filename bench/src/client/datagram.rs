//! Datagrams of 64 bytes: a flood that the server counts, and echoes with a fixed number in
//! flight.

use std::{
    io::{self, ErrorKind, Write},
    net::UdpSocket,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Outcome, Plan};
use crate::{
    protocol::{HEADER_LEN, Header, MESSAGE_LEN, Meter, Mode, SLACK, Tally},
    socket::dial,
};

/// An echo not back by then is lost.
const LOST: Duration = Duration::from_millis(200);
/// Time for queues to empty before the count is asked for.
const SETTLE: Duration = Duration::from_millis(300);

/// Sends for warm-up, window and slack; the server's count is the result.
pub(super) fn flood(plan: &Plan) -> io::Result<Outcome> {
    let socket = connected(plan)?;
    // The number only has to differ from those of earlier floods of the same server.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let run = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let header = Header { mode: Mode::Flood, warmup: plan.warmup, window: plan.window, run };
    let datagram = message(&header);
    let end = plan.warmup + plan.window + SLACK;
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < end {
        for _ in 0..32 {
            match socket.send(&datagram) {
                Ok(_) => sent += 1,
                // A full queue, or an ICMP error of an earlier datagram: the flood goes on.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::ConnectionRefused
                    ) || error.raw_os_error()
                        == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
    }
    thread::sleep(SETTLE);
    let mut report = dial(plan.target, None, Duration::from_secs(5))?;
    report.write_all(&Header { mode: Mode::FloodReport, ..header }.encode())?;
    let tally = Tally::read(&mut report)?;
    Ok(Outcome {
        within: tally.within,
        nanos: tally.nanos,
        total: tally.total,
        sent,
        failed: sent.saturating_sub(tally.total),
        ..Outcome::default()
    })
}

/// Keeps `in_flight` datagrams on their way and counts those that come back.
pub(super) fn echo(plan: &Plan, in_flight: usize) -> io::Result<Outcome> {
    let socket = connected(plan)?;
    socket.set_read_timeout(Some(LOST))?;
    let header = Header { mode: Mode::Echo, warmup: plan.warmup, window: plan.window, run: 0 };
    let datagram = message(&header);
    let mut meter = Meter::new(plan.warmup, plan.window);
    let mut buffer = [0; 2 * MESSAGE_LEN];
    let (mut sent, mut failed, mut on_their_way) = (0, 0, 0);
    let started = Instant::now();
    while started.elapsed() < plan.warmup + plan.window {
        while on_their_way < in_flight {
            socket.send(&datagram)?;
            sent += 1;
            on_their_way += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(_) => {
                on_their_way = on_their_way.saturating_sub(1);
                meter.add(1, started.elapsed());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                failed += on_their_way as u64;
                on_their_way = 0;
            }
            Err(error) => return Err(error),
        }
    }
    meter.add(0, started.elapsed());
    let tally = meter.tally();
    Ok(Outcome {
        within: tally.within,
        nanos: tally.nanos,
        total: tally.total,
        sent,
        failed,
        ..Outcome::default()
    })
}

fn connected(plan: &Plan) -> io::Result<UdpSocket> {
    let any = if plan.target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(plan.target)?;
    Ok(socket)
}

fn message(header: &Header) -> [u8; MESSAGE_LEN] {
    let mut message = [0; MESSAGE_LEN];
    message[..HEADER_LEN].copy_from_slice(&header.encode());
    message
}
