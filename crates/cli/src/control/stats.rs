//! `portreeve stats`: what an engine has counted, for people.
//!
//! Owns which counters are worth a line when they are zero: those that say how much went through.
//! Troubles are shown only where there were some.

use std::time::Duration;

use portreeve_types::api::{DnsStats, DriverStats, FlowGauges, Histogram, Stats};

use super::screen::{BAD, STRONG, Screen, clean};
use super::{Stop, units, words};
use crate::args::engine::AskArgs;

pub(super) fn stats(args: &AskArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let client = words::engine(args.name.as_deref(), args.socket.socket.as_deref())?;
    let stats = client.stats()?;
    if args.socket.json {
        screen.json(&stats)?;
    } else {
        for line in lines(&stats) {
            screen.line(line)?;
        }
    }
    Ok(0)
}

/// As wide as the longest label, and a gap.
const WIDTH: usize = 18;

fn lines(stats: &Stats) -> Vec<String> {
    let mut lines = Vec::new();
    let traffic = &stats.traffic;
    lines.push(head("Traffic"));
    let direction = |frames, bytes, datagrams| {
        format!("{frames} frames, {}; {datagrams} datagrams and echoes", units::bytes(bytes))
    };
    let (frames, bytes) = (traffic.frames_to_guest, traffic.bytes_to_guest);
    lines.push(row("to the guest", direction(frames, bytes, traffic.datagrams_to_guest)));
    let (frames, bytes) = (traffic.frames_from_guest, traffic.bytes_from_guest);
    lines.push(row("from the guest", direction(frames, bytes, traffic.datagrams_from_guest)));
    flow_lines(&stats.flows, &mut lines);
    for (label, histogram) in
        [("dial time", &stats.dial_seconds), ("guest's answer", &stats.guest_rtt_seconds)]
    {
        if histogram.count > 0 {
            lines.push(row(label, distribution(histogram)));
        }
    }
    if !stats.drops.is_empty() {
        lines.push(head("Drops"));
        for drop in &stats.drops {
            lines.push(row(&clean(&drop.reason), drop.count));
        }
    }
    if let Some(dns) = &stats.dns {
        lines.extend(dns_lines(dns));
    }
    driver_lines(&stats.driver, &mut lines);
    lines
}

fn flow_lines(flows: &FlowGauges, lines: &mut Vec<String>) {
    lines.push(head("Flows"));
    let phases: Vec<_> = flows
        .tcp_by_phase
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(phase, count)| format!("{count} {}", clean(phase)))
        .collect();
    let tcp =
        if phases.is_empty() { String::new() } else { format!(": TCP {}", phases.join(", ")) };
    lines.push(row("alive", format!("{}{tcp}", flows.active)));
    lines.push(row("UDP clients", flows.udp_clients));
    lines.push(row("UDP and echoes out", flows.mappings));
    lines.push(row("opened", flows.opened));
    lines.push(row("closed", flows.closed));
    some(lines, "dialling", flows.dials);
    some(lines, "TIME-WAIT", flows.time_wait);
    trouble(lines, "clients refused", flows.refused);
    trouble(lines, "guest refused", flows.egress_refused);
}

/// What a name server has counted.
pub(super) fn dns_lines(dns: &DnsStats) -> Vec<String> {
    let mut lines = vec![head("Names"), row("queries", dns.queries)];
    some(&mut lines, "local", dns.local);
    some(&mut lines, "from the cache", dns.cache_hits);
    some(&mut lines, "from upstreams", dns.answered);
    some(&mut lines, "asked upstreams", dns.upstream_asks);
    trouble(&mut lines, "failed", dns.failed);
    trouble(&mut lines, "too many at once", dns.overflowed);
    trouble(&mut lines, "denied", dns.denied);
    trouble(&mut lines, "rejected", dns.rejected);
    trouble(&mut lines, "dropped", dns.dropped);
    trouble(&mut lines, "rebinding blocked", dns.rebind_blocked);
    trouble(&mut lines, "upstream timeouts", dns.upstream_timeouts);
    trouble(&mut lines, "upstream failures", dns.upstream_failures);
    lines
}

