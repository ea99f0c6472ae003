//! Which queue of a guest gets a frame.
//!
//! Owns a table of flows by hash: what the guest sends on one queue is answered on that queue, so
//! that each processor of the guest keeps its own flows.
//!
//! Spec: Virtual I/O Device (VIRTIO) version 1.2 §5.1.6.5.5, automatic receive steering.

use super::segment::is_ipv6;

#[derive(Debug)]
pub(crate) struct Steering {
    pairs: [u8; SLOTS],
}

impl Default for Steering {
    fn default() -> Self {
        Self { pairs: [0; SLOTS] }
    }
}

impl Steering {
    /// The guest has sent this frame on that pair of queues.
    pub(crate) fn learn(&mut self, frame: &[u8], pair: u8) {
        if let Some(slot) = slot(frame) {
            self.pairs[slot] = pair;
        }
    }

    /// Where the answer goes.
    pub(crate) fn pair(&self, frame: &[u8]) -> u8 {
        slot(frame).map_or(0, |slot| self.pairs[slot])
    }
}

/// The same for both directions of a flow: what belongs to the two ends is added up.
fn slot(frame: &[u8]) -> Option<usize> {
    let (addresses, protocol, ports) = if is_ipv6(frame)? {
        (frame.get(22..54)?, frame[20], 54)
    } else {
        let ports = 14 + usize::from(frame[14] & 15) * 4;
        // Only the first fragment has ports: none is looked at in any.
        let whole = frame[20] & 0x3f == 0 && frame[21] == 0;
        (frame.get(26..34)?, frame[23], if whole { ports } else { usize::MAX })
    };
    let words = addresses.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
    let mut sum = words.fold(u32::from(protocol), u32::wrapping_add);
    if matches!(protocol, 6 | 17)
        && let Some([a, b, c, d]) = frame.get(ports..).and_then(|rest| rest.first_chunk())
    {
        let ends = [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])].map(u32::from);
        sum = sum.wrapping_add(ends[0]).wrapping_add(ends[1]);
    }
    // The product's upper bits depend on all bits of the sum.
    Some((sum.wrapping_mul(0x9e37_79b1) >> 24) as usize)
}

const SLOTS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend(source.iter().chain(&destination));
        frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        frame.extend([0; 16]);
        frame
    }

    #[test]
    fn an_answer_finds_the_queue_of_its_flow() {
        let mut steering = Steering::default();
        let (guest, host) = ([10, 0, 0, 2], [10, 0, 0, 1]);
        steering.learn(&ipv4(guest, host, [5000, 80]), 3);
        assert_eq!(steering.pair(&ipv4(host, guest, [80, 5000])), 3);
        let other = (1..200).filter(|port| steering.pair(&ipv4(host, guest, [*port, 5000])) == 0);
        assert!(other.count() > 190);
        assert_eq!(steering.pair(&[0; 60]), 0);
        for length in 0..60 {
            steering.learn(&ipv4(guest, host, [1, 2])[..length.min(54)], 1);
        }
    }
}
