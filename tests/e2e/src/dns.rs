//! DNS messages as far as the tests need them, for both sides.
//!
//! Owns the names of types and the spelling of records in results. Never follows a pointer more
//! than a few times. Spec: RFC 1035 §4, RFC 6891 (EDNS), RFC 8914 (extended errors).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Record types by name.
const TYPES: [(&str, u16); 9] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("OPT", 41),
];

/// The number of a type.
pub fn type_number(name: &str) -> Option<u16> {
    TYPES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub name: String,
    /// Its type.
    pub kind: u16,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Its data, uncompressed.
    pub data: Vec<u8>,
}

impl Record {
    /// An address.
    pub fn address(name: &str, address: std::net::IpAddr, ttl: u32) -> Self {
        let (kind, data) = match address {
            std::net::IpAddr::V4(address) => (1, address.octets().to_vec()),
            std::net::IpAddr::V6(address) => (28, address.octets().to_vec()),
        };
        Self { name: name.into(), kind, ttl, data }
    }

    /// A text.
    pub fn text(name: &str, text: &str, ttl: u32) -> Self {
        let mut data = Vec::new();
        for part in text.as_bytes().chunks(255) {
            data.push(u8::try_from(part.len()).expect("a part"));
            data.extend(part);
        }
        Self { name: name.into(), kind: 16, ttl, data }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &*self.data) {
            (1, &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).fmt(f),
            (28, data) if data.len() == 16 => {
                Ipv6Addr::from(<[u8; 16]>::try_from(data).expect("16")).fmt(f)
            }
            (5 | 12, data) => match read_name(data, 0) {
                Some((name, _)) => f.write_str(&name),
                None => f.write_str("?"),
            },
            (kind, data) => write!(f, "{kind}:{}", data.len()),
        }
    }
}

/// A question with its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What the answer must repeat.
    pub id: u16,
    /// In lower case, without the final dot.
    pub name: String,
    /// As it was spelled.
    pub spelled: String,
    /// The type asked for.
    pub kind: u16,
    /// The size of answers that the asker takes over UDP.
    pub size: u16,
}

impl Query {
    /// Reads one, and nothing else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let pair = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        if pair(2)? & 0x8000 != 0 || pair(4)? != 1 {
            return None;
        }
        let (spelled, at) = read_name(bytes, 12)?;
        // EDNS, as the only additional record.
        let size = match (pair(10)?, bytes.get(at + 4), pair(at + 5)) {
            (1.., Some(0), Some(41)) => pair(at + 7)?.max(512),
            _ => 512,
        };
        let name = spelled.to_ascii_lowercase();
        Some(Self { id: pair(0)?, name, spelled, kind: pair(at)?, size })
    }

    /// An answer with these records and return code.
    pub fn answer(&self, rcode: u8, truncated: bool, records: &[Record]) -> Vec<u8> {
        let flags = 0x8580 | u16::from(rcode) | if truncated { 0x0200 } else { 0 };
        let count = u16::try_from(records.len()).expect("few");
        let mut bytes = Vec::new();
        for word in [self.id, flags, 1, count, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        write_name(&mut bytes, &self.spelled);
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend([0, 1]);
        for record in records {
            write_name(&mut bytes, &record.name);
            bytes.extend(record.kind.to_be_bytes());
            bytes.extend([0, 1]);
            bytes.extend(record.ttl.to_be_bytes());
            bytes.extend(u16::try_from(record.data.len()).expect("short").to_be_bytes());
            bytes.extend(&record.data);
        }
        bytes
    }
}

/// A query, with EDNS if a size is given.
pub fn query(id: u16, name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, u16::from(size.is_some())] {
        bytes.extend(word.to_be_bytes());
    }
    write_name(&mut bytes, name);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    if let Some(size) = size {
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0; 6]);
    }
    bytes
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of the query.
    pub id: u16,
    /// The return code.
    pub rcode: u8,
    /// Whether there is more over TCP.
    pub truncated: bool,
    /// The answer section.
    pub records: Vec<Record>,
}

impl Answer {
    /// Reads one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let pair = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let flags = pair(2)?;
        if flags & 0x8000 == 0 {
            return None;
        }
        let mut at = 12;
        for _ in 0..pair(4)? {
            at = read_name(bytes, at)?.1 + 4;
        }
        let mut records = Vec::new();
        for _ in 0..pair(6)? {
            let (name, next) = read_name(bytes, at)?;
            let ttl = u32::from(pair(next + 4)?) << 16 | u32::from(pair(next + 6)?);
            let end = next + 10 + usize::from(pair(next + 8)?);
            let kind = pair(next)?;
            let mut data = bytes.get(next + 10..end)?.to_vec();
            if kind == 5 || kind == 12 {
                data.clear();
                write_name(&mut data, &read_name(bytes, next + 10)?.0);
            }
            records.push(Record { name, kind, ttl, data });
            at = end;
        }
        let rcode = u8::try_from(flags & 0xf).ok()?;
        Some(Self { id: pair(0)?, rcode, truncated: flags & 0x0200 != 0, records })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rcode {
            0 => f.write_str("NOERROR"),
            2 => f.write_str("SERVFAIL"),
            3 => f.write_str("NXDOMAIN"),
            5 => f.write_str("REFUSED"),
            code => write!(f, "RCODE{code}"),
        }?;
        if self.truncated {
            f.write_str(" tc")?;
        }
        self.records.iter().try_for_each(|record| write!(f, " {record}"))
    }
}

fn write_name(bytes: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
}

/// A name, and where what follows it begins.
fn read_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut labels, mut end) = (Vec::new(), None);
    for _ in 0..128 {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some((labels.join("."), end.unwrap_or(at + 1))),
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                labels.push(String::from_utf8_lossy(label).into_owned());
                at += 1 + length;
            }
            _ => {
                end = end.or(Some(at + 2));
                at = (length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = query(7, "Some.Name.test", 28, Some(1232));
        let query = Query::read(&bytes).unwrap();
        assert_eq!(
            (query.id, &*query.name, query.kind, query.size),
            (7, "some.name.test", 28, 1232)
        );
        let records = [
            Record::address("Some.Name.test", "2001:db8::1".parse().unwrap(), 60),
            Record::address("Some.Name.test", "198.51.100.1".parse().unwrap(), 60),
        ];
        let answer = Answer::read(&query.answer(0, true, &records)).unwrap();
        assert_eq!(answer.records, records);
        assert_eq!(answer.to_string(), "NOERROR tc 2001:db8::1 198.51.100.1");
        assert_eq!(Query::read(&super::query(1, "a", 1, None)).unwrap().size, 512);
    }
}
