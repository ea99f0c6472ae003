//! DNS messages as bytes: reading queries and responses, and building answers.
//!
//! Everything here is a bounds-checked view or a builder; nothing keeps state and nothing decides
//! what to answer. Records that are not understood pass as the bytes they came in.
//! Spec: RFC 1035 §4, RFC 3597 (unknown types), RFC 6891 (EDNS), RFC 8914 (extended errors).

mod answer;
mod build;
mod edns;
mod name;
mod query;
mod response;

pub(crate) use answer::{MAX_TTL, Shape, Stored};
pub(crate) use build::{Builder, ask, reject};
pub(crate) use edns::{Edns, ExtendedError};
pub(crate) use name::{WireName, labels, text, wire_name};
pub(crate) use query::{Query, Unanswerable};
pub(crate) use response::{Echo, Response, Section, echo};

/// A message that is not what the specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Octets of the fixed header.
pub(crate) const HEADER: usize = 12;

/// Bits and fields of the header's second word (RFC 1035 §4.1.1, RFC 4035 §3).
pub(crate) mod flag {
    pub(crate) const QR: u16 = 1 << 15;
    pub(crate) const OPCODE: u16 = 0xf << 11;
    pub(crate) const AA: u16 = 1 << 10;
    pub(crate) const TC: u16 = 1 << 9;
    pub(crate) const RD: u16 = 1 << 8;
    pub(crate) const RA: u16 = 1 << 7;
    pub(crate) const AD: u16 = 1 << 5;
    pub(crate) const CD: u16 = 1 << 4;
    pub(crate) const RCODE: u16 = 0xf;
}

/// Types and classes of which something is known here.
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const HINFO: u16 = 13;
    pub(crate) const MX: u16 = 15;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const DNAME: u16 = 39;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const SVCB: u16 = 64;
    pub(crate) const HTTPS: u16 = 65;
    /// RFC 6895 §3.1: from here to 255 are types of queries and of transactions, not of data.
    pub(crate) const FIRST_META: u16 = 128;
    pub(crate) const ANY: u16 = 255;
    pub(crate) const CLASS_IN: u16 = 1;
}

/// Response codes (RFC 1035 §4.1.1, RFC 6891 §9).
pub(crate) mod rcode {
    pub(crate) const NOERROR: u16 = 0;
    pub(crate) const FORMERR: u16 = 1;
    pub(crate) const SERVFAIL: u16 = 2;
    pub(crate) const NXDOMAIN: u16 = 3;
    pub(crate) const NOTIMP: u16 = 4;
    pub(crate) const REFUSED: u16 = 5;
    pub(crate) const BADVERS: u16 = 16;
}

pub(crate) fn u16_at(message: &[u8], at: usize) -> Result<u16, Malformed> {
    let bytes = message.get(at..at + 2).ok_or(Malformed)?;
    Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
}

pub(crate) fn u32_at(message: &[u8], at: usize) -> Result<u32, Malformed> {
    let bytes = message.get(at..at + 4).ok_or(Malformed)?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Overwrites octets that are known to be there.
pub(crate) fn put_u16(message: &mut [u8], at: usize, value: u16) {
    if let Some(bytes) = message.get_mut(at..at + 2) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

/// Overwrites octets that are known to be there.
pub(crate) fn put_u32(message: &mut [u8], at: usize, value: u32) {
    if let Some(bytes) = message.get_mut(at..at + 4) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}
