//! Connections that the guest opens.
//!
//! Owns the opening and what an ICMP error does to one that is still being opened; from then on a
//! connection is like any other (`tcp.rs`).

use portreeve_wire::icmp::ErrorKind;
use smoltcp::socket::tcp::State;

use super::connection::Connection;
use super::port::Listener;
use super::tcp::{Ends, GUEST_STREAMS, GuestTcp};
use crate::content::StreamId;

impl GuestTcp {
    /// Connects from the first of `ends` to the second, with the buffers and the application of
    /// `settings`.
    ///
    /// # Panics
    /// When there is a live connection with these ends.
    pub fn connect(&mut self, ends: Ends, settings: &Listener) {
        if self.connections.get(&ends).is_some_and(|c| c.state() == State::TimeWait) {
            self.forget(ends);
        }
        let stream = StreamId(GUEST_STREAMS + self.streams);
        self.streams += 1;
        let connection = Connection::connecting(ends, settings, stream, &mut self.interface);
        let before = self.connections.insert(ends, connection);
        assert!(before.is_none(), "{ends:?} are in use");
        self.dirty.insert(ends);
    }

    /// Forgets a connection without a word, as a program that was killed with its kernel.
    pub fn lose(&mut self, ends: Ends) {
        self.forget(ends);
    }

    /// An ICMP error that quotes the sequence number `sequence` of a segment of these ends.
    pub(super) fn error(&mut self, ends: Ends, error: ErrorKind, sequence: u32) {
        let Some(connection) = self.connections.get_mut(&ends) else { return };
        let unreachable = matches!(error, ErrorKind::Unreachable(_) | ErrorKind::TimeExceeded);
        // RFC 5927 §4: the quoted number must lie in what is in flight, which is the SYN.
        let own = connection.last_sent.0.wrapping_sub(1) == sequence;
        if connection.state() == State::SynSent && own && unreachable {
            connection.error = Some(error);
            self.forget(ends);
        }
    }
}
