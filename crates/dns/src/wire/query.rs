//! A query of the guest, read as far as the name server must understand it.
//!
//! Never follows a compression pointer: a question has nothing before it to point at.
//! Spec: RFC 1035 §4.1, RFC 6891 §6.1.1 and §6.1.3, RFC 9619 (one question).

use super::{Edns, HEADER, Malformed, WireName, edns, flag, rcode, rtype, u16_at, u32_at};

/// A query that can be looked at further.
#[derive(Clone, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) id: u16,
    /// The header's second word.
    pub(crate) flags: u16,
    /// Name, type and class as sent.
    pub(crate) question: &'a [u8],
    pub(crate) name: WireName,
    pub(crate) qtype: u16,
    pub(crate) qclass: u16,
    pub(crate) edns: Option<Edns>,
}

/// A message that is no query to look at further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unanswerable<'a> {
    /// Not even an answer that says so may follow: too short, or itself a response.
    Silent,
    /// To be answered with this code; the question is there when it could be read.
    Error { id: u16, flags: u16, rcode: u16, question: &'a [u8], edns: Option<Edns> },
}

impl<'a> Query<'a> {
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, Unanswerable<'a>> {
        if message.len() < HEADER {
            return Err(Unanswerable::Silent);
        }
        let (id, flags) = (word(message, 0), word(message, 1));
        // RFC 1035 §7.3: answering responses could make two servers talk for ever.
        if flags & flag::QR != 0 {
            return Err(Unanswerable::Silent);
        }
        let error =
            |rcode, question, edns| Unanswerable::Error { id, flags, rcode, question, edns };
        if flags & flag::OPCODE != 0 {
            return Err(error(rcode::NOTIMP, &[], None));
        }
        // RFC 9619 §4.
        if word(message, 2) != 1 {
            return Err(error(rcode::FORMERR, &[], None));
        }
        let Ok((name, end)) = WireName::read_plain(message, HEADER) else {
            return Err(error(rcode::FORMERR, &[], None));
        };
        let (Ok(qtype), Ok(qclass)) = (u16_at(message, end), u16_at(message, end + 2)) else {
            return Err(error(rcode::FORMERR, &[], None));
        };
        let question = &message[HEADER..end + 4];
        // Only updates, notifications and incremental transfers carry records here.
        let transfer = qtype == IXFR && word(message, 4) == 1;
        if word(message, 3) != 0 || (word(message, 4) != 0 && !transfer) {
            return Err(error(rcode::FORMERR, question, None));
        }
        let edns = match find_opt(message, end + 4, word(message, 4), word(message, 5)) {
            Ok(edns) => edns,
            Err(Malformed) => return Err(error(rcode::FORMERR, question, None)),
        };
        // RFC 6891 §6.1.3.
        if edns.is_some_and(|edns| edns.version != 0) {
            return Err(error(rcode::BADVERS, question, edns));
        }
        Ok(Query { id, flags, question, name, qtype, qclass, edns })
    }

    /// Whether the client wants DNSSEC records.
    pub(crate) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// The header's `nth` word; the message is long enough.
fn word(message: &[u8], nth: usize) -> u16 {
    u16_at(message, nth * 2).unwrap_or(0)
}

fn find_opt(
    message: &[u8],
    mut at: usize,
    authorities: u16,
    additionals: u16,
) -> Result<Option<Edns>, Malformed> {
    if additionals > MAX_ADDITIONALS {
        return Err(Malformed);
    }
    let mut found = None;
    for nth in 0..authorities + additionals {
        let (name, fixed) = WireName::read(message, at)?;
        let (kind, class) = (u16_at(message, fixed)?, u16_at(message, fixed + 2)?);
        let (ttl, length) = (u32_at(message, fixed + 4)?, u16_at(message, fixed + 8)?);
        at = fixed + 10 + usize::from(length);
        let data = message.get(fixed + 10..at).ok_or(Malformed)?;
        if kind != rtype::OPT || nth < authorities {
            continue;
        }
        // RFC 6891 §6.1.1: one, named by the root.
        if found.is_some() || name.as_bytes() != [0] {
            return Err(Malformed);
        }
        edns::check_options(data)?;
        found = Some(Edns::from_record(class, ttl));
    }
    Ok(found)
}

const IXFR: u16 = 251;
/// A query has an OPT and perhaps a signature.
const MAX_ADDITIONALS: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x01A\x03com\0\0\x01\0\x01";

    fn with(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut message = PLAIN.to_vec();
        edit(&mut message);
        message
    }

    fn code(message: &[u8]) -> u16 {
        match Query::read(message) {
            Err(Unanswerable::Error { rcode, id: 0x1234, .. }) => rcode,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_query_is_read() {
        let query = Query::read(PLAIN).unwrap();
        assert_eq!((query.id, query.qtype, query.qclass), (0x1234, 1, 1));
        assert_eq!(query.name.as_bytes(), b"\x01a\x03com\0");
        assert_eq!(query.question, &PLAIN[12..]);
        assert!(query.has(flag::RD) && query.edns.is_none());
    }

    #[test]
    fn edns_is_read_wherever_it_stands() {
        let message = with(|message| {
            message[11] = 2;
            message.extend_from_slice(b"\xc0\x0c\0\x10\0\x01\0\0\0\0\0\0");
            message.extend_from_slice(b"\0\0\x29\x10\0\0\0\x80\0\0\x04\0\x0a\0\0");
        });
        let edns = Query::read(&message).unwrap().edns.unwrap();
        assert_eq!((edns.payload, edns.dnssec_ok), (4096, true));
    }

    #[test]
    fn what_cannot_be_answered_says_how() {
        assert_eq!(Query::read(&PLAIN[..11]).unwrap_err(), Unanswerable::Silent);
        let response = with(|message| message[2] |= 0x80);
        assert_eq!(Query::read(&response).unwrap_err(), Unanswerable::Silent);
        assert_eq!(code(&with(|message| message[2] |= 0x20)), rcode::NOTIMP);
        assert_eq!(code(&with(|message| message[5] = 0)), rcode::FORMERR);
        assert_eq!(code(&with(|message| message[5] = 2)), rcode::FORMERR);
        assert_eq!(code(&with(|message| message[7] = 1)), rcode::FORMERR);
        assert_eq!(code(&with(|message| message[12] = 0xc0)), rcode::FORMERR);
        assert_eq!(code(&PLAIN[..PLAIN.len() - 1]), rcode::FORMERR);
        assert_eq!(code(&with(|message| message[11] = 1)), rcode::FORMERR);
        let version = with(|message| {
            message[11] = 1;
            message.extend_from_slice(b"\0\0\x29\x10\0\0\x01\0\0\0\0");
        });
        assert_eq!(code(&version), rcode::BADVERS);
        let twice = with(|message| {
            message[11] = 2;
            message.extend_from_slice(&b"\0\0\x29\x10\0\0\0\0\0\0\0".repeat(2));
        });
        assert_eq!(code(&twice), rcode::FORMERR);
    }
}
