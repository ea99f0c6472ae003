//! A response of an upstream: whether it answers what was asked, and its records.
//!
//! Never trusts the sender: every length and every name is checked, chains of aliases and their
//! length are bounded, and nothing is changed or kept here.
//! Spec: RFC 1035 §4.1, RFC 5452 §9.1 (what must match), RFC 2308 §2 and §5, RFC 2181 §8.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::{Edns, ExtendedError, HEADER, Malformed, WireName, flag, rcode, rtype, u16_at, u32_at};

/// How a response repeats what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Exactly.
    Sound,
    /// In another case: a server that does not keep it, or someone who does not know it.
    CaseChanged,
    /// Not at all, as servers do that could not even read the query.
    WithoutQuestion,
    /// It is not an answer to this.
    Foreign,
}

/// Compares a response with the id and the question that were sent.
pub(crate) fn echo(message: &[u8], id: u16, question: &[u8]) -> Echo {
    let words = (u16_at(message, 0), u16_at(message, 2), u16_at(message, 4));
    let (Ok(got_id), Ok(flags), Ok(questions)) = words else { return Echo::Foreign };
    if got_id != id || flags & flag::QR == 0 || flags & flag::OPCODE != 0 {
        return Echo::Foreign;
    }
    if questions == 0 && matches!(flags & flag::RCODE, rcode::FORMERR | rcode::NOTIMP) {
        return Echo::WithoutQuestion;
    }
    let got = message.get(HEADER..HEADER + question.len());
    match got {
        Some(got) if questions == 1 && got == question => Echo::Sound,
        Some(got) if questions == 1 && same_question(got, question) => Echo::CaseChanged,
        _ => Echo::Foreign,
    }
}

/// Whether two questions of one length differ in nothing but the case of the name.
fn same_question(one: &[u8], other: &[u8]) -> bool {
    let name = one.len().saturating_sub(4);
    one[..name].eq_ignore_ascii_case(&other[..name]) && one[name..] == other[name..]
}

/// A response whose every record has been walked over.
#[derive(Clone, Debug)]
pub(crate) struct Response<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) flags: u16,
    /// With the upper bits from the OPT record.
    pub(crate) rcode: u16,
    pub(crate) edns: Option<Edns>,
    pub(crate) error: Option<ExtendedError>,
    /// All before the OPT record.
    pub(crate) records: Vec<Record>,
    /// Where the last of them ends.
    pub(crate) end: usize,
}

/// Where a record stands in its message.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) section: Section,
    pub(crate) owner: usize,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) ttl_at: usize,
    /// As it counts: RFC 2181 §8 makes values with the top bit zero.
    pub(crate) ttl: u32,
    pub(crate) data: Range<usize>,
}

/// The sections of a message that hold records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Answer,
    Authority,
    Additional,
}

/// What the answer section holds for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether a record of the type asked for is there, at the end of the aliases.
    pub(crate) any: bool,
    /// The addresses among them, with their TTLs.
    pub(crate) addresses: Vec<(IpAddr, u32)>,
}

impl<'a> Response<'a> {
    /// Walks over a response with one question of `question` octets.
    ///
    /// What follows an OPT record is left away: a signature of the whole message, as a rule.
    pub(crate) fn read(message: &'a [u8], question: usize) -> Result<Self, Malformed> {
        let flags = u16_at(message, 2)?;
        // No carrier has longer ones, and places in a message are kept in 16 bits.
        if message.len() < HEADER + question || message.len() > usize::from(u16::MAX) {
            return Err(Malformed);
        }
        let mut response = Self {
            message,
            flags,
            rcode: flags & flag::RCODE,
            edns: None,
            error: None,
            records: Vec::new(),
            end: HEADER + question,
        };
        for (section, word) in
            [(Section::Answer, 6), (Section::Authority, 8), (Section::Additional, 10)]
        {
            for _ in 0..u16_at(message, word)? {
                let record = Record::read(message, section, response.end)?;
                if record.kind == rtype::OPT {
                    if section != Section::Additional {
                        return Err(Malformed);
                    }
                    response.take_opt(&record);
                    return Ok(response);
                }
                response.end = record.data.end;
                response.records.push(record);
            }
        }
        Ok(response)
    }

    fn take_opt(&mut self, record: &Record) {
        let edns = Edns::from_record(record.class, record.ttl);
        self.rcode |= u16::from(edns.rcode_high) << 4;
        self.edns = Some(edns);
        self.error = ExtendedError::find(&self.message[record.data.clone()]);
    }

    /// Leaves away a section and what follows it.
    pub(crate) fn cut(&mut self, section: Section) {
        if let Some(at) = self.records.iter().position(|record| record.section >= section) {
            self.end = self.records[at].owner;
            self.records.truncate(at);
        }
    }

