//! The window guard: nothing beyond the window advertised to the guest reaches smoltcp.
//!
//! Owns our own record of the right edge. The released smoltcp remembers the window of a SYN, which
//! is never scaled, and later shifts it as if it were; a guest that sends far beyond its window
//! before our first acknowledgement then drives its ring buffer into an assertion. So the edge is
//! kept here from the segments that really left (RFC 9293 §3.8.6, RFC 7323 §2.2), and what lies
//! beyond it is cut off before smoltcp sees it.
//!
//! The edge is smoltcp's own to the byte. A scaled window is rounded down, so the edge may go back
//! a few bytes when it is told anew; smoltcp cuts off what lies beyond but keeps the segment's FIN,
//! and the stream would end without its last bytes. Cut off here, the FIN goes too, and the guest
//! sends both again.

use portreeve_wire::tcp::{ControlSegment, TcpHeader};

/// The right edge of the receive window, as the guest was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WindowGuard {
    edge: Option<u32>,
    /// Shift for windows in segments other than SYNs.
    shift: u8,
    /// Window that a SYN of ours carries.
    syn_window: u32,
    /// Whether a window other than the SYN's has been advertised.
    advertised: bool,
    /// The guest has ended its stream: the window opens no further.
    finished: bool,
}

impl WindowGuard {
    /// A guard for a receive ring of `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        // The same rule as smoltcp's: as many bits as the capacity has beyond sixteen.
        let bits = usize::BITS - capacity.leading_zeros();
        Self {
            edge: None,
            shift: u8::try_from(bits.saturating_sub(16)).unwrap_or(14).min(14),
            syn_window: u32::try_from(capacity).unwrap_or(u32::MAX).min(0xffff),
            advertised: false,
            finished: false,
        }
    }

    /// The guest's SYN or SYN-ACK, the one that the socket takes: from here on its first byte is
    /// known.
    pub(crate) fn on_guest_syn(&mut self, header: &TcpHeader, scales: bool) {
        if !scales {
            self.shift = 0;
        }
        self.edge = Some(header.sequence.wrapping_add(1).wrapping_add(self.syn_window));
    }

    /// The guest's FIN has been taken: what follows `end` is no part of its stream.
    pub(crate) fn on_guest_fin(&mut self, end: u32) {
        self.finished = true;
        self.edge = Some(end);
    }

    /// A segment of ours left for the guest.
    pub(crate) fn on_sent(&mut self, header: &TcpHeader) {
        if !header.ack || header.rst || self.finished {
            return;
        }
        self.advertised |= !header.syn;
        let shift = if header.syn { 0 } else { self.shift };
        self.edge = Some(header.acknowledgement.wrapping_add(u32::from(header.window) << shift));
    }

    /// What stands in the header of a segment that says once more how far the window reaches.
    pub(crate) fn window(&self, acknowledgement: u32) -> u16 {
        let edge = self.edge.unwrap_or(acknowledgement);
        u16::try_from(edge.wrapping_sub(acknowledgement) >> self.shift).unwrap_or(u16::MAX)
    }

    /// The answer to `segment`, which lies beyond the window: where our stream and the window
    /// stand, given our sequence and acknowledgement numbers.
    pub(crate) fn acknowledgement(
        &self,
        segment: &TcpHeader,
        sent: (u32, u32),
    ) -> Option<ControlSegment> {
        self.edge.filter(|_| self.advertised)?;
        Some(ControlSegment {
            source_port: segment.destination_port,
            destination_port: segment.source_port,
            sequence: sent.0,
            acknowledgement: Some(sent.1),
            reset: false,
            fin: false,
            window: self.window(sent.1),
        })
    }

    /// How many of `length` payload bytes starting at `sequence` lie within the window.
    pub(crate) fn allowed(&self, sequence: u32, length: usize) -> usize {
        let Some(edge) = self.edge else { return 0 };
        if is_after(sequence, edge) {
            return 0;
        }
        length.min(edge.wrapping_sub(sequence) as usize)
    }
}

/// Whether `a` lies after `b` in sequence space. RFC 9293 §3.4.
fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(ack: u32, window: u16, syn: bool) -> TcpHeader {
        TcpHeader {
            source_port: 1,
            destination_port: 2,
            sequence: 0,
            acknowledgement: ack,
            window,
            header_len: 20,
            syn,
            ack: true,
            fin: false,
            rst: false,
        }
    }

    #[test]
    fn a_syn_window_is_never_scaled() {
        let mut guard = WindowGuard::new(1 << 18);
        let mut syn = sent(0, 0, true);
        syn.sequence = 100;
        guard.on_guest_syn(&syn, true);
        assert_eq!(guard.allowed(101, 1_000_000), 65_535);
        guard.on_sent(&sent(101, 0x8000, false));
        assert_eq!(guard.allowed(101, 1_000_000), 0x8000 << 3);
    }

    #[test]
    fn the_edge_wraps_and_is_the_one_told_last() {
        let mut guard = WindowGuard::new(1 << 15);
        guard.on_sent(&sent(u32::MAX - 10, 100, false));
        assert_eq!(guard.allowed(u32::MAX - 10, 500), 100);
        assert_eq!(guard.allowed(50, 500), 39);
        assert_eq!(guard.allowed(90, 500), 0);
        guard.on_sent(&sent(u32::MAX - 10, 97, false));
        assert_eq!(guard.allowed(u32::MAX - 10, 500), 97);
    }

    #[test]
    fn before_a_syn_nothing_is_allowed() {
        assert_eq!(WindowGuard::new(65_536).allowed(0, 10), 0);
    }
}
