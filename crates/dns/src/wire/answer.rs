//! An answer as it is kept, and how it becomes the message for one client.
//!
//! Kept are the octets without the OPT record, and where the TTLs stand, so that an answer from
//! the cache is a copy with a few fields overwritten.
//! Spec: RFC 1035 §4.1.1, RFC 2181 §9 (truncation), RFC 6840 §5.7–5.8 (AD), RFC 6891 §7.

use std::net::IpAddr;

use super::{
    Edns, ExtendedError, HEADER, Response, Section, edns, flag, put_u16, put_u32, rtype, u16_at,
};
use crate::Carrier;
use crate::limits::EVENT_ADDRESSES;

/// What a client's query says about the form of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) id: u16,
    /// The second word of the query's header.
    pub(crate) flags: u16,
    pub(crate) edns: Option<Edns>,
    pub(crate) carrier: Carrier,
}

/// An answer without what is a single client's.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Header without id and flags, question in lower case, records.
    message: Box<[u8]>,
    /// Where TTLs stand.
    ttls: Box<[u16]>,
    /// Where the question's name ends.
    name_end: u16,
    /// Where the additional section begins.
    additional: u16,
    /// Twelve bits.
    pub(crate) rcode: u16,
    /// AA, AD.
    flags: u16,
    pub(crate) error: Option<ExtendedError>,
    /// Seconds for which it may be kept.
    pub(crate) lifetime: u32,
}

impl Stored {
    /// From an upstream's response; `question` is what was asked, in lower case.
    pub(crate) fn from_response(response: &Response<'_>, question: &[u8], any: bool) -> Self {
        let mut message = Vec::from(&response.message[..response.end]);
        message[HEADER..HEADER + question.len()].copy_from_slice(question);
        let count = |section| {
            // Fits: each section's count came from 16 bits.
            response.records.iter().filter(|record| record.section == section).count() as u16
        };
        put_u16(&mut message, 10, count(Section::Additional));
        put_u16(&mut message, 8, count(Section::Authority));
        put_u16(&mut message, 6, count(Section::Answer));
        let negative = if any { None } else { Some(response.negative_ttl().unwrap_or(0)) };
        let mut lifetime = negative.unwrap_or(MAX_TTL).min(MAX_TTL);
        let mut ttls = Vec::with_capacity(response.records.len());
        for record in &response.records {
            let mut ttl = record.ttl.min(MAX_TTL);
            // RFC 2308 §5: the TTL of the SOA record counts down from the lesser value.
            if record.kind == rtype::SOA
                && let Some(negative) = negative
            {
                ttl = ttl.min(negative);
            }
            lifetime = lifetime.min(ttl);
            put_u32(&mut message, record.ttl_at, ttl);
            // Fits: messages have at most 65,535 octets.
            ttls.push(record.ttl_at as u16);
        }
        let additional = response
            .records
            .iter()
            .find(|record| record.section == Section::Additional)
            .map_or(response.end, |record| record.owner);
        Self {
            message: message.into(),
            ttls: ttls.into(),
            name_end: (HEADER + question.len() - 4) as u16,
            additional: additional as u16,
            rcode: response.rcode,
            flags: response.flags & flag::AD,
            error: response.error.clone(),
            lifetime,
        }
    }

    /// From a message built here, whose additional section is empty.
    pub(super) fn from_parts(
        message: Vec<u8>,
        ttls: Vec<u16>,
        name_end: usize,
        rcode: u16,
        error: Option<ExtendedError>,
    ) -> Self {
        Self {
            additional: message.len() as u16,
            message: message.into(),
            ttls: ttls.into(),
            name_end: name_end as u16,
            rcode,
            flags: if error.is_none() { flag::AA } else { 0 },
            error,
            lifetime: 0,
        }
    }

