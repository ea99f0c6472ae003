//! The name server under arbitrary messages of the guest and of upstreams.
//!
//! The input is a sequence of records: a kind octet, then what it needs. Some messages are
//! arbitrary, some only begin like sound ones, so that the fuzzer gets behind the checks quickly.
//! What must hold whatever comes: no panic, state within its bounds, one answer at most for each
//! message and, once time has passed, exactly one for each that was not dropped or forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use portreeve_types::{DnsConfig, DnsStrategy, Instant, Limits, NameServerAddr, StaticRecord};

use crate::{
    Answer, Carrier, DnsCounters, DnsServer, ExchangeId, Framer, QueryToken, UpstreamOp, frame,
};

/// Feeds what `data` describes to a name server; gives what that counted, so that tests can see
/// where an input has led.
///
/// # Panics
/// When the name server does, or breaks one of its promises.
pub fn run(data: &[u8]) -> DnsCounters {
    let mut run = Run::new(Input(data));
    for _ in 0..MAX_RECORDS {
        if run.input.0.is_empty() {
            break;
        }
        run.record();
        run.drain();
        run.check();
    }
    run.pass(Duration::from_secs(120));
    run.check_end();
    *run.server.counters()
}

struct Run<'a> {
    input: Input<'a>,
    server: DnsServer,
    now: Instant,
    last_query: Instant,
    open: BTreeMap<ExchangeId, (Carrier, Vec<u8>)>,
    answers: u64,
    framer: Framer,
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn slice(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()) << 1;
        let (slice, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        slice.to_vec()
    }
}

