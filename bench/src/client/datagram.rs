//! Datagrams of 64 bytes: floods that the other side counts or sends, and echoes with a fixed
//! number in flight. All of it in batches: a system call for each would be what is measured.

use std::{
    io::{self, ErrorKind, Write},
    iter,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Outcome, Plan};
use crate::{
    protocol::{Header, Meter, Mode, SLACK, Tally, message},
    socket::{dial, make_room, send_batch},
    sys::{BATCH, Inbox},
};

/// An echo not back by then is lost.
const LOST: Duration = Duration::from_millis(200);
/// Time for queues to empty before the count is asked for.
const SETTLE: Duration = Duration::from_millis(300);
/// How often a flood is asked for that does not come.
const ASKED: usize = 5;

/// Sends for warm-up, window and slack; the server's count is the result.
pub(super) fn flood(plan: &Plan) -> io::Result<Outcome> {
    let socket = connected(plan.target)?;
    let header = header(plan, Mode::Flood);
    let datagram = message(&header);
    let end = plan.warmup + plan.window + SLACK;
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < end {
        sent += send_copies(&socket, &datagram, BATCH)? as u64;
    }
    let tally = report(plan, &header)?;
    Ok(outcome(&tally, sent, tally.total))
}

/// Asks the server for a flood and counts what arrives of it.
pub(super) fn flood_back(plan: &Plan) -> io::Result<Outcome> {
    let socket = connected(plan.target)?;
    socket.set_read_timeout(Some(LOST))?;
    let header = header(plan, Mode::FloodBack);
    let request = message(&header);
    let end = plan.warmup + plan.window + SLACK + LOST;
    let mut inbox = Inbox::new();
    let mut meter = Meter::new(plan.warmup, plan.window);
    let mut first: Option<Instant> = None;
    let mut asked = 0;
    loop {
        if first.is_none() {
            if asked == ASKED {
                return Err(io::Error::other("no datagram of the flood has arrived"));
            }
            asked += 1;
            send_copies(&socket, &request, 1)?;
        }
        match inbox.receive(&socket) {
            Ok(count) => {
                let elapsed = first.get_or_insert_with(Instant::now).elapsed();
                meter.add(count as u64, elapsed);
                if elapsed > end {
                    break;
                }
            }
            Err(error) if is_passing(&error) => {
                if first.is_some_and(|first| first.elapsed() > plan.warmup + plan.window) {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    let tally = meter.tally();
    Ok(outcome(&tally, report(plan, &header)?.total, tally.total))
}

/// Keeps `in_flight` datagrams on their way and counts those that come back.
pub(super) fn echo(plan: &Plan, in_flight: usize) -> io::Result<Outcome> {
    let socket = connected(plan.target)?;
    socket.set_read_timeout(Some(LOST))?;
    let datagram = message(&header(plan, Mode::Echo));
    let mut meter = Meter::new(plan.warmup, plan.window);
    let mut inbox = Inbox::new();
    let (mut sent, mut failed, mut on_their_way) = (0, 0, 0);
    let started = Instant::now();
    while started.elapsed() < plan.warmup + plan.window {
        let more = send_copies(&socket, &datagram, in_flight - on_their_way)?;
        sent += more as u64;
        on_their_way += more;
        match inbox.receive(&socket) {
            Ok(count) => {
                on_their_way = on_their_way.saturating_sub(count);
                meter.add(count as u64, started.elapsed());
            }
            Err(error) if is_passing(&error) => {
                failed += on_their_way as u64;
                on_their_way = 0;
            }
            Err(error) => return Err(error),
        }
    }
    meter.add(0, started.elapsed());
    let tally = meter.tally();
    Ok(Outcome { failed, ..outcome(&tally, sent, tally.total) })
}

fn header(plan: &Plan, mode: Mode) -> Header {
    // The number only has to differ from those of earlier floods of the same server.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let run = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    Header { mode, warmup: plan.warmup, window: plan.window, run }
}

pub(super) fn connected(target: SocketAddr) -> io::Result<UdpSocket> {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    make_room(&socket)?;
    socket.connect(target)?;
    Ok(socket)
}

fn send_copies(socket: &UdpSocket, datagram: &[u8], count: usize) -> io::Result<usize> {
    match send_batch(socket, iter::repeat_n((None, datagram), count)) {
        Err(error) if is_passing(&error) => Ok(0),
        result => result,
    }
}

/// A full queue, a timeout, or an ICMP error of an earlier datagram: the load goes on.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused)
        || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error())
}

/// What the server knows of a flood, once all of it must have arrived.
fn report(plan: &Plan, header: &Header) -> io::Result<Tally> {
    thread::sleep(SETTLE);
    let mut report = dial(plan.target, None, Duration::from_secs(5))?;
    report.write_all(&Header { mode: Mode::FloodReport, ..*header }.encode())?;
    Tally::read(&mut report)
}

fn outcome(received: &Tally, sent: u64, arrived: u64) -> Outcome {
    Outcome {
        within: received.within,
        nanos: received.nanos,
        total: arrived,
        sent,
        failed: sent.saturating_sub(arrived),
        ..Outcome::default()
    }
}
