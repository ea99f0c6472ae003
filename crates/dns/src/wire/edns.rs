//! The OPT pseudo-record and the one option that is understood, the Extended DNS Error.
//!
//! Every other option is between two neighbours (cookies, padding, keep-alive, NSID) or tells
//! upstreams about the client (client subnet), and none is passed on in either direction.
//! Spec: RFC 6891 §6, RFC 8914 §2, RFC 7873 §5 (cookies are between client and server).

use super::{Malformed, rtype, u16_at};

/// What an OPT record says, its options aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// The datagram its sender takes, as written.
    pub(crate) payload: u16,
    /// DNSSEC records are wanted.
    pub(crate) dnssec_ok: bool,
    pub(crate) version: u8,
    /// The upper eight bits of a response's code.
    pub(crate) rcode_high: u8,
}

/// Why an answer is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    pub(crate) code: u16,
    pub(crate) text: Box<[u8]>,
}

impl Edns {
    /// From the class and the TTL of an OPT record.
    pub(crate) fn from_record(class: u16, ttl: u32) -> Self {
        let [rcode_high, version, flags, _] = ttl.to_be_bytes();
        Self { payload: class, dnssec_ok: flags & 0x80 != 0, version, rcode_high }
    }
}

impl ExtendedError {
    pub(crate) const OTHER: u16 = 0;
    pub(crate) const BLOCKED: u16 = 15;
    pub(crate) const NOT_SUPPORTED: u16 = 21;
    pub(crate) const NO_REACHABLE_AUTHORITY: u16 = 22;
    pub(crate) const NETWORK_ERROR: u16 = 23;

    pub(crate) fn new(code: u16, text: &str) -> Self {
        Self { code, text: text.as_bytes().into() }
    }

    /// The first one among the options of an OPT record; text that is too long is left away.
    pub(crate) fn find(options: &[u8]) -> Option<Self> {
        let mut at = 0;
        loop {
            let (option, length) = (u16_at(options, at).ok()?, u16_at(options, at + 2).ok()?);
            let end = at + 4 + usize::from(length);
            let data = options.get(at + 4..end)?;
            if option == OPTION_EXTENDED_ERROR {
                let code = u16_at(data, 0).ok()?;
                let text = data.get(2..).filter(|text| text.len() <= MAX_TEXT);
                return Some(Self { code, text: text.unwrap_or_default().into() });
            }
            at = end;
        }
    }

    fn len(&self) -> usize {
        4 + 2 + self.text.len()
    }
}

/// Octets of the OPT record that [`append_opt`] appends.
pub(crate) fn opt_len(error: Option<&ExtendedError>) -> usize {
    FIXED + error.map_or(0, ExtendedError::len)
}

/// Appends an OPT record.
pub(crate) fn append_opt(
    message: &mut Vec<u8>,
    dnssec_ok: bool,
    rcode: u16,
    error: Option<&ExtendedError>,
) {
    message.push(0);
    message.extend_from_slice(&rtype::OPT.to_be_bytes());
    message.extend_from_slice(&PAYLOAD.to_be_bytes());
    message.extend_from_slice(&[(rcode >> 4) as u8, 0, u8::from(dnssec_ok) << 7, 0]);
    let options = error.map_or(0, ExtendedError::len);
    // Fits: the text has at most MAX_TEXT octets.
    message.extend_from_slice(&(options as u16).to_be_bytes());
    if let Some(error) = error {
        message.extend_from_slice(&OPTION_EXTENDED_ERROR.to_be_bytes());
        message.extend_from_slice(&((options - 4) as u16).to_be_bytes());
        message.extend_from_slice(&error.code.to_be_bytes());
        message.extend_from_slice(&error.text);
    }
}

/// Checks that options fill their record exactly.
pub(crate) fn check_options(options: &[u8]) -> Result<(), Malformed> {
    let mut at = 0;
    while at < options.len() {
        at += 4 + usize::from(u16_at(options, at + 2)?);
    }
    if at == options.len() { Ok(()) } else { Err(Malformed) }
}

/// What we take from upstreams and from the guest in one datagram: no fragments at any usual MTU.
///
/// RFC 9715 §3, and the value that the DNS Flag Day of 2020 settled on.
const PAYLOAD: u16 = 1232;
/// Root name, type, class, TTL and length.
const FIXED: usize = 11;
/// RFC 8914 §2.
const OPTION_EXTENDED_ERROR: u16 = 15;
/// So that an answer that is only an error fits into 512 octets with any question.
const MAX_TEXT: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_written_and_found() {
        let error = ExtendedError::new(ExtendedError::BLOCKED, "by policy");
        let mut message = Vec::new();
        append_opt(&mut message, true, 16, Some(&error));
        assert_eq!(message.len(), opt_len(Some(&error)));
        let edns = Edns::from_record(
            u16_at(&message, 3).unwrap(),
            super::super::u32_at(&message, 5).unwrap(),
        );
        let expected = Edns { payload: 1232, dnssec_ok: true, version: 0, rcode_high: 1 };
        assert_eq!(edns, expected);
        assert_eq!(ExtendedError::find(&message[FIXED..]), Some(error));
        assert_eq!(check_options(&message[FIXED..]), Ok(()));
    }

    #[test]
    fn broken_options_find_nothing() {
        for options in [&b""[..], b"\x00", b"\x00\x0f\x00\x09\x00", b"\x00\x0f\x00\x01\x00"] {
            assert_eq!(ExtendedError::find(options), None);
        }
        assert_eq!(check_options(b"\x00\x0a\x00\x08\x00"), Err(Malformed));
        let long = [&[0, 15, 0, 202, 0, 15][..], &[b'x'; 200]].concat();
        assert_eq!(ExtendedError::find(&long), Some(ExtendedError::new(15, "")));
    }
}
