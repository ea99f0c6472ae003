//! Connections that the guest asked for, until their destinations have answered.
//!
//! Owns the asking: a dial is begun without waiting, looked at when its socket becomes writable,
//! and reported either way. Nothing is sent to an address that is this host's by its routes, though
//! the core does not know it: the host may have got it a moment ago. A connection that ended up
//! here all the same is closed as if it had never been.

use std::net::SocketAddr;

use portreeve_core::{DialFailure, FlowId, HostEvent, Instant};
use portreeve_host::{DialOptions, HostError, Refusal};

use super::Driver;

impl Driver {
    pub(super) fn dial(
        &mut self,
        id: FlowId,
        destination: SocketAddr,
        hop_limit: Option<u8>,
        to_host: bool,
        now: Instant,
    ) {
        if !to_host && !portreeve_host::is_local(destination.ip()).is_ok_and(|local| !local) {
            let event = HostEvent::Failed { flow: id, reason: DialFailure::HostAddress };
            return self.core.handle_host_event(event, now);
        }
        let options = DialOptions {
            // What goes to this host's own loopback cannot leave from elsewhere.
            bind_address: self.egress.bind_address(destination.is_ipv6()).filter(|_| !to_host),
            bind_interface: self.egress.bind_interface.clone().filter(|_| !to_host),
            hop_limit,
        };
        let failure = match portreeve_host::dial(destination, &options) {
            Ok(stream) => {
                let registry = self.poll.registry();
                match self.streams.insert_dialled(registry, id, stream, to_host) {
                    // Over a link of this machine the answer is there already.
                    Ok(()) => return self.finish_dial(id, now),
                    Err(error) => {
                        tracing::warn!(%error, "watching a dialled socket");
                        DialFailure::Exhausted
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, flow = %id, "dialling");
                dial_failure(&error)
            }
        };
        self.core.handle_host_event(HostEvent::Failed { flow: id, reason: failure }, now);
    }

    /// Looks whether a dial has been answered.
    pub(super) fn finish_dial(&mut self, id: FlowId, now: Instant) {
        let Some(outcome) = self.streams.finish_dial(id) else { return };
        let event = match outcome {
            Ok(()) => HostEvent::Connected(id),
            Err(reason) => HostEvent::Failed { flow: id, reason },
        };
        self.core.handle_host_event(event, now);
        self.again.push_back(id);
    }
}

/// What a fault of a dial, or of opening a socket, is to the core.
pub(super) fn dial_failure(error: &HostError) -> DialFailure {
    if error.class().is_exhaustion() {
        return DialFailure::Exhausted;
    }
    match error.refusal() {
        Refusal::Refused | Refusal::Reset => DialFailure::Refused,
        Refusal::HostUnreachable => DialFailure::HostUnreachable,
        Refusal::NetworkUnreachable => DialFailure::NetworkUnreachable,
        Refusal::TimedOut => DialFailure::TimedOut,
        Refusal::Prohibited => DialFailure::Prohibited,
        Refusal::NoDescriptors | Refusal::NoPorts => DialFailure::Exhausted,
        Refusal::Other => DialFailure::Other,
    }
}