    /// Follows the aliases from `name` and looks for records of the type asked for.
    ///
    /// # Errors
    /// The aliases make a loop, or there are too many.
    pub(crate) fn find(&self, name: &WireName, qtype: u16) -> Result<Found, Malformed> {
        let current = match qtype {
            rtype::CNAME | rtype::ANY => *name,
            _ => self.last_alias(name)?,
        };
        let mut found = Found::default();
        for record in self.answers(qtype) {
            if WireName::read(self.message, record.owner)?.0 != current {
                continue;
            }
            found.any = true;
            if let Some(address) = record.address(self.message) {
                found.addresses.push((address, record.ttl));
            }
        }
        Ok(found)
    }

    /// Where the aliases from `name` end.
    fn last_alias(&self, name: &WireName) -> Result<WireName, Malformed> {
        let mut current = *name;
        let mut aliases = 0;
        // As a rule aliases stand in order, and the second pass finds nothing more.
        loop {
            let before = aliases;
            for record in self.answers(rtype::CNAME) {
                if WireName::read(self.message, record.owner)?.0 == current {
                    current = WireName::read(self.message, record.data.start)?.0;
                    aliases += 1;
                    if aliases > MAX_ALIASES {
                        return Err(Malformed);
                    }
                }
            }
            if aliases == before {
                return Ok(current);
            }
        }
    }

    /// Seconds for which the absence may be kept; `None` when the response does not say.
    ///
    /// RFC 2308 §5: the lesser of the SOA record's own TTL and its last field.
    pub(crate) fn negative_ttl(&self) -> Option<u32> {
        let soa = self
            .records
            .iter()
            .find(|record| record.section == Section::Authority && record.kind == rtype::SOA)?;
        Some(soa.ttl.min(soa.soa_minimum(self.message)?))
    }

    fn answers(&self, kind: u16) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| {
            record.section == Section::Answer
                && record.class == rtype::CLASS_IN
                && (record.kind == kind || kind == rtype::ANY)
        })
    }
}

impl Record {
    fn read(message: &[u8], section: Section, owner: usize) -> Result<Self, Malformed> {
        let (_, fixed) = WireName::read(message, owner)?;
        let kind = u16_at(message, fixed)?;
        let class = u16_at(message, fixed + 2)?;
        let ttl = u32_at(message, fixed + 4)?;
        let start = fixed + 10;
        let end = start + usize::from(u16_at(message, fixed + 8)?);
        if end > message.len() {
            return Err(Malformed);
        }
        // An OPT record has flags there.
        let ttl = if ttl > i32::MAX as u32 && kind != rtype::OPT { 0 } else { ttl };
        let record = Self { section, owner, kind, class, ttl_at: fixed + 4, ttl, data: start..end };
        record.check_names(message)?;
        Ok(record)
    }

    /// The names that may be compressed, RFC 3597 §4, must end where the data says.
    fn check_names(&self, message: &[u8]) -> Result<(), Malformed> {
        let Range { start, end } = self.data;
        let name_ends = match self.kind {
            rtype::CNAME | rtype::NS | rtype::PTR | rtype::DNAME => {
                WireName::read(message, start)?.1
            }
            rtype::MX => WireName::read(message, start + 2)?.1,
            rtype::SOA => {
                let (_, at) = WireName::read(message, start)?;
                WireName::read(message, at)?.1 + 20
            }
            rtype::A => start + 4,
            rtype::AAAA => start + 16,
            _ => return Ok(()),
        };
        if name_ends == end { Ok(()) } else { Err(Malformed) }
    }

    /// The address of an A or AAAA record.
    pub(crate) fn address(&self, message: &[u8]) -> Option<IpAddr> {
        let data = message.get(self.data.clone())?;
        match self.kind {
            rtype::A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
            rtype::AAAA => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
            _ => None,
        }
    }

    /// Every address a client may connect to because of this record: its own, or a hint.
    pub(crate) fn targets(&self, message: &[u8]) -> Vec<IpAddr> {
        match self.kind {
            rtype::SVCB | rtype::HTTPS => self.hints(message).unwrap_or_default(),
            _ => self.address(message).into_iter().collect(),
        }
    }

    /// The address hints of a service binding, RFC 9460 §7.3; `None` when it is malformed.
    fn hints(&self, message: &[u8]) -> Option<Vec<IpAddr>> {
        let data = message.get(self.data.clone())?;
        let (_, mut at) = WireName::read_plain(data, 2).ok()?;
        let mut hints = Vec::new();
        while at < data.len() {
            let (key, length) = (u16_at(data, at).ok()?, u16_at(data, at + 2).ok()?);
            let end = at + 4 + usize::from(length);
            let value = data.get(at + 4..end)?;
            if key == 4 {
                let (addresses, _) = value.as_chunks::<4>();
                hints.extend(addresses.iter().map(|&octets| IpAddr::from(octets)));
            } else if key == 6 {
                let (addresses, _) = value.as_chunks::<16>();
                hints.extend(addresses.iter().map(|&octets| IpAddr::from(octets)));
            }
            at = end;
        }
        Some(hints)
    }

    /// The last field of an SOA record.
    pub(crate) fn soa_minimum(&self, message: &[u8]) -> Option<u32> {
        u32_at(message, self.data.end.checked_sub(4)?).ok()
    }
}

/// Longer chains of aliases than this are a loop, or might as well be one.
const MAX_ALIASES: u32 = 12;
