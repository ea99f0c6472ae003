//! How a lookup ends: with an upstream's answer, made safe, or with a failure that says why.
//!
//! Spec: RFC 2308 §7 and RFC 9520 (failures), RFC 8914 §4.23–4.24 (why nobody answered).

use portreeve_types::Instant;

use super::DnsServer;
use crate::key::NO_RECURSION;
use crate::limits::{LOCAL_TTL, SERVFAIL_TTL, UNREACHABLE_TTL};
use crate::pending::Lookup;
use crate::wire::{Builder, ExtendedError, Response, Section, Stored, WireName, rcode, text};
use crate::{Answer, AnswerSource, DnsEvent};

/// Where a lookup stands after something has happened to it.
pub(super) enum Progress {
    /// An upstream is being asked.
    Waiting,
    /// This upstream gave the answer.
    Answered(Stored, usize),
    /// No upstream will.
    GaveUp,
}

impl DnsServer {
    /// Puts a lookup back, or ends it.
    pub(super) fn resume(
        &mut self,
        id: u64,
        lookup: Box<Lookup>,
        progress: Progress,
        now: Instant,
    ) {
        match progress {
            Progress::Waiting => self.pending.put(id, lookup),
            Progress::Answered(stored, server) => {
                // Whoever was asked earlier and has not answered is slower than it seemed.
                for ask in &lookup.asks {
                    if ask.server != server {
                        self.upstreams.outrun(ask.server, now.since(ask.since));
                    }
                }
                let source = AnswerSource::Upstream(self.upstreams.get(server).address);
                self.counters.answered += lookup.waiters.len() as u64;
                self.finish(id, lookup, &stored, source, now);
            }
            Progress::GaveUp => {
                let mut lookup = lookup;
                let stored = lookup.failure.take().unwrap_or_else(|| unreachable_answer(&lookup));
                self.counters.failed += lookup.waiters.len() as u64;
                self.finish(id, lookup, &stored, AnswerSource::Nobody, now);
            }
        }
    }

    /// Answers everyone who waits.
    fn finish(
        &mut self,
        id: u64,
        mut lookup: Box<Lookup>,
        stored: &Stored,
        source: AnswerSource,
        now: Instant,
    ) {
        self.cancel_all(&mut lookup);
        self.pending.end(id, &lookup);
        let key = lookup.key.as_bytes();
        // What an upstream knows without asking others is not all there is to know.
        if key[key.len() - 1] & NO_RECURSION == 0 {
            self.cache.insert(key, stored, now);
        }
        let addresses = if self.log_queries { stored.addresses() } else { Vec::new() };
        for waiter in &lookup.waiters {
            let message = stored.render(waiter.shape, &waiter.name, 0);
            let (token, carrier) = (waiter.token, waiter.shape.carrier);
            self.answers.push_back(Answer { token, carrier, message });
            if self.log_queries {
                self.report(DnsEvent::Answered {
                    token,
                    name: text(lookup.key.question()),
                    record_type: lookup.qtype,
                    rcode: stored.rcode,
                    source,
                    addresses: addresses.clone(),
                    latency: now.since(waiter.since),
                });
            }
        }
    }

    /// The answer a matching response amounts to; `None` when another upstream may do better.
    pub(super) fn usable(
        &mut self,
        lookup: &mut Lookup,
        mut response: Response<'_>,
        server: usize,
        now: Instant,
    ) -> Option<Stored> {
        let question = lookup.key.question();
        if !matches!(response.rcode, rcode::NOERROR | rcode::NXDOMAIN) {
            lookup.failure = Some(upstream_failure(question, &response));
            return None;
        }
        let Ok((name, _)) = WireName::read_plain(question, 0) else { return None };
        let Ok(found) = response.find(&name, lookup.qtype) else {
            self.counters.malformed_responses += 1;
            return None;
        };
        let name = text(name.as_bytes());
        if self.guard.applies_to(&name)
            && let Some((section, address)) = self.forbidden(&response)
        {
            self.counters.rebind_blocked += 1;
            let server = self.upstreams.get(server).address;
            self.report(DnsEvent::RebindBlocked { name: name.clone(), address, server });
            if section == Section::Answer {
                return Some(withheld(question));
            }
            response.cut(section);
        }
        for &(address, ttl) in &found.addresses {
            self.names.insert(address, &name, ttl.min(crate::wire::MAX_TTL), now);
        }
        Some(Stored::from_response(&response, question, found.any))
    }

    /// The first address that may not be in an answer.
    fn forbidden(&self, response: &Response<'_>) -> Option<(Section, std::net::IpAddr)> {
        response.records.iter().find_map(|record| {
            let targets = record.targets(response.message);
            let address = targets.into_iter().find(|&address| self.guard.forbids(address))?;
            Some((record.section, address))
        })
    }
}

/// What is answered instead of an answer that points where it must not.
///
/// No data rather than a failure: filtering upstreams answer `0.0.0.0` to say just that, and the
/// other address family may well be sound.
fn withheld(question: &[u8]) -> Stored {
    let mut builder = Builder::new(question);
    builder.soa(0, LOCAL_TTL);
    let error = ExtendedError::new(ExtendedError::BLOCKED, "answer points at a local address");
    let mut stored = builder.finish(rcode::NOERROR, Some(error));
    stored.lifetime = LOCAL_TTL;
    stored
}

/// The code of an upstream that could not answer, without whatever else it said.
fn upstream_failure(question: &[u8], response: &Response<'_>) -> Stored {
    let code = match response.rcode {
        // Our question was sound and of a kind that the client may ask.
        rcode::FORMERR | rcode::NOTIMP | rcode::BADVERS => rcode::SERVFAIL,
        code => code,
    };
    let error = response
        .error
        .clone()
        .unwrap_or_else(|| ExtendedError::new(ExtendedError::OTHER, "no upstream could answer"));
    let mut stored = Builder::new(question).finish(code, Some(error));
    stored.lifetime = SERVFAIL_TTL;
    stored
}

fn unreachable_answer(lookup: &Lookup) -> Stored {
    let error = if lookup.network_error {
        ExtendedError::new(ExtendedError::NETWORK_ERROR, "no upstream could be reached")
    } else {
        ExtendedError::new(ExtendedError::NO_REACHABLE_AUTHORITY, "no upstream answered in time")
    };
    let mut stored = Builder::new(lookup.key.question()).finish(rcode::SERVFAIL, Some(error));
    stored.lifetime = UNREACHABLE_TTL;
    stored
}
