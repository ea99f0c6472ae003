//! The name servers that are asked: their order, their health, and what they cannot do.
//!
//! Never asks anything. A server that fails several times in a row is asked last for a while,
//! never not at all: when all are down, one of them will be the first to come back.
//! Spec: RFC 6298 §2 (smoothed round-trip time), RFC 9520 §3 (failures).

use std::net::SocketAddr;
use std::time::Duration;

use portreeve_types::{DnsStrategy, Instant};

use crate::UpstreamStatus;

use crate::limits::{
    BACKOFF_LEAST, BACKOFF_MOST, FAILURES_UNTIL_DOWN, RACE_LEAST, RACE_MOST, UPSTREAMS,
};

/// The name servers, in the configured order.
#[derive(Debug)]
pub(crate) struct Upstreams {
    servers: Vec<Upstream>,
    strategy: DnsStrategy,
}

/// One name server.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// Smoothed; `None` until it has answered.
    round_trip: Option<Duration>,
    failures: u32,
    /// Set while it counts as down.
    down_until: Option<Instant>,
    /// It repeats a question in the case it came in, as far as is known.
    pub(crate) keeps_case: bool,
    /// It understands EDNS, as far as is known.
    pub(crate) takes_edns: bool,
}

impl Upstreams {
    pub(crate) fn new(addresses: &[SocketAddr], strategy: DnsStrategy) -> Self {
        let mut upstreams = Self { servers: Vec::new(), strategy };
        upstreams.replace(addresses);
        upstreams
    }

    /// Takes other servers, of which nothing is known yet.
    pub(crate) fn replace(&mut self, addresses: &[SocketAddr]) {
        self.servers.clear();
        for &address in addresses {
            let known = self.servers.iter().any(|server| server.address == address);
            if !known && self.servers.len() < UPSTREAMS {
                self.servers.push(Upstream::new(address));
            }
        }
    }

    /// The servers as they are, the preferred ones in front and those that are down at the end.
    pub(crate) fn statuses(&self) -> Vec<UpstreamStatus> {
        // At the beginning of time nobody's time to be down is over.
        let order = self.order(Instant::ZERO);
        let status = |nth: usize| {
            let server = &self.servers[nth];
            UpstreamStatus {
                address: server.address,
                down: server.down_until.is_some(),
                latency: server.round_trip,
            }
        };
        order.into_iter().map(status).collect()
    }

    pub(crate) fn get(&self, nth: usize) -> &Upstream {
        &self.servers[nth]
    }

    pub(crate) fn get_mut(&mut self, nth: usize) -> &mut Upstream {
        &mut self.servers[nth]
    }

    /// The servers in the order to ask them.
    pub(crate) fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        // Stable: the configured order decides between equals.
        order.sort_by_key(|&nth| {
            let server = &self.servers[nth];
            let down = server.down_until.filter(|&until| now < until);
            let slow = match self.strategy {
                DnsStrategy::Race => server.round_trip.unwrap_or(UNKNOWN_ROUND_TRIP),
                DnsStrategy::Failover => Duration::ZERO,
            };
            (down, slow)
        });
        order
    }

    /// How many servers are asked shortly one after the other.
    pub(crate) fn abreast(&self) -> u32 {
        match self.strategy {
            DnsStrategy::Race => 2,
            DnsStrategy::Failover => 1,
        }
    }

    /// A server answered, whatever it said; says whether it was down.
    pub(crate) fn answered(&mut self, nth: usize, took: Duration) -> bool {
        let server = &mut self.servers[nth];
        server.failures = 0;
        server.round_trip = Some(match server.round_trip {
            Some(smoothed) => (smoothed * 7 + took) / 8,
            None => took,
        });
        server.down_until.take().is_some()
    }

    /// Another server was faster; what was waited is the least its round trip takes.
    pub(crate) fn outrun(&mut self, nth: usize, waited: Duration) {
        let server = &mut self.servers[nth];
        server.round_trip = Some(server.round_trip.unwrap_or_default().max(waited));
    }

    /// A server did not answer; says whether it counts as down from now on and did not before.
    pub(crate) fn failed(&mut self, nth: usize, now: Instant) -> bool {
        let server = &mut self.servers[nth];
        server.failures = server.failures.saturating_add(1);
        let Some(beyond) = server.failures.checked_sub(FAILURES_UNTIL_DOWN) else { return false };
        let backoff = BACKOFF_LEAST.saturating_mul(1 << beyond.min(8)).min(BACKOFF_MOST);
        server.down_until.replace(now + backoff).is_none()
    }
}