    /// The message for a client that spelled the name as `name`, `age` seconds after it was kept.
    pub(crate) fn render(&self, shape: Shape, name: &[u8], age: u32) -> Vec<u8> {
        let opt = shape.edns.map_or(0, |_| edns::opt_len(self.error.as_ref()));
        let limit = shape.limit().saturating_sub(opt);
        let additional = usize::from(self.additional);
        // RFC 2181 §9: what is missing from the additional section is no truncation.
        let (end, truncated) = if self.message.len() <= limit {
            (self.message.len(), false)
        } else if additional <= limit {
            (additional, false)
        } else {
            (usize::from(self.name_end) + 4, true)
        };
        let mut message = Vec::with_capacity(end + opt);
        message.extend_from_slice(&self.message[..end]);
        if truncated {
            message[6..HEADER].fill(0);
        } else if end == additional {
            message[10..HEADER].fill(0);
        }
        put_u16(&mut message, 0, shape.id);
        let mut flags = shape.response_flags(self.rcode) | self.flags & flag::AA;
        if truncated {
            flags |= flag::TC;
        } else if self.flags & flag::AD != 0 && shape.wants_authenticated() {
            flags |= flag::AD;
        }
        put_u16(&mut message, 2, flags);
        message[HEADER..usize::from(self.name_end)].copy_from_slice(name);
        for &at in &self.ttls {
            let at = usize::from(at);
            if let Some(octets) = message.get_mut(at..at + 4) {
                let ttl = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
                octets.copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
            }
        }
        shape.append_opt(&mut message, self.rcode, self.error.as_ref());
        message
    }

    /// The first addresses in the answer section, for reports.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let question = usize::from(self.name_end) + 4 - HEADER;
        let Ok(response) = Response::read(&self.message, question) else { return Vec::new() };
        let answers = response.records.iter().filter(|record| record.section == Section::Answer);
        answers.filter_map(|record| record.address(&self.message)).take(EVENT_ADDRESSES).collect()
    }

    /// Memory that this takes besides the value itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.message.len() + self.ttls.len() * 2 + self.error.as_ref().map_or(0, |e| e.text.len())
    }
}

impl Shape {
    /// The longest message the client takes.
    fn limit(self) -> usize {
        match (self.carrier, self.edns) {
            (Carrier::Tcp, _) => usize::from(u16::MAX),
            // RFC 6891 §6.2.3: less than 512 counts as 512.
            (Carrier::Udp, Some(edns)) => usize::from(edns.payload.clamp(LEAST_UDP, MOST_UDP)),
            (Carrier::Udp, None) => usize::from(LEAST_UDP),
        }
    }

    /// RFC 6840 §5.8: only clients that understand AD are told.
    fn wants_authenticated(self) -> bool {
        self.flags & flag::AD != 0 || self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The flags of a response that do not depend on its content, and the code.
    pub(super) fn response_flags(self, rcode: u16) -> u16 {
        let kept = self.flags & (flag::OPCODE | flag::RD | flag::CD);
        // A client without EDNS could not see the upper bits of a code beyond 15.
        let code = if rcode > flag::RCODE && self.edns.is_none() { 2 } else { rcode & flag::RCODE };
        flag::QR | flag::RA | kept | code
    }

    pub(super) fn append_opt(
        self,
        message: &mut Vec<u8>,
        rcode: u16,
        error: Option<&ExtendedError>,
    ) {
        // RFC 6891 §6.1.1: only an answer to a query with OPT has one.
        if let Some(edns) = self.edns {
            let additionals = u16_at(message, 10).unwrap_or(0);
            put_u16(message, 10, additionals.saturating_add(1));
            edns::append_opt(message, edns.dnssec_ok, rcode, error);
        }
    }
}

/// What is kept is kept for a day at most.
pub(crate) const MAX_TTL: u32 = 86_400;
const LEAST_UDP: u16 = 512;
/// Larger datagrams would come in more fragments than is wise.
const MOST_UDP: u16 = 4_096;
