//! TIME-WAIT (RFC 9293 §3.6.1) as sixteen bytes: what is left of a flow that we closed first.
//!
//! Owns the answer to segments for such a flow. The socket and its rings have gone back to the
//! pool, so thousands of these cost nothing worth counting.

use portreeve_wire::tcp::{ControlSegment, TcpHeader};

/// Where both streams ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeWait {
    /// Our next sequence number, behind our FIN.
    pub(crate) sequence: u32,
    /// The guest's next sequence number, behind its FIN.
    pub(crate) acknowledgement: u32,
}

/// What a segment for a closed flow asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// A repeated FIN: acknowledge it once more.
    Acknowledge(ControlSegment),
    /// A new connection on the same endpoints: forget the old one.
    Recycle,
    /// Nothing.
    Ignore,
}

impl TimeWait {
    pub(crate) fn judge(&self, header: &TcpHeader) -> Late {
        // RFC 6191 §2: a SYN beyond the old stream may take the endpoints over.
        let ahead = header.sequence.wrapping_sub(self.acknowledgement) < 1 << 31;
        if header.rst {
            Late::Ignore
        } else if header.syn && !header.ack && ahead {
            Late::Recycle
        } else if header.fin || header.syn {
            Late::Acknowledge(ControlSegment {
                source_port: header.destination_port,
                destination_port: header.source_port,
                sequence: self.sequence,
                acknowledgement: Some(self.acknowledgement),
                reset: false,
                fin: false,
                window: 0,
            })
        } else {
            Late::Ignore
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: &str, sequence: u32) -> TcpHeader {
        TcpHeader {
            source_port: 80,
            destination_port: 4000,
            sequence,
            acknowledgement: 0,
            window: 0,
            header_len: 20,
            syn: flags.contains('S'),
            ack: flags.contains('A'),
            fin: flags.contains('F'),
            rst: flags.contains('R'),
        }
    }

    #[test]
    fn only_a_repeated_fin_or_an_old_syn_is_answered() {
        let closed = TimeWait { sequence: 10, acknowledgement: 1000 };
        assert!(matches!(closed.judge(&header("FA", 999)), Late::Acknowledge(_)));
        assert!(matches!(closed.judge(&header("S", 500)), Late::Acknowledge(_)));
        assert_eq!(closed.judge(&header("S", 1001)), Late::Recycle);
        assert_eq!(closed.judge(&header("R", 1000)), Late::Ignore);
        assert_eq!(closed.judge(&header("A", 1000)), Late::Ignore);
    }
}
