//! Questions to upstreams: whom to ask and when, and whether to believe the answer.
//!
//! A lookup asks the best upstream; when that is slow, the next one too (racing), and after a
//! pause, doubled each time, whoever is next. A failure is followed by the next upstream at once.
//! Spec: RFC 5452 §9 (forged answers), RFC 7766 §5 (truncation), RFC 6891 §7 (servers without
//! EDNS), draft-vixie-dnsext-dns0x20 §3 (case).

use std::time::Duration;

use portreeve_types::Instant;

use super::DnsServer;
use super::settle::Progress;
use crate::limits::{ASKS_PER_LOOKUP, MISMATCHES_UNTIL_TCP, OPEN_ASKS, RETRY};
use crate::pending::{Ask, Case, Lookup};
use crate::wire::{Echo, Response, ask, echo, flag, rcode, text, u16_at};
use crate::{Carrier, DnsEvent, ExchangeId, UpstreamOp};

impl DnsServer {
    /// A message came from where a question went. It is believed only if it matches, and ignored
    /// otherwise; the exchange goes on until it is cancelled.
    pub fn handle_response(&mut self, exchange: ExchangeId, message: &[u8], now: Instant) {
        let Some((id, mut lookup, at)) = self.take_ask(exchange) else {
            self.counters.late_responses += 1;
            return;
        };
        let progress = self.judge(id, &mut lookup, at, message, now);
        self.resume(id, lookup, progress, now);
    }

    /// A question could not be asked, or the upstream refused it or closed the connection. The
    /// exchange is over.
    pub fn handle_failure(&mut self, exchange: ExchangeId, now: Instant) {
        let Some((id, mut lookup, at)) = self.take_ask(exchange) else { return };
        self.counters.upstream_failures += 1;
        lookup.network_error = true;
        let ask = lookup.asks.remove(at);
        self.pending.close(exchange);
        // Not being able to use TCP, or a probe, says little about the upstream.
        if ask.carrier == Carrier::Udp && !ask.charged {
            self.charge(ask.server, now);
        }
        let progress = self.after_failure(id, &mut lookup, ask.server, now);
        self.resume(id, lookup, progress, now);
    }

    /// Begins to ask.
    pub(super) fn start(&mut self, id: u64, mut lookup: Box<Lookup>, now: Instant) {
        lookup.order = self.upstreams.order(now);
        let progress = self.ask_next(id, &mut lookup, now);
        self.resume(id, lookup, progress, now);
    }

    /// Lets a lookup begin anew, at upstreams that have changed, as soon as the time is known.
    pub(super) fn restart_later(&mut self, id: u64) {
        let Some(mut lookup) = self.pending.take(id) else { return };
        self.cancel_all(&mut lookup);
        lookup.order.clear();
        (lookup.next, lookup.asked, lookup.abreast, lookup.pauses) = (0, 0, 0, 0);
        (lookup.failed, lookup.failure, lookup.network_error) = (0, None, false);
        lookup.without_edns = 0;
        lookup.wake = Instant::ZERO;
        self.pending.put(id, lookup);
    }

    /// A lookup has waited long enough for something.
    pub(super) fn wake(&mut self, id: u64, now: Instant) {
        let Some(mut lookup) = self.pending.take(id) else { return };
        if now >= lookup.deadline {
            self.charge_all(&mut lookup, now);
            return self.resume(id, lookup, Progress::GaveUp, now);
        }
        if lookup.order.is_empty() {
            return self.start(id, lookup, now);
        }
        if lookup.abreast == 0 {
            self.charge_all(&mut lookup, now);
        }
        let progress = self.ask_next(id, &mut lookup, now);
        self.resume(id, lookup, progress, now);
    }

    /// Closes every question of a lookup.
    pub(super) fn cancel_all(&mut self, lookup: &mut Lookup) {
        for ask in lookup.asks.drain(..) {
            self.pending.close(ask.exchange);
            self.ops.push_back(UpstreamOp::Cancel { exchange: ask.exchange });
        }
    }

    fn take_ask(&mut self, exchange: ExchangeId) -> Option<(u64, Box<Lookup>, usize)> {
        let id = self.pending.owner(exchange)?;
        let lookup = self.pending.take(id)?;
        let at = lookup.asks.iter().position(|ask| ask.exchange == exchange);
        if at.is_none() {
            self.pending.put(id, lookup);
            return None;
        }
        Some((id, lookup, at?))
    }

