//! What makes two questions the same: name, type, class, and the flags that change the answer.

use crate::wire::WireName;

/// A question as a table's key, built without allocating.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    octets: [u8; SIZE],
    len: u16,
}

/// The client wants DNSSEC records.
pub(crate) const DNSSEC_OK: u8 = 1;
/// The client validates for itself.
pub(crate) const CHECKING_DISABLED: u8 = 2;
/// The client does not want upstreams to ask others; only for lookups, not for what is kept.
pub(crate) const NO_RECURSION: u8 = 4;

impl Key {
    pub(crate) fn new(name: &WireName, qtype: u16, qclass: u16, flags: u8) -> Self {
        let mut octets = [0; SIZE];
        let name = name.as_bytes();
        let (front, rest) = octets.split_at_mut(name.len());
        front.copy_from_slice(name);
        rest[..2].copy_from_slice(&qtype.to_be_bytes());
        rest[2..4].copy_from_slice(&qclass.to_be_bytes());
        rest[4] = flags;
        Self { octets, len: (name.len() + 5) as u16 }
    }

    /// The same question with these flags.
    pub(crate) fn with_flags(mut self, flags: u8) -> Self {
        self.octets[usize::from(self.len) - 1] = flags;
        self
    }

    /// The name in wire form and the type of a question that is kept as these octets.
    pub(crate) fn parts(octets: &[u8]) -> Option<(&[u8], u16)> {
        let (name, rest) = octets.split_at_checked(octets.len().checked_sub(5)?)?;
        Some((name, u16::from_be_bytes([rest[0], rest[1]])))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    /// Name, type and class in wire form.
    pub(crate) fn question(&self) -> &[u8] {
        &self.octets[..usize::from(self.len) - 1]
    }
}

/// A name, type, class and flags.
const SIZE: usize = 255 + 2 + 2 + 1;
