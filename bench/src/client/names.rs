//! Questions about names over UDP: how many answers per second come out of a cache, and how long
//! one takes that nobody has asked for yet. Spec: RFC 1035 §4.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process,
    time::{Duration, Instant},
};

use super::{
    Outcome, Plan,
    datagram::{connected, is_passing},
    exchange::percentile,
};
use crate::{
    protocol::Meter,
    socket::send_batch,
    sys::{BATCH, Inbox},
};

/// Different names whose answers are asked for again and again.
const CACHED: u32 = 32;
/// An answer not there by then is lost.
const LOST: Duration = Duration::from_millis(300);
/// How often the first question is asked before the server counts as silent.
const TRIES: usize = 3;

/// Asks the same names over and over, `in_flight` questions at a time.
pub(super) fn cached(plan: &Plan, in_flight: usize) -> io::Result<Outcome> {
    let socket = open(plan.target)?;
    let queries: Vec<Vec<u8>> = (0..CACHED).map(|n| query(0, &format!("cached-{n}"))).collect();
    let mut inbox = Inbox::new();
    let mut meter = Meter::new(plan.warmup, plan.window);
    let (mut sent, mut failed, mut on_their_way) = (0, 0, 0);
    let mut next = queries.iter().cycle();
    let started = Instant::now();
    while started.elapsed() < plan.warmup + plan.window {
        let batch = (in_flight - on_their_way).min(BATCH);
        let questions = next.by_ref().take(batch).map(|query| (None, &query[..]));
        let more = match send_batch(&socket, questions) {
            Err(error) if is_passing(&error) => 0,
            result => result?,
        };
        sent += more as u64;
        on_their_way += more;
        match inbox.receive(&socket) {
            Ok(count) => {
                let good = inbox.datagrams().filter(|(_, answer)| is_good(answer)).count();
                on_their_way = on_their_way.saturating_sub(count);
                failed += (count - good) as u64;
                meter.add(good as u64, started.elapsed());
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
    Ok(Outcome {
        within: tally.within,
        nanos: tally.nanos,
        total: tally.total,
        sent,
        failed,
        ..Outcome::default()
    })
}

/// Asks names that nobody has asked for, one at a time.
pub(super) fn fresh(plan: &Plan) -> io::Result<Outcome> {
    let socket = open(plan.target)?;
    let mut inbox = Inbox::new();
    let mut times = Vec::with_capacity(1 << 18);
    let (mut sent, mut failed) = (0u64, 0);
    let started = Instant::now();
    while started.elapsed() < plan.warmup + plan.window {
        sent += 1;
        let name = format!("fresh-{}-{sent}", process::id());
        // Sixteen bits tell an answer from one that came too late.
        let id = (sent & 0xffff) as u16;
        match ask(&socket, &mut inbox, &query(id, &name)) {
            Some(nanos) if started.elapsed() >= plan.warmup => times.push(nanos),
            Some(_) => {}
            None => failed += 1,
        }
    }
    times.sort_unstable();
    Ok(Outcome {
        within: times.len() as u64,
        nanos: u64::try_from(plan.window.as_nanos()).unwrap_or(u64::MAX),
        total: sent - failed,
        sent,
        failed,
        p50_nanos: percentile(&times, 50),
        p99_nanos: percentile(&times, 99),
        ..Outcome::default()
    })
}

/// The default gateway of the namespace this process is in, as /proc/net/route shows it.
pub(super) fn gateway() -> io::Result<Ipv4Addr> {
    parse_gateway(&fs::read_to_string("/proc/net/route")?)
        .ok_or_else(|| io::Error::other("there is no default gateway"))
}

fn parse_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|&gateway| gateway != 0)?;
        // The kernel prints the four bytes as a number of the machine.
        (destination == "00000000").then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// A socket to a name server that has answered.
fn open(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = connected(server)?;
    socket.set_read_timeout(Some(LOST))?;
    let mut inbox = Inbox::new();
    for _ in 0..TRIES {
        for n in 0..CACHED {
            if ask(&socket, &mut inbox, &query(0, &format!("cached-{n}"))).is_none() {
                break;
            }
            if n + 1 == CACHED {
                return Ok(socket);
            }
        }
    }
    Err(io::Error::other(format!("{} answers no question about a name", server.ip())))
}

/// The time an answer took, or `None` when none came.
fn ask(socket: &UdpSocket, inbox: &mut Inbox, query: &[u8]) -> Option<u64> {
    let started = Instant::now();
    socket.send(query).ok()?;
    loop {
        inbox.receive(socket).ok()?;
        let mut answers = inbox.datagrams();
        if answers.any(|(_, answer)| answer.get(..2) == query.get(..2) && is_good(answer)) {
            return u64::try_from(started.elapsed().as_nanos()).ok();
        }
        if started.elapsed() > LOST {
            return None;
        }
    }
}

/// A response without an error that holds an answer.
fn is_good(answer: &[u8]) -> bool {
    answer.len() > 12 && answer[2] & 0x80 != 0 && answer[3] & 0x0f == 0 && answer[6..8] != [0, 0]
}

/// A question for the IPv4 address of `label` in a domain that the benchmark's server makes up.
fn query(id: u16, label: &str) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [label, "example", "com"] {
        query.push(u8::try_from(label.len()).unwrap_or(0));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_names_the_gateway() {
        let gateway = u32::from_ne_bytes([10, 0, 2, 2]);
        let table = format!(
            "Iface\tDestination\tGateway\tFlags\neth0\t0002000A\t00000000\t1\n\
             eth0\t00000000\t{gateway:08X}\t3\n"
        );
        assert_eq!(parse_gateway(&table), Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(parse_gateway("Iface\n"), None);
    }
}