    /// Whether a message is the answer to an open question, and what follows.
    fn judge(
        &mut self,
        id: u64,
        lookup: &mut Lookup,
        at: usize,
        message: &[u8],
        now: Instant,
    ) -> Progress {
        let ask = &mut lookup.asks[at];
        let (server, since) = (ask.server, ask.since);
        let found = match echo(message, ask.id, &ask.question) {
            // There was nothing in the case to know.
            Echo::CaseChanged if matches!(ask.case, Case::Plain | Case::Probe) => Echo::Sound,
            found => found,
        };
        match found {
            Echo::Foreign => return self.mismatch(id, lookup, at, now),
            Echo::CaseChanged => {
                self.counters.case_mismatches += 1;
                if ask.case == Case::Random {
                    ask.case = Case::Questioned;
                    self.ask(id, lookup, server, Carrier::Udp, Case::Probe, now);
                }
                return Progress::Waiting;
            }
            Echo::WithoutQuestion | Echo::Sound => {}
        }
        if self.upstreams.answered(server, now.since(since)) {
            let server = self.upstreams.get(server).address;
            self.report(DnsEvent::UpstreamUp { server });
        }
        let ask = lookup.asks.remove(at);
        self.close(&ask);
        if ask.case == Case::Probe {
            self.learn_case(server);
        }
        self.read(id, lookup, &ask, message, now)
    }

    /// Reads a message that answers a question, which is over.
    fn read(
        &mut self,
        id: u64,
        lookup: &mut Lookup,
        ask: &Ask,
        message: &[u8],
        now: Instant,
    ) -> Progress {
        let (server, carrier) = (ask.server, ask.carrier);
        let flags = u16_at(message, 2).unwrap_or(0);
        let response = Response::read(message, ask.question.len()).ok();
        let knows_edns = response.as_ref().is_some_and(|response| response.edns.is_some());
        // RFC 6891 §7: a server that does not know EDNS says so by one of these, without OPT.
        if ask.with_edns
            && !knows_edns
            && matches!(flags & flag::RCODE, rcode::FORMERR | rcode::NOTIMP)
        {
            lookup.without_edns |= 1 << server;
            return self.ask_again(id, lookup, server, carrier, now);
        }
        if carrier == Carrier::Udp && flags & flag::TC != 0 {
            self.counters.upstream_truncated += 1;
            return self.ask_again(id, lookup, server, Carrier::Tcp, now);
        }
        if response.is_none() {
            self.counters.malformed_responses += 1;
        }
        match response.and_then(|response| self.usable(lookup, response, server, now)) {
            Some(stored) => {
                // Only now is it known that EDNS was the reason.
                if lookup.without_edns & 1 << server != 0 && !ask.with_edns {
                    self.upstreams.get_mut(server).takes_edns = false;
                }
                Progress::Answered(stored, server)
            }
            None => self.after_failure(id, lookup, server, now),
        }
    }

    /// A probe in lower case was answered while the question with mixed case was not: the upstream
    /// does not keep the case.
    fn learn_case(&mut self, server: usize) {
        let upstream = self.upstreams.get_mut(server);
        upstream.keeps_case = false;
        let server = upstream.address;
        self.report(DnsEvent::UpstreamChangesCase { server });
    }

    /// A message that answers something else came.
    fn mismatch(&mut self, id: u64, lookup: &mut Lookup, at: usize, now: Instant) -> Progress {
        self.counters.mismatched_responses += 1;
        let ask = &mut lookup.asks[at];
        let server = ask.server;
        if ask.carrier == Carrier::Tcp {
            // Only the upstream itself can say that.
            let ask = lookup.asks.remove(at);
            self.close(&ask);
            return self.after_failure(id, lookup, server, now);
        }
        ask.mismatches = ask.mismatches.saturating_add(1);
        if ask.mismatches == MISMATCHES_UNTIL_TCP {
            let name = text(lookup.key.question());
            let address = self.upstreams.get(server).address;
            self.report(DnsEvent::ForgerySuspected { name, server: address });
            self.ask(id, lookup, server, Carrier::Tcp, Case::Plain, now);
        }
        Progress::Waiting
    }

    /// Asks the same upstream in another way, or counts it as failed when that is too often.
    fn ask_again(
        &mut self,
        id: u64,
        lookup: &mut Lookup,
        server: usize,
        carrier: Carrier,
        now: Instant,
    ) -> Progress {
        if self.ask(id, lookup, server, carrier, Case::Random, now) {
            return Progress::Waiting;
        }
        self.after_failure(id, lookup, server, now)
    }

