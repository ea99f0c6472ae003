//! Names in wire form, canonical: uncompressed and in lower case.
//!
//! Spec: RFC 1035 §3.1 and §4.1.4 (compression), RFC 4343 (case).

use portreeve_types::DnsName;

use super::Malformed;

/// A name in wire form, uncompressed, lower case, with its root label.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireName {
    octets: [u8; MAX_NAME],
    len: u8,
}

impl WireName {
    /// Reads a name that may be compressed; gives it and where it ends.
    ///
    /// Each pointer must lead to before where the last one led, so that no message makes a loop,
    /// and their number is bounded, so that none makes this slow.
    pub(crate) fn read(message: &[u8], at: usize) -> Result<(Self, usize), Malformed> {
        let mut name = Self { octets: [0; MAX_NAME], len: 0 };
        let (mut next, mut floor, mut end, mut pointers) = (at, at, None, 0);
        loop {
            let length = usize::from(*message.get(next).ok_or(Malformed)?);
            match length >> 6 {
                0 if length == 0 => {
                    name.push(&[0])?;
                    return Ok((name, end.unwrap_or(next + 1)));
                }
                0 => {
                    name.push(message.get(next..=next + length).ok_or(Malformed)?)?;
                    next += 1 + length;
                }
                0b11 => {
                    let low = usize::from(*message.get(next + 1).ok_or(Malformed)?);
                    let target = (length & 0x3f) << 8 | low;
                    pointers += 1;
                    if target >= floor || pointers > MAX_POINTERS {
                        return Err(Malformed);
                    }
                    end.get_or_insert(next + 2);
                    (next, floor) = (target, target);
                }
                _ => return Err(Malformed),
            }
        }
    }

    /// Reads a name that must not be compressed.
    pub(crate) fn read_plain(message: &[u8], at: usize) -> Result<(Self, usize), Malformed> {
        let mut next = at;
        loop {
            let length = usize::from(*message.get(next).ok_or(Malformed)?);
            if length > MAX_LABEL {
                return Err(Malformed);
            }
            next += 1 + length;
            if length == 0 {
                break;
            }
        }
        let mut name = Self { octets: [0; MAX_NAME], len: 0 };
        name.push(message.get(at..next).ok_or(Malformed)?)?;
        Ok((name, next))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    fn push(&mut self, octets: &[u8]) -> Result<(), Malformed> {
        let start = usize::from(self.len);
        let room = self.octets.get_mut(start..start + octets.len()).ok_or(Malformed)?;
        for (to, from) in room.iter_mut().zip(octets) {
            // Length octets are below 64 and thus no letters.
            *to = from.to_ascii_lowercase();
        }
        // Fits: the array has 255 octets.
        self.len += octets.len() as u8;
        Ok(())
    }
}

impl std::fmt::Debug for WireName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&text(self.as_bytes()), f)
    }
}

/// The name of well-formed octets, as text.
pub(crate) fn text(name: &[u8]) -> DnsName {
    DnsName::from_labels(labels(name))
}

/// Labels of well-formed octets.
pub(crate) fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (&length, after) = rest.split_first()?;
        let (label, after) = after.split_at_checked(usize::from(length))?;
        rest = after;
        (!label.is_empty()).then_some(label)
    })
}

/// The octets of a configured name.
pub(crate) fn wire_name(name: &DnsName) -> Box<[u8]> {
    let mut octets = Vec::with_capacity(name.as_str().len() + 2);
    for label in name.labels() {
        // A configured label has at most 63 octets.
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets.into()
}

/// RFC 1035 §2.3.4.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// A name has at most 127 labels; no compressor needs more than a pointer for each.
const MAX_POINTERS: u32 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_names_are_followed_backwards() {
        let message = b"\x03Com\x00\x03foo\xc0\x00\x01a\xc0\x05!";
        let (name, end) = WireName::read(message, 11).unwrap();
        assert_eq!(name.as_bytes(), b"\x01a\x03foo\x03com\x00");
        assert_eq!(end, 15);
        assert_eq!(text(name.as_bytes()).as_str(), "a.foo.com");
        assert_eq!(wire_name(&"a.foo.com".parse().unwrap())[..], *name.as_bytes());
    }

    #[test]
    fn loops_and_forward_pointers_are_malformed() {
        for message in [
            &b"\xc0\x00"[..],
            b"\x01a\xc0\x00",
            b"\xc0\x02\xc0\x00",
            b"\xc0\x02\x00",
            b"\x40a\x00",
            b"\x80a\x00",
            b"\x05abc",
            b"\xc0",
            b"",
        ] {
            assert_eq!(WireName::read(message, 0).map(|_| ()), Err(Malformed), "{message:?}");
        }
        // A pointer back to before where it stands, and from there to itself again.
        assert!(WireName::read(b"\0\x01a\x01b\xc0\x01", 3).is_err());
        assert!(WireName::read(b"\0\x01a\0\x01b\xc0\x01", 4).is_ok());
    }

    #[test]
    fn long_names_and_long_pointer_chains_are_malformed() {
        let label = [&[63][..], &[b'x'; 63]].concat();
        let four = [label.repeat(4), vec![0]].concat();
        assert!(WireName::read(&four, 0).is_err());
        assert!(WireName::read_plain(&four, 0).is_err());
        let longest = [label.repeat(3), [&[61][..], &[b'x'; 61]].concat(), vec![0]].concat();
        assert_eq!(WireName::read(&longest, 0).unwrap().1, 255);
        let mut chain = vec![0];
        chain.push(0);
        for at in 0..200_u16 {
            chain.extend_from_slice(&(0xc000 | (at * 2)).to_be_bytes());
        }
        assert!(WireName::read(&chain, 2 * 100).is_ok());
        assert!(WireName::read(&chain, 2 * 200).is_err());
    }
}
