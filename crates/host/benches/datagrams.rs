//! What a datagram costs through this crate, over loopback: equal lengths, which travel as one
//! message, against lengths that grow and cannot.
//!
//! `cargo bench -p portreeve-host`. Prints; judges nothing.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark on a terminal")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use portreeve_host::{OutboundOptions, RecvBatch, SendBatch, UdpSocket};

/// Sends batches of datagrams for a second, each by `growth` bytes longer than the one before,
/// and returns nanoseconds per datagram, sent and received.
fn cost(growth: usize) -> f64 {
    let options = OutboundOptions::default();
    let from = UdpSocket::outbound(false, &options).unwrap();
    let to = UdpSocket::outbound(false, &options).unwrap();
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), to.local_addr().port());
    let mut received = RecvBatch::new();
    let mut batch = SendBatch::new();
    let payload = [7; 1400];
    let (mut count, began) = (0, Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        (0..BATCH).for_each(|at| batch.push(&payload[..1200 + growth * at], address, None));
        assert_eq!(from.send_batch(&batch).unwrap(), BATCH);
        batch.clear();
        while to.recv_batch(&mut received).is_ok() {
            count += received.iter().filter(|datagram| !datagram.payload.is_empty()).count();
        }
    }
    began.elapsed().as_nanos() as f64 / count as f64
}

fn main() {
    for (name, growth) in [("equal", 0), ("growing", 1)] {
        println!("{name:>7}: {:5.0} ns per datagram of 1200 bytes", cost(growth));
    }
}

const BATCH: usize = 32;
