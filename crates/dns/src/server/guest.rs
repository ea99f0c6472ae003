//! Queries of the guest: what can be answered at once is, the rest begins to wait.
//!
//! Spec: RFC 1035 §4.1, RFC 5936 §2.2 and RFC 1995 (transfers), RFC 6895 §3.1 (meta types),
//! RFC 8482 (ANY), RFC 8914 §4 (why an answer is what it is).

use std::net::IpAddr;

use portreeve_types::{DnsName, Instant};

use super::{DnsServer, NameVerdict};
use crate::key::{CHECKING_DISABLED, DNSSEC_OK, Key, NO_RECURSION};
use crate::limits::{LOCAL_TTL, WAITERS_PER_LOOKUP, WAITERS_PER_TOKEN};
use crate::pending::{Lookup, Waiter};
use crate::wire::{
    Builder, ExtendedError, Query, Shape, Stored, Unanswerable, flag, rcode, reject, rtype, text,
    wire_name,
};
use crate::zone::Verdict;
use crate::{Answer, AnswerSource, Carrier, DnsEvent, QueryToken};

impl DnsServer {
    /// A message of the guest; from a stream, without its two octets of length.
    ///
    /// It is answered, at once or later, or dropped if it is shorter than a header or itself a
    /// response.
    pub fn handle_query(
        &mut self,
        token: QueryToken,
        carrier: Carrier,
        message: &[u8],
        now: Instant,
    ) {
        self.counters.queries += 1;
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(Unanswerable::Silent) => {
                self.counters.dropped += 1;
                return;
            }
            Err(Unanswerable::Error { id, flags, rcode, question, edns }) => {
                let shape = Shape { id, flags, edns, carrier };
                return self.refuse(token, shape, question, rcode);
            }
        };
        let shape = Shape { id: query.id, flags: query.flags, edns: query.edns, carrier };
        let asker = Asker { token, shape, query: &query, now };
        if let Some(rcode) = refusal(&query) {
            return self.refuse(token, shape, query.question, rcode);
        }
        if let Some((stored, counted)) = self.answer_here(&asker) {
            *counted(&mut self.counters) += 1;
            return self.answer_now(&asker, &stored, AnswerSource::Local);
        }
        if !self.answer_from_cache(&asker) {
            self.enqueue(&asker);
        }
    }

    /// What needs no upstream and is not cached: local names, denied ones, and rules.
    fn answer_here(&mut self, asker: &Asker<'_>) -> Option<(Stored, Counted)> {
        let query = asker.query;
        if let Some(verdict) = self.zone.find(&query.name, query.qtype) {
            return Some((local_answer(query.question, verdict), |counters| &mut counters.local));
        }
        if let Some(policy) = &mut self.policy {
            let name = text(query.name.as_bytes());
            if policy.verdict(&name) == NameVerdict::Deny {
                let event = DnsEvent::Denied { token: asker.token, name, record_type: query.qtype };
                self.report(event);
                let mut builder = Builder::new(query.question);
                builder.soa(1, LOCAL_TTL);
                let error = ExtendedError::new(ExtendedError::BLOCKED, "denied by policy");
                let stored = builder.finish(rcode::NXDOMAIN, Some(error));
                return Some((stored, |counters| &mut counters.denied));
            }
        }
        match query.qtype {
            // RFC 8482 §4.2: one record that says why there are no others.
            rtype::ANY => {
                let mut builder = Builder::new(query.question);
                builder.answer(rtype::HINFO, LOCAL_TTL, b"\x07RFC8482\0");
                Some((builder.finish(rcode::NOERROR, None), |counters| &mut counters.local))
            }
            rtype::AAAA if !self.ipv6_upstream => {
                let stored = no_data(query.question, LOCAL_TTL);
                Some((stored, |counters| &mut counters.ipv6_withheld))
            }
            _ => None,
        }
    }

    fn answer_from_cache(&mut self, asker: &Asker<'_>) -> bool {
        let key = asker.key().with_flags(asker.cache_flags());
        let Some((stored, age)) = self.cache.get(&key, asker.now) else { return false };
        self.counters.cache_hits += 1;
        let message = stored.render(asker.shape, asker.spelled(), age);
        let logged = self.log_queries.then(|| (stored.rcode, stored.addresses()));
        self.answers.push_back(Answer {
            token: asker.token,
            carrier: asker.shape.carrier,
            message,
        });
        if let Some((rcode, addresses)) = logged {
            self.log(asker, rcode, addresses, AnswerSource::Cache);
        }
        true
    }

    /// Joins the same question under way, or begins to ask it.
    fn enqueue(&mut self, asker: &Asker<'_>) {
        let key = asker.key();
        let token_full = asker.shape.carrier == Carrier::Tcp
            && self.pending.waiting_of(asker.token) >= WAITERS_PER_TOKEN;
        let full = self.pending.waiting() >= self.most_pending;
        if token_full || full {
            self.counters.over_limit += u64::from(full);
            return self.overflow(asker);
        }
        let waiter = Waiter {
            token: asker.token,
            shape: asker.shape,
            name: asker.spelled().into(),
            since: asker.now,
        };
        if let Some(id) = self.pending.find(&key) {
            let Some(mut lookup) = self.pending.take(id) else { return };
            let full = lookup.waiters.len() >= WAITERS_PER_LOOKUP;
            if !full {
                self.counters.joined += 1;
                self.pending.join(id, &mut lookup, waiter);
            }
            self.pending.put(id, lookup);
            if full {
                self.overflow(asker);
            }
            return;
        }
        let id = self.pending.fresh_id();
        let deadline = asker.now + self.timeout;
        let mut lookup = Box::new(Lookup {
            key,
            qtype: asker.query.qtype,
            flags: asker.query.flags & (flag::RD | flag::CD),
            dnssec_ok: asker.query.dnssec_ok(),
            waiters: Vec::new(),
            deadline,
            wake: deadline,
            asks: Vec::new(),
            asked: 0,
            order: Vec::new(),
            next: 0,
            abreast: 0,
            pauses: 0,
            failed: 0,
            without_edns: 0,
            failure: None,
            network_error: false,
        });
        self.pending.announce(id, &lookup);
        self.pending.join(id, &mut lookup, waiter);
        self.start(id, lookup, asker.now);
    }

    fn overflow(&mut self, asker: &Asker<'_>) {
        self.counters.overflowed += 1;
        let error = ExtendedError::new(ExtendedError::OTHER, "too many queries wait");
        let stored = Builder::new(asker.query.question).finish(rcode::SERVFAIL, Some(error));
        self.answer_now(asker, &stored, AnswerSource::Nobody);
    }

    fn answer_now(&mut self, asker: &Asker<'_>, stored: &Stored, source: AnswerSource) {
        let message = stored.render(asker.shape, asker.spelled(), 0);
        let (token, carrier) = (asker.token, asker.shape.carrier);
        self.answers.push_back(Answer { token, carrier, message });
        if self.log_queries {
            self.log(asker, stored.rcode, stored.addresses(), source);
        }
    }

    fn log(&mut self, asker: &Asker<'_>, rcode: u16, addresses: Vec<IpAddr>, source: AnswerSource) {
        self.report(DnsEvent::Answered {
            token: asker.token,
            name: text(asker.query.name.as_bytes()),
            record_type: asker.query.qtype,
            rcode,
            source,
            addresses,
            latency: std::time::Duration::ZERO,
        });
    }

    fn refuse(&mut self, token: QueryToken, shape: Shape, question: &[u8], rcode: u16) {
        self.counters.rejected += 1;
        let error = matches!(rcode, rcode::NOTIMP | rcode::REFUSED)
            .then(|| ExtendedError::new(ExtendedError::NOT_SUPPORTED, ""));
        let message = reject(shape, question, rcode, error.as_ref());
        self.answers.push_back(Answer { token, carrier: shape.carrier, message });
    }
}

