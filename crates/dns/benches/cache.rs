//! Answers from the cache per second on one core.
//!
//! `cargo bench -p portreeve-dns` prints what is answered from a warm cache of some thousand names,
//! in three runs of each kind; no statistics beyond that, the figure is meant to an order.

#![expect(clippy::print_stdout, reason = "a benchmark's figures")]

use std::hint::black_box;
use std::time::Duration;

use portreeve_dns::{Carrier, DnsServer, NameVerdict, QueryToken, UpstreamOp};
use portreeve_types::{DnsConfig, DnsName, Instant, Limits, NameServerAddr};

fn main() {
    let mut server = DnsServer::new(&config(), &Limits::default(), [1, 2]);
    let queries: Vec<_> = (0..NAMES).map(query).collect();
    for query in &queries {
        fill(&mut server, query);
    }
    measure("cached, A with two addresses", &mut server, &queries);
    let edns: Vec<_> = queries.iter().map(|query| with_edns(query)).collect();
    measure("the same, with EDNS", &mut server, &edns);
    let denied: DnsName = "evil.test".parse().unwrap_or_else(|_| unreachable!());
    server.set_policy(Some(Box::new(move |name: &DnsName| {
        if name.is_within(&denied) { NameVerdict::Deny } else { NameVerdict::Allow }
    })));
    measure("the same, with a policy", &mut server, &edns);
    server.set_policy(None);
    let local = [with_name(b"\x09localhost\0")];
    measure("local", &mut server, &local);
}

fn measure(what: &str, server: &mut DnsServer, queries: &[Vec<u8>]) {
    let now = Instant::from_micros(5_000_000);
    for _ in 0..3 {
        let begin = std::time::Instant::now();
        let mut octets = 0;
        for nth in 0..ROUNDS {
            let query = &queries[nth % queries.len()];
            server.handle_query(QueryToken(1), Carrier::Udp, black_box(query), now);
            while let Some(answer) = server.poll_answer() {
                octets += black_box(answer).message.len();
            }
            assert!(server.poll_op().is_none(), "nobody is asked");
        }
        let took = begin.elapsed();
        let rate = ROUNDS as f64 / took.as_secs_f64();
        println!("{what}: {rate:.0} answers/s, {} octets each", octets / ROUNDS);
    }
}

fn fill(server: &mut DnsServer, query: &[u8]) {
    let now = Instant::ZERO + Duration::from_secs(1);
    server.handle_query(QueryToken(1), Carrier::Udp, query, now);
    while let Some(op) = server.poll_op() {
        let UpstreamOp::Ask { exchange, message, .. } = op else { continue };
        let mut reply = message[..query.len()].to_vec();
        reply[2..4].copy_from_slice(&[0x81, 0x80]);
        reply[6..12].copy_from_slice(&[0, 2, 0, 0, 0, 0]);
        for last in 1..=2 {
            reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02");
            reply.push(last);
        }
        server.handle_response(exchange, &reply, now);
    }
    assert!(server.poll_answer().is_some(), "an answer");
}

fn config() -> DnsConfig {
    let upstream = NameServerAddr(([192, 0, 2, 1], 53).into());
    DnsConfig { upstreams: Some(vec![upstream]), ..DnsConfig::default() }
}

fn query(nth: usize) -> Vec<u8> {
    with_name(format!("\x07h{nth:06}\x07example\x04test\0").as_bytes())
}

fn with_name(name: &[u8]) -> Vec<u8> {
    [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0", name, b"\0\x01\0\x01"].concat()
}

fn with_edns(query: &[u8]) -> Vec<u8> {
    let mut message = [query, b"\0\0\x29\x04\xd0\0\0\0\0\0\0"].concat();
    message[11] = 1;
    message
}

const NAMES: usize = 4_000;
const ROUNDS: usize = 1_000_000;