    /// An upstream will not answer this question: the next one, unless one is still being asked.
    fn after_failure(
        &mut self,
        id: u64,
        lookup: &mut Lookup,
        server: usize,
        now: Instant,
    ) -> Progress {
        lookup.failed |= 1 << server;
        if let Some(next) = lookup.next_idle_server()
            && self.ask(id, lookup, next, Carrier::Udp, Case::Random, now)
        {
            self.plan(lookup, next, now);
            return Progress::Waiting;
        }
        if lookup.asks.is_empty() { Progress::GaveUp } else { Progress::Waiting }
    }

    /// Asks the next upstream in turn, and plans what follows when nothing comes.
    fn ask_next(&mut self, id: u64, lookup: &mut Lookup, now: Instant) -> Progress {
        if let Some(server) = lookup.next_server()
            && self.ask(id, lookup, server, Carrier::Udp, Case::Random, now)
        {
            self.plan(lookup, server, now);
            return Progress::Waiting;
        }
        if lookup.asks.is_empty() {
            return Progress::GaveUp;
        }
        lookup.wake = lookup.deadline;
        Progress::Waiting
    }

    fn plan(&self, lookup: &mut Lookup, server: usize, now: Instant) {
        lookup.abreast += 1;
        let wait = if lookup.abreast < self.upstreams.abreast().min(lookup.order.len() as u32) {
            self.upstreams.get(server).patience()
        } else {
            lookup.abreast = 0;
            lookup.pauses += 1;
            RETRY.saturating_mul(1 << (lookup.pauses - 1).min(8))
        };
        lookup.wake = (now + wait).min(lookup.deadline);
    }

    /// Opens a question, unless there have been too many; the oldest open one makes room for it.
    fn ask(
        &mut self,
        id: u64,
        lookup: &mut Lookup,
        server: usize,
        carrier: Carrier,
        case: Case,
        now: Instant,
    ) -> bool {
        if lookup.asked >= ASKS_PER_LOOKUP {
            return false;
        }
        lookup.asked += 1;
        if lookup.asks.len() >= OPEN_ASKS {
            let oldest = lookup.asks.remove(0);
            self.close(&oldest);
        }
        let upstream = self.upstreams.get(server);
        let address = upstream.address;
        let with_edns = upstream.takes_edns && lookup.without_edns & 1 << server == 0;
        // Over TCP nobody off the path can answer, and the case has nothing to protect.
        let random = self.randomise_case && upstream.keeps_case && carrier == Carrier::Udp;
        let case = if case == Case::Random && !random { Case::Plain } else { case };
        let mut question = Vec::from(lookup.key.question());
        if case == Case::Random {
            let name = question.len() - 4;
            self.random.mix_case(&mut question[..name]);
        }
        // Sixteen of the bits are as unpredictable as all.
        let transaction = self.random.next_u64() as u16;
        self.last_exchange += 1;
        let exchange = ExchangeId(self.last_exchange);
        let dnssec_ok = with_edns.then_some(lookup.dnssec_ok);
        let message = ask(transaction, lookup.flags, &question, dnssec_ok);
        self.pending.open(exchange, id);
        self.counters.upstream_asks += 1;
        self.ops.push_back(UpstreamOp::Ask { exchange, server: address, carrier, message });
        lookup.asks.push(Ask {
            exchange,
            server,
            carrier,
            id: transaction,
            question: question.into(),
            since: now,
            with_edns,
            case,
            charged: false,
            mismatches: 0,
        });
        true
    }

    fn close(&mut self, ask: &Ask) {
        self.pending.close(ask.exchange);
        self.ops.push_back(UpstreamOp::Cancel { exchange: ask.exchange });
    }

    /// Counts the silence of every upstream that is being asked against it, once.
    fn charge_all(&mut self, lookup: &mut Lookup, now: Instant) {
        for ask in &mut lookup.asks {
            // One that has only just been asked is not silent.
            if !ask.charged && now.since(ask.since) >= SILENCE {
                ask.charged = true;
                self.counters.upstream_timeouts += 1;
                self.charge(ask.server, now);
            }
        }
    }

    fn charge(&mut self, server: usize, now: Instant) {
        if self.upstreams.failed(server, now) {
            let server = self.upstreams.get(server).address;
            self.report(DnsEvent::UpstreamDown { server });
        }
    }
}

/// An upstream that has not answered for so long counts as silent.
const SILENCE: Duration = RETRY;
