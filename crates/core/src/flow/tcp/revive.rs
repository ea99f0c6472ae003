//! Getting a flow's socket going again when it has stopped although the guest owes it an answer.
//!
//! Owns one observation and what follows from it. In smoltcp 0.14 a window that closes while data
//! is in flight replaces the retransmission timer, and one that opens again stops what replaced
//! it: what was in flight and got lost would never be repeated. A socket that waits for an
//! acknowledgement and has no timer is in that state and in no other. It has no call to leave it,
//! but it listens to the guest: three duplicate acknowledgements make it repeat its data, the
//! first of them makes it probe a closed window. A FIN alone it would not repeat even then, so
//! that one is repeated here.

use std::time::Duration;

use portreeve_wire::FlowKey;
use portreeve_wire::packet::{DEFAULT_HOP_LIMIT, IpHeader, Protocol};
use portreeve_wire::tcp::{ControlSegment, TCP_HEADER_LEN};

use super::Tcp;
use crate::engine::Engine;
use crate::flow::FlowId;
use crate::flow::state::Phase;
use portreeve_types::Instant;

/// How long a stopped socket is left alone: as long as its shortest retransmission timer, so that
/// nothing is repeated sooner than it would have been.
const STOPPED: Duration = Duration::from_millis(200);

/// When a flow whose socket waits for `timer` is to be revived; `None` when it runs by itself.
pub(super) fn revive_at(tcp: &Tcp, timer: Option<Instant>, now: Instant) -> Option<Instant> {
    let owed = tcp.endpoint.as_ref().is_some_and(|endpoint| endpoint.status().owed);
    let over = matches!(tcp.phase, Phase::DialingGuest | Phase::DialingHost | Phase::Closed);
    (owed && timer.is_none() && !over).then(|| now + STOPPED)
}

impl Engine {
    /// Revives the flow's socket, should it have stopped.
    pub(super) fn tcp_revive(&mut self, id: FlowId) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(id) else { return };
        let key = flow.key;
        let Some(tcp) = flow.tcp_mut() else { return };
        let Some(endpoint) = tcp.endpoint.as_mut() else { return };
        let status = endpoint.status();
        if !status.owed || self.stack.poll_at(endpoint, now).is_some() {
            return;
        }
        let (sequence, acknowledgement) = tcp.last_sent;
        if status.to_guest == 0 {
            let fin = ControlSegment {
                source_port: key.remote.port(),
                destination_port: key.guest.port(),
                // Behind the FIN is where we stand.
                sequence: sequence.wrapping_sub(1),
                acknowledgement: Some(acknowledgement),
                reset: false,
                fin: true,
                window: tcp.guard.window(acknowledgement),
            };
            return self.outbox.segment(&key, &fin);
        }
        let duplicate = ControlSegment {
            source_port: key.guest.port(),
            destination_port: key.remote.port(),
            sequence: acknowledgement,
            acknowledgement: Some(tcp.heard.acknowledgement),
            reset: false,
            fin: false,
            window: tcp.heard.window,
        };
        let packet = packet(&key, &duplicate);
        for _ in 0..DUPLICATES {
            // What it answers would be an answer to us.
            if self.stack.ingest(endpoint, &packet, now).is_err() {
                return self.tcp_fault(id);
            }
        }
    }
}

/// The segment as if the guest had sent it.
fn packet(key: &FlowKey, segment: &ControlSegment) -> Vec<u8> {
    let (source, destination) = (key.guest.ip(), key.remote.ip());
    let header = IpHeader {
        source,
        destination,
        protocol: Protocol::TCP,
        hop_limit: DEFAULT_HOP_LIMIT,
        payload_len: TCP_HEADER_LEN,
        fragment: None,
    };
    let mut packet = vec![0; header.len() + TCP_HEADER_LEN];
    header.emit(&mut packet);
    segment.emit(source, destination, &mut packet[header.len()..]);
    packet
}

/// RFC 5681 §3.2: so many make a fast retransmission.
const DUPLICATES: usize = 3;