fn driver_lines(driver: &DriverStats, lines: &mut Vec<String>) {
    lines.push(head("Engine"));
    let busy = Duration::try_from_secs_f64(driver.busy_seconds).unwrap_or_default();
    lines.push(row("busy", format!("{}, in {} turns", units::span(busy), driver.turns)));
    let sockets = format!(
        "{} of flows, {} listeners, at most {}",
        driver.open_sockets, driver.listeners, driver.descriptor_limit
    );
    lines.push(row("sockets", sockets));
    lines.push(row("accepted", driver.accepted));
    some(lines, "captures", driver.captures);
    some(lines, "frames waiting", driver.control_queue);
    if driver.datagram_queue_bytes > 0 {
        lines.push(row("datagrams waiting", units::bytes(driver.datagram_queue_bytes)));
    }
    some(lines, "guests gone", driver.guests_gone);
    trouble(lines, "failed accepts", driver.accept_errors);
    trouble(lines, "link errors", driver.link_errors);
    trouble(lines, "link discarded", driver.link_discarded);
    trouble(lines, "datagram errors", driver.datagram_errors);
    trouble(lines, "events lost", driver.events_lost);
    trouble(lines, "captured lost", driver.capture_lost);
}

fn head(title: &str) -> String {
    format!("{STRONG}{title}{STRONG:#}")
}

fn row(label: &str, value: impl std::fmt::Display) -> String {
    format!("  {label:<WIDTH$}  {value}")
}

/// A line if there is any.
fn some(lines: &mut Vec<String>, label: &str, count: u64) {
    if count > 0 {
        lines.push(row(label, count));
    }
}

/// The same for what should not be.
fn trouble(lines: &mut Vec<String>, label: &str, count: u64) {
    if count > 0 {
        lines.push(row(label, format_args!("{BAD}{count}{BAD:#}")));
    }
}

fn distribution(times: &Histogram) -> String {
    let seconds =
        |seconds: f64| units::span(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let at_most = |share: f64| {
        let needed = (times.count as f64 * share).ceil() as u64;
        match times.buckets.iter().find(|bucket| bucket.count >= needed) {
            Some(bucket) => format!("at most {}", seconds(bucket.le)),
            None => match times.buckets.last() {
                Some(last) => format!("more than {}", seconds(last.le)),
                None => "unknown".to_owned(),
            },
        }
    };
    let mean = seconds(times.sum / times.count.max(1) as f64);
    format!("mean {mean}; half {}, 99 % {}, of {}", at_most(0.5), at_most(0.99), times.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_types::api::{Bucket, DropCount, Traffic};

    #[test]
    fn sections() {
        let traffic = Traffic {
            frames_to_guest: 1000,
            bytes_to_guest: 1_500_000,
            frames_from_guest: 10,
            bytes_from_guest: 600,
            ..Traffic::default()
        };
        let flows = FlowGauges {
            active: 12,
            tcp_by_phase: [("relaying".to_owned(), 10), ("closed".to_owned(), 0)].into(),
            refused: 3,
            ..FlowGauges::default()
        };
        let bucket = |le, count| Bucket { le, count };
        let dial_seconds = Histogram {
            buckets: vec![bucket(0.001, 60), bucket(0.01, 98), bucket(0.1, 99)],
            count: 100,
            sum: 0.5,
        };
        let drops = vec![DropCount { reason: "source_mac".into(), count: 7 }];
        let dns = Some(DnsStats { queries: 5, cache_hits: 4, failed: 1, ..DnsStats::default() });
        let driver = DriverStats { busy_seconds: 1.25, turns: 9, ..DriverStats::default() };
        let stats = Stats { traffic, flows, dial_seconds, drops, dns, driver, ..Stats::default() };
        let text = lines(&stats).join("\n");
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            text,
            "\
Traffic
  to the guest        1000 frames, 1.5M; 0 datagrams and echoes
  from the guest      10 frames, 600; 0 datagrams and echoes
Flows
  alive               12: TCP 10 relaying
  UDP clients         0
  UDP and echoes out  0
  opened              0
  closed              0
  clients refused     3
  dial time           mean 5ms; half at most 1ms, 99 % at most 100ms, of 100
Drops
  source_mac          7
Names
  queries             5
  from the cache      4
  failed              1
Engine
  busy                1.2s, in 9 turns
  sockets             0 of flows, 0 listeners, at most 0
  accepted            0"
        );
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