impl<'a> Run<'a> {
    fn new(mut input: Input<'a>) -> Self {
        let flags = input.byte();
        let upstreams =
            (1..=flags % 4).map(|last| NameServerAddr(([192, 0, 2, last], 53).into())).collect();
        let config = DnsConfig {
            upstreams: Some(upstreams),
            strategy: if flags & 4 == 0 { DnsStrategy::Race } else { DnsStrategy::Failover },
            randomise_case: flags & 8 == 0,
            rebind_guard: flags & 16 == 0,
            log_queries: flags & 32 != 0,
            records: vec![StaticRecord {
                name: crate::wire::text(b"\x03box\0"),
                addresses: vec![[10, 0, 2, 15].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 15].into()],
                ttl: 5,
            }],
            ..DnsConfig::default()
        };
        let limits = Limits {
            dns_pending: 16,
            dns_cache_bytes: 8_192,
            dns_names: 8,
            event_backlog: 4,
            ..Limits::default()
        };
        Self {
            server: DnsServer::new(&config, &limits, [1, 2]),
            now: Instant::ZERO,
            last_query: Instant::ZERO,
            open: BTreeMap::new(),
            answers: 0,
            framer: Framer::new(),
            input,
        }
    }

    fn record(&mut self) {
        let kind = self.input.byte();
        let carrier = if kind & 8 == 0 { Carrier::Udp } else { Carrier::Tcp };
        let token = QueryToken(u64::from(kind >> 6));
        match kind & 7 {
            0 => {
                let message = self.input.slice();
                self.query(token, carrier, &message);
            }
            1 | 2 => {
                let message = self.sound_query();
                self.query(token, carrier, &message);
            }
            3 | 4 => self.response(kind & 16 != 0),
            5 => {
                let millis = u64::from(self.input.byte()) << (kind >> 5);
                self.pass(Duration::from_millis(millis));
            }
            6 => match self.any_open() {
                Some(exchange) if kind & 16 == 0 => {
                    self.open.remove(&exchange);
                    self.server.handle_failure(exchange, self.now);
                }
                _ => self.server.forget(token),
            },
            _ if kind & 16 == 0 => {
                let piece = self.input.slice();
                let (taken, message) = self.framer.feed(&piece);
                assert!(taken == piece.len() || message.is_some());
                if let Some(message) = message {
                    assert_eq!(frame(&message).map(|framed| framed.len()), Some(message.len() + 2));
                    self.query(token, Carrier::Tcp, &message);
                }
            }
            _ => {
                let servers = (0..self.input.byte() % 4).map(|last| ([192, 0, 2, last], 53).into());
                self.server.set_upstreams(servers.collect(), Vec::new());
            }
        }
    }

    fn query(&mut self, token: QueryToken, carrier: Carrier, message: &[u8]) {
        self.last_query = self.now;
        self.server.handle_query(token, carrier, message, self.now);
    }

    /// A query of which only what the input edits may be wrong.
    fn sound_query(&mut self) -> Vec<u8> {
        let mut message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01".to_vec();
        message[13] = b'a' + self.input.byte() % 8;
        message[21] = self.input.byte();
        if self.input.byte() & 1 != 0 {
            message[11] = 1;
            message.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
        }
        self.edit(message)
    }

    /// A response to an open question: its beginning, then the input.
    fn response(&mut self, sound: bool) {
        let Some(exchange) = self.any_open() else { return };
        let Some((_, asked)) = self.open.get(&exchange) else { return };
        let question = asked[12..].iter().position(|&octet| octet == 0).map_or(0, |at| at + 17);
        let mut message = asked[..question].to_vec();
        message[2] = 0x81;
        message[3] = 0x80;
        message[6..12].fill(0);
        let counts = self.input.byte();
        message[7] = counts & 3;
        message[9] = counts >> 2 & 3;
        message[11] = counts >> 4 & 3;
        message.extend_from_slice(&self.input.slice());
        if !sound {
            message = self.edit(message);
        }
        self.server.handle_response(exchange, &message, self.now);
    }

    /// Overwrites one octet and perhaps cuts the end off.
    fn edit(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        let (at, value) = (usize::from(self.input.byte()), self.input.byte());
        if at < message.len() {
            message[at] = value;
        }
        message.truncate(message.len().saturating_sub(usize::from(self.input.byte() & 15)));
        message
    }

    fn any_open(&mut self) -> Option<ExchangeId> {
        let nth = usize::from(self.input.byte());
        self.open.keys().nth(nth % self.open.len().max(1)).copied()
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.server.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
            assert!(self.server.poll_timeout().is_none_or(|next| next > self.now), "no progress");
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(op) = self.server.poll_op() {
            match op {
                UpstreamOp::Ask { exchange, carrier, message, .. } => {
                    assert!(self.open.insert(exchange, (carrier, message)).is_none());
                }
                UpstreamOp::Cancel { exchange } => assert!(self.open.remove(&exchange).is_some()),
            }
        }
        while let Some(Answer { message, .. }) = self.server.poll_answer() {
            self.answers += 1;
            assert!(message.len() >= 12 && message[2] & 0x80 != 0);
        }
        let mut events = 0;
        while self.server.poll_event().is_some() {
            events += 1;
        }
        assert!(events <= 4);
    }

    fn check(&self) {
        assert!(self.server.waiting() <= 16);
        let waited = self.now.since(self.last_query).as_millis();
        let in_time = waited < u128::from(Limits::default().dns_timeout_ms);
        assert!(in_time || self.server.waiting() == 0, "waiting for {waited} ms");
        assert!(self.server.cached().1 <= 8_192);
        assert!(self.server.names().len() <= 8);
        assert!(self.open.len() <= 16 * 3, "{} exchanges", self.open.len());
        let counters = self.server.counters();
        let settled = self.answers + counters.dropped + counters.forgotten;
        assert_eq!(settled + self.server.waiting() as u64, counters.queries);
    }

    fn check_end(&self) {
        self.check();
        assert_eq!(self.server.waiting(), 0);
        assert!(self.open.is_empty());
        assert_eq!(self.server.poll_timeout(), None);
    }
}

/// Enough for any interplay, and quick.
const MAX_RECORDS: usize = 512;
