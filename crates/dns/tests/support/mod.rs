//! A name server on a virtual clock, between a scripted guest and scripted upstreams.
//!
//! Messages of the guest and of upstreams are written by hand; answers are read by hickory, so
//! that two independent readings must agree.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use portreeve_dns::{Answer, Carrier, DnsEvent, DnsServer, ExchangeId, QueryToken, UpstreamOp};
use portreeve_types::{DnsConfig, Instant, Limits, NameServerAddr};

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const HTTPS: u16 = 65;

pub struct Scene {
    pub server: DnsServer,
    pub now: Instant,
    /// Questions in the order they were asked, not yet looked at.
    pub asked: VecDeque<Asked>,
    /// Exchanges that are neither cancelled nor failed.
    pub open: BTreeMap<ExchangeId, SocketAddr>,
    pub answers: VecDeque<Answer>,
    pub events: Vec<DnsEvent>,
}

#[derive(Clone, Debug)]
pub struct Asked {
    pub exchange: ExchangeId,
    pub server: SocketAddr,
    pub carrier: Carrier,
    pub message: Vec<u8>,
    pub at: Instant,
}

pub fn config(upstreams: usize) -> DnsConfig {
    let upstreams = (0..upstreams).map(|nth| NameServerAddr(upstream(nth))).collect();
    DnsConfig { upstreams: Some(upstreams), ..DnsConfig::default() }
}

pub fn upstream(nth: usize) -> SocketAddr {
    ([192, 0, 2, nth as u8 + 1], 53).into()
}

impl Scene {
    pub fn new(upstreams: usize) -> Self {
        Self::with(&config(upstreams), &Limits::default())
    }

    pub fn with(config: &DnsConfig, limits: &Limits) -> Self {
        config.validate().expect("a valid configuration");
        Self {
            server: DnsServer::new(config, limits, [7, 11]),
            now: Instant::from_micros(1_000_000),
            asked: VecDeque::new(),
            open: BTreeMap::new(),
            answers: VecDeque::new(),
            events: Vec::new(),
        }
    }

    pub fn send(&mut self, message: &[u8]) {
        self.send_as(QueryToken(1), Carrier::Udp, message);
    }

    pub fn send_as(&mut self, token: QueryToken, carrier: Carrier, message: &[u8]) {
        self.server.handle_query(token, carrier, message, self.now);
        self.drain();
    }

    pub fn reply(&mut self, asked: &Asked, message: &[u8]) {
        self.server.handle_response(asked.exchange, message, self.now);
        self.drain();
    }

    pub fn fail(&mut self, asked: &Asked) {
        self.open.remove(&asked.exchange);
        self.server.handle_failure(asked.exchange, self.now);
        self.drain();
    }

    /// Lets time pass, from deadline to deadline.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.server.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
            self.drain();
            assert!(self.server.poll_timeout().is_none_or(|next| next > self.now));
        }
        self.now = end;
    }

    pub fn millis(&mut self, millis: u64) {
        self.pass(Duration::from_millis(millis));
    }

    /// Takes everything the server has to give.
    pub fn drain(&mut self) {
        while let Some(op) = self.server.poll_op() {
            match op {
                UpstreamOp::Ask { exchange, server, carrier, message } => {
                    assert!(self.open.insert(exchange, server).is_none(), "names are used once");
                    Message::from_vec(&message).expect("a well-formed question");
                    self.asked.push_back(Asked {
                        exchange,
                        server,
                        carrier,
                        message,
                        at: self.now,
                    });
                }
                UpstreamOp::Cancel { exchange } => {
                    assert!(
                        self.open.remove(&exchange).is_some(),
                        "only what is open is cancelled"
                    );
                }
            }
        }
        while let Some(answer) = self.server.poll_answer() {
            Message::from_vec(&answer.message).expect("a well-formed answer");
            self.answers.push_back(answer);
        }
        while let Some(event) = self.server.poll_event() {
            self.events.push(event);
        }
    }

    /// The one question that has been asked since the last.
    pub fn asked(&mut self) -> Asked {
        let asked = self.asked.pop_front().expect("a question to an upstream");
        assert!(self.asked.is_empty(), "only one question: {:?}", self.asked);
        asked
    }

    /// The one answer since the last.
    pub fn answer(&mut self) -> Message {
        let answer = self.answers.pop_front().expect("an answer");
        assert!(self.answers.is_empty(), "only one answer");
        Message::from_vec(&answer.message).expect("a well-formed answer")
    }

    pub fn nothing_asked(&self) {
        assert!(self.asked.is_empty(), "{:?}", self.asked);
    }

    /// Everything is over: nobody waits, nothing is open.
    pub fn quiet(&self) {
        assert_eq!(self.server.waiting(), 0);
        assert!(self.open.is_empty(), "{:?}", self.open);
        assert_eq!(self.server.poll_timeout(), None);
    }

    /// Asks for a name and lets the upstream answer with one address.
    pub fn resolve(&mut self, name: &str, address: [u8; 4], ttl: u32) -> Message {
        self.send(&query(name, A));
        let asked = self.asked();
        self.reply(&asked, &Reply::to(&asked).record(A, ttl, &address).done());
        self.answer()
    }
}

