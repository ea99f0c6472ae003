//! Duplicate acknowledgements that the flow's socket must not count.
//!
//! Owns the judgement and what it needs to remember of the guest's last segment. smoltcp 0.14
//! takes three of them for a loss (RFC 5681 §3.2) and repeats one segment at once, whatever it
//! has to repeat: with nothing but a FIN outstanding that is nothing, and its timer stops; with
//! super-segments it may be more than the guest's window, and everything it says from then on
//! stands beyond that window, resets included. In both cases its timer does better alone.

use portreeve_wire::tcp::TcpHeader;

use super::Tcp;
use crate::flow::state::Phase;

/// What the guest's last segment said of our stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// Its acknowledgement number.
    pub(crate) acknowledgement: u32,
    /// Its window, as it stands in the header.
    pub(crate) window: u16,
    /// Whether it has acknowledged anything yet: a SYN that opens says nothing of our stream.
    known: bool,
    /// Shift of its windows in segments other than SYNs. RFC 7323 §2.2.
    shift: u8,
}

impl Heard {
    /// The guest's SYN or SYN-ACK, the one that the socket takes.
    pub(crate) fn on_syn(&mut self, header: &TcpHeader, shift: Option<u8>) {
        self.known = header.ack;
        self.acknowledgement = header.acknowledgement;
        self.shift = shift.unwrap_or(0).min(14);
    }

    /// The guest's window in bytes.
    pub(crate) fn window_len(&self) -> usize {
        usize::from(self.window) << self.shift
    }

    /// A segment of the guest; older ones that were overtaken say nothing.
    pub(crate) fn on_segment(&mut self, header: &TcpHeader) {
        let onward = header.acknowledgement.wrapping_sub(self.acknowledgement) < 1 << 31;
        if header.ack && !header.rst && (onward || !self.known) {
            self.known = true;
            self.acknowledgement = header.acknowledgement;
            self.window = header.window;
        }
    }
}

impl Tcp {
    /// Whether a segment without data is a duplicate that the socket must not count, in a flow
    /// whose socket sends segments of up to `segment` bytes.
    pub(super) fn is_uncounted_duplicate(&self, header: &TcpHeader, segment: usize) -> bool {
        let bare = header.ack && !header.syn && !header.fin && !header.rst;
        let (sent, acknowledged) = self.last_sent;
        // Keep-alives stand before our acknowledgement and want an answer.
        let in_order = header.sequence.wrapping_sub(acknowledged) < 1 << 31;
        if !bare || !in_order || self.phase == Phase::DialingGuest {
            return false;
        }
        let waiting = self.endpoint.as_ref().map_or(0, |e| e.status().to_guest);
        if waiting == 0 {
            return header.acknowledgement.wrapping_add(1) == sent;
        }
        let Heard { acknowledgement, window, .. } = self.heard;
        let same = header.acknowledgement == acknowledgement && header.window == window;
        same && waiting.min(segment) > self.heard.window_len()
    }
}
