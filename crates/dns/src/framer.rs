//! DNS messages on a byte stream: two octets of length, then the message.
//!
//! Owns at most one message that is incomplete. Never reads ahead: what [`Framer::feed`] does not
//! take stays with the caller, so that backpressure reaches the sender.
//! Spec: RFC 1035 §4.2.2, RFC 7766 §8.

/// Takes the octets of a stream apart into messages.
#[derive(Debug, Default)]
pub struct Framer {
    /// Length octets and message, as far as they have come.
    partial: Vec<u8>,
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets until one message is complete; gives how many it took, and that message.
    ///
    /// To be called again with the rest while there is some, unless the caller cannot take
    /// another message now.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Vec<u8>>) {
        let mut taken = 0;
        while taken < bytes.len() {
            let missing = self.missing();
            let piece = &bytes[taken..bytes.len().min(taken + missing)];
            self.partial.extend_from_slice(piece);
            taken += piece.len();
            if self.missing() == 0 {
                let mut message = std::mem::take(&mut self.partial);
                message.drain(..PREFIX);
                return (taken, Some(message));
            }
        }
        (taken, None)
    }

    /// Whether the stream may end here without cutting a message off.
    pub fn is_between_messages(&self) -> bool {
        self.partial.is_empty()
    }

    /// How many octets are missing: of the length first, then of the message.
    fn missing(&self) -> usize {
        match self.partial[..] {
            [high, low, ..] => {
                PREFIX + usize::from(u16::from_be_bytes([high, low])) - self.partial.len()
            }
            _ => PREFIX - self.partial.len(),
        }
    }
}

/// The message as it goes onto a stream; one that is too long for it is not sent.
pub fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Some(framed)
}

const PREFIX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(stream: &[u8], size: usize) -> Vec<Vec<u8>> {
        let mut framer = Framer::new();
        let mut messages = Vec::new();
        for piece in stream.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (taken, message) = framer.feed(rest);
                assert!(taken > 0);
                rest = &rest[taken..];
                messages.extend(message);
            }
        }
        assert!(framer.is_between_messages());
        messages
    }

    #[test]
    fn messages_come_whole_however_the_stream_is_cut() {
        let expected = [vec![7; 300], Vec::new(), b"abc".to_vec(), vec![1; 65_535]];
        let stream: Vec<u8> = expected.iter().flat_map(|m| frame(m).unwrap()).collect();
        for size in [1, 2, 3, 301, 1_000, stream.len()] {
            assert_eq!(pieces(&stream, size), expected);
        }
    }

    #[test]
    fn no_more_than_one_message_is_taken() {
        let stream = [frame(b"one").unwrap(), frame(b"two").unwrap()].concat();
        let mut framer = Framer::new();
        assert_eq!(framer.feed(&stream), (5, Some(b"one".to_vec())));
        assert_eq!(framer.feed(&stream[5..6]), (1, None));
        assert!(!framer.is_between_messages());
        assert_eq!(frame(&vec![0; 65_536]), None);
    }
}