pub fn wire(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// A query with id 0x1234 and RD.
pub fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0".to_vec();
    message.extend_from_slice(&wire(name));
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// Adds an OPT record.
pub fn with_edns(mut message: Vec<u8>, payload: u16, dnssec_ok: bool, options: &[u8]) -> Vec<u8> {
    message[11] += 1;
    message.extend_from_slice(b"\0\0\x29");
    message.extend_from_slice(&payload.to_be_bytes());
    message.extend_from_slice(&[0, 0, u8::from(dnssec_ok) << 7, 0]);
    message.extend_from_slice(&(options.len() as u16).to_be_bytes());
    message.extend_from_slice(options);
    message
}

/// A response, record by record; records go to the answer section until [`Reply::authority`].
#[derive(Clone)]
pub struct Reply {
    message: Vec<u8>,
    section: usize,
}

impl Reply {
    pub fn to(asked: &Asked) -> Self {
        let question =
            asked.message[12..].iter().position(|&octet| octet == 0).expect("a name") + 17;
        let mut message = asked.message[..question].to_vec();
        message[2..4].copy_from_slice(&[0x81, 0x80]);
        message[6..12].fill(0);
        Self { message, section: 6 }
    }

    pub fn edit(mut self, edit: impl FnOnce(&mut Vec<u8>)) -> Self {
        edit(&mut self.message);
        self
    }

    pub fn rcode(self, code: u8) -> Self {
        self.edit(|message| message[3] = 0x80 | code)
    }

    pub fn truncated(self) -> Self {
        self.edit(|message| message[2] |= 2)
    }

    pub fn authority(mut self) -> Self {
        self.section = 8;
        self
    }

    pub fn additional(mut self) -> Self {
        self.section = 10;
        self
    }

    /// A record of the name asked for, by a pointer.
    pub fn record(self, kind: u16, ttl: u32, data: &[u8]) -> Self {
        self.of(&[0xc0, 12], kind, ttl, data)
    }

    pub fn of(mut self, owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Self {
        self.message.extend_from_slice(owner);
        self.message.extend_from_slice(&kind.to_be_bytes());
        self.message.extend_from_slice(&[0, 1]);
        self.message.extend_from_slice(&ttl.to_be_bytes());
        self.message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.message.extend_from_slice(data);
        let count =
            u16::from_be_bytes([self.message[self.section], self.message[self.section + 1]]);
        self.message[self.section..self.section + 2].copy_from_slice(&(count + 1).to_be_bytes());
        self
    }

    /// The SOA record that a negative answer has.
    pub fn soa(self, ttl: u32, minimum: u32) -> Self {
        let mut data = [wire("ns.test"), wire("admin.test")].concat();
        for field in [1, 2, 3, 4, minimum] {
            data.extend_from_slice(&u32::to_be_bytes(field));
        }
        self.authority().of(&wire("test"), SOA, ttl, &data)
    }

    pub fn edns(mut self, options: &[u8]) -> Self {
        self.message = with_edns(self.message, 1232, false, options);
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.message
    }
}

pub fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

pub fn addresses(message: &Message) -> Vec<IpAddr> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// The code of the Extended DNS Error in an answer.
pub fn extended_error(message: &Message) -> Option<u16> {
    let edns = message.edns.as_ref()?;
    let option = edns.option(hickory_proto::rr::rdata::opt::EdnsCode::Unknown(15))?;
    let data: Vec<u8> = option.try_into().ok()?;
    Some(u16::from_be_bytes([data[0], data[1]]))
}