/// A query with where its answer goes.
struct Asker<'a> {
    token: QueryToken,
    shape: Shape,
    query: &'a Query<'a>,
    now: Instant,
}

impl Asker<'_> {
    /// The name as the client spelled it.
    fn spelled(&self) -> &[u8] {
        &self.query.question[..self.query.question.len() - 4]
    }

    /// The flags that make answers different.
    fn cache_flags(&self) -> u8 {
        let dnssec = if self.query.dnssec_ok() { DNSSEC_OK } else { 0 };
        let checking = if self.query.has(flag::CD) { CHECKING_DISABLED } else { 0 };
        dnssec | checking
    }

    /// What makes it the same question as another one under way.
    fn key(&self) -> Key {
        let recursion = if self.query.has(flag::RD) { 0 } else { NO_RECURSION };
        let flags = self.cache_flags() | recursion;
        Key::new(&self.query.name, self.query.qtype, self.query.qclass, flags)
    }
}

type Counted = fn(&mut crate::DnsCounters) -> &mut u64;

/// The code that refuses what a forwarder does not do.
fn refusal(query: &Query<'_>) -> Option<u16> {
    if query.qclass != rtype::CLASS_IN {
        return Some(rcode::REFUSED);
    }
    match query.qtype {
        // An OPT record is no data, and neither is type zero.
        0 | rtype::OPT => Some(rcode::FORMERR),
        // Transfers, keys and signatures of transactions, and mail types long obsolete.
        rtype::FIRST_META..rtype::ANY => Some(rcode::REFUSED),
        _ => None,
    }
}

fn local_answer(question: &[u8], verdict: Verdict) -> Stored {
    let mut builder = Builder::new(question);
    match verdict {
        Verdict::Addresses(addresses, ttl) => {
            for address in addresses {
                match address {
                    IpAddr::V4(address) => builder.answer(rtype::A, ttl, &address.octets()),
                    IpAddr::V6(address) => builder.answer(rtype::AAAA, ttl, &address.octets()),
                }
            }
            builder.finish(rcode::NOERROR, None)
        }
        Verdict::Pointer(name, ttl) => {
            let name: &DnsName = &name;
            builder.answer(rtype::PTR, ttl, &wire_name(name));
            builder.finish(rcode::NOERROR, None)
        }
        Verdict::NoData => no_data(question, LOCAL_TTL),
        Verdict::NoName => {
            builder.soa(1, LOCAL_TTL);
            builder.finish(rcode::NXDOMAIN, None)
        }
    }
}

fn no_data(question: &[u8], ttl: u32) -> Stored {
    let mut builder = Builder::new(question);
    builder.soa(0, ttl);
    builder.finish(rcode::NOERROR, None)
}
