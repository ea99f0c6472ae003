//! Messages that are built here: local answers, refusals and the questions to upstreams.
//!
//! Spec: RFC 1035 §4.1, RFC 2308 §3 (SOA in negative answers), RFC 6891 §6.1.

use super::{ExtendedError, HEADER, Shape, Stored, edns, flag, put_u16, rcode, rtype};

/// An answer to one question, record by record.
#[derive(Debug)]
pub(crate) struct Builder {
    message: Vec<u8>,
    ttls: Vec<u16>,
    name_end: usize,
    answers: u16,
    authorities: u16,
}

impl Builder {
    /// `question` is name, type and class in wire form.
    pub(crate) fn new(question: &[u8]) -> Self {
        let mut message = vec![0; HEADER];
        message[5] = 1;
        message.extend_from_slice(question);
        let name_end = message.len() - 4;
        Self { message, ttls: Vec::new(), name_end, answers: 0, authorities: 0 }
    }

    /// Adds a record of the name asked for to the answer section; before [`Builder::soa`].
    pub(crate) fn answer(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        self.record(HEADER, kind, ttl, data);
        self.answers += 1;
    }

    /// Says for how long the absence holds, as the zone that begins `labels` labels into the name.
    pub(crate) fn soa(&mut self, labels: usize, ttl: u32) {
        let mut owner = HEADER;
        for _ in 0..labels {
            // The root has no parent.
            owner += match self.message[owner] {
                0 => break,
                length => 1 + usize::from(length),
            };
        }
        let mut data = Vec::with_capacity(SOA_NAMES.len() + 20);
        data.extend_from_slice(SOA_NAMES);
        for field in [1, 3_600, 600, 86_400, ttl] {
            data.extend_from_slice(&field.to_be_bytes());
        }
        self.record(owner, rtype::SOA, ttl, &data);
        self.authorities += 1;
    }

    pub(crate) fn finish(mut self, rcode: u16, error: Option<ExtendedError>) -> Stored {
        put_u16(&mut self.message, 6, self.answers);
        put_u16(&mut self.message, 8, self.authorities);
        Stored::from_parts(self.message, self.ttls, self.name_end, rcode, error)
    }

    fn record(&mut self, owner: usize, kind: u16, ttl: u32, data: &[u8]) {
        // Fits: the owner is in the question, which ends before octet 271.
        self.message.extend_from_slice(&(0xc000 | owner as u16).to_be_bytes());
        self.message.extend_from_slice(&kind.to_be_bytes());
        self.message.extend_from_slice(&rtype::CLASS_IN.to_be_bytes());
        self.ttls.push(self.message.len() as u16);
        self.message.extend_from_slice(&ttl.to_be_bytes());
        self.message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.message.extend_from_slice(data);
    }
}

/// An answer without records; `question` may be empty when it could not be read.
pub(crate) fn reject(
    shape: Shape,
    question: &[u8],
    rcode: u16,
    error: Option<&ExtendedError>,
) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message[5] = u8::from(!question.is_empty());
    message.extend_from_slice(question);
    put_u16(&mut message, 0, shape.id);
    put_u16(&mut message, 2, shape.response_flags(rcode));
    shape.append_opt(&mut message, rcode, error);
    message
}

/// A question to an upstream.
pub(crate) fn ask(id: u16, flags: u16, question: &[u8], dnssec_ok: Option<bool>) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message[5] = 1;
    put_u16(&mut message, 0, id);
    // RFC 6840 §5.7: AD asks to be told whether the answer was validated.
    put_u16(&mut message, 2, flags | flag::AD);
    message.extend_from_slice(question);
    if let Some(dnssec_ok) = dnssec_ok {
        message[11] = 1;
        edns::append_opt(&mut message, dnssec_ok, rcode::NOERROR, None);
    }
    message
}

/// Primary server and mailbox of the zones that are answered here.
const SOA_NAMES: &[u8] =
    b"\x07gateway\x09portreeve\x08internal\x00\x05admin\x07gateway\x09portreeve\x08internal\x00";