impl Upstream {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            round_trip: None,
            failures: 0,
            down_until: None,
            keeps_case: true,
            takes_edns: true,
        }
    }

    /// How long to wait for it until another server is asked as well.
    pub(crate) fn patience(&self) -> Duration {
        self.round_trip.map_or(RACE_MOST, |usual| (usual * 4).clamp(RACE_LEAST, RACE_MOST))
    }
}

/// A server that was never asked ranks behind those known to be fast.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(strategy: DnsStrategy) -> Upstreams {
        let address = |last| SocketAddr::from(([192, 0, 2, last], 53));
        Upstreams::new(&[address(1), address(2), address(2), address(3)], strategy)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn racing_prefers_the_fast_and_failover_the_first() {
        let mut race = servers(DnsStrategy::Race);
        assert_eq!(race.order(at(0)), [0, 1, 2]);
        race.answered(0, Duration::from_millis(300));
        race.answered(2, Duration::from_millis(5));
        assert_eq!(race.order(at(0)), [2, 1, 0]);
        race.outrun(2, Duration::from_millis(400));
        assert_eq!(race.order(at(0)), [1, 0, 2]);
        let mut failover = servers(DnsStrategy::Failover);
        failover.answered(0, Duration::from_millis(300));
        assert_eq!(failover.order(at(0)), [0, 1, 2]);
    }

    #[test]
    fn failing_servers_are_asked_last_for_a_while() {
        let mut upstreams = servers(DnsStrategy::Failover);
        assert!(!upstreams.failed(0, at(0)));
        assert!(!upstreams.failed(0, at(0)));
        assert!(upstreams.failed(0, at(0)));
        assert_eq!(upstreams.order(at(1_999)), [1, 2, 0]);
        assert_eq!(upstreams.order(at(2_000)), [0, 1, 2]);
        // Still down, and for longer, once it fails again.
        assert!(!upstreams.failed(0, at(2_000)));
        assert_eq!(upstreams.order(at(5_999)), [1, 2, 0]);
        for _ in 0..100 {
            upstreams.failed(0, at(0));
        }
        assert_eq!(upstreams.order(at(60_000)), [0, 1, 2]);
        let statuses = upstreams.statuses();
        assert_eq!(
            statuses.iter().map(|status| status.down).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(statuses[2].address, SocketAddr::from(([192, 0, 2, 1], 53)));
        assert_eq!(statuses[2].latency, None);
        assert!(upstreams.answered(0, Duration::from_millis(1)));
        let first = upstreams.statuses().swap_remove(0);
        assert_eq!((first.down, first.latency), (false, Some(Duration::from_millis(1))));
        assert!(!upstreams.answered(0, Duration::from_millis(1)));
    }

    #[test]
    fn patience_follows_the_round_trip() {
        let mut upstreams = servers(DnsStrategy::Race);
        assert_eq!(upstreams.get(0).patience(), RACE_MOST);
        upstreams.answered(0, Duration::from_millis(1));
        assert_eq!(upstreams.get(0).patience(), RACE_LEAST);
        upstreams.answered(1, Duration::from_millis(20));
        assert_eq!(upstreams.get(1).patience(), Duration::from_millis(80));
    }
}
