//! The language in which a capture says which frames it wants.
//!
//! Owns its grammar and its meaning. A small part of what pcap-filter(7) offers, with two words
//! that only an engine can know: who sent the frame, and whether it was dropped.
//!
//! ```text
//! filter := term { "or" term }
//! term   := factor { "and" factor }
//! factor := "not" factor | "(" filter ")" | test
//! test   := "arp" | "ip" | "ip6" | "tcp" | "udp" | "icmp" | "icmp6" | "dropped"
//!         | "from" "guest" | "to" "guest"
//!         | [ "src" | "dst" ] ( "host" ADDRESS | "net" PREFIX | "port" NUMBER )
//! ```

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use portreeve_wire::ethernet::{EtherType, EthernetHeader};
use portreeve_wire::packet::{IpPacket, Protocol};

/// Which frames a capture takes; all of them by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureFilter(Option<Test>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Arp,
    Ip { v6: bool },
    Protocol(u8),
    Direction { from_guest: bool },
    Dropped,
    Net(Side, IpNet),
    Port(Side, u16),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

/// The text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("capture filter: {what}{}; for example: tcp and port 80, host 10.0.0.2, from guest and dropped", At(.at))]
pub struct CaptureFilterError {
    what: &'static str,
    /// The word, or `None` at the end.
    at: Option<String>,
}

struct At<'a>(&'a Option<String>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(word) => write!(f, " at `{}`", word.escape_debug()),
            None => f.write_str(" at its end"),
        }
    }
}

/// What a filter can ask of a frame. What cannot be read of it matches nothing.
struct Facts {
    ethertype: Option<EtherType>,
    packet: Option<IpPacket>,
    ports: Option<(u16, u16)>,
    from_guest: bool,
    dropped: bool,
}

/// Whether a frame is wanted, before it is known what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// If it is not dropped.
    pub(crate) passed: bool,
    /// If it is.
    pub(crate) dropped: bool,
}

impl CaptureFilter {
    /// Whether the frame is wanted.
    pub(crate) fn wants(&self, frame: &[u8], from_guest: bool) -> Wanted {
        let Some(test) = &self.0 else { return Wanted { passed: true, dropped: true } };
        let mut facts = Facts::read(frame, from_guest);
        let passed = test.holds(&facts);
        facts.dropped = true;
        Wanted { passed, dropped: test.holds(&facts) }
    }
}

impl FromStr for CaptureFilter {
    type Err = CaptureFilterError;

    fn from_str(text: &str) -> Result<Self, CaptureFilterError> {
        if text.len() > MAX_LEN {
            return Err(CaptureFilterError { what: "it is too long", at: None });
        }
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        if words.is_empty() {
            return Ok(Self(None));
        }
        let mut parser = Parser { words: &words, depth: 0 };
        let test = parser.filter()?;
        match parser.words.first() {
            None => Ok(Self(Some(test))),
            Some(_) => Err(parser.wrong("`and` or `or` is missing")),
        }
    }
}

impl Facts {
    fn read(frame: &[u8], from_guest: bool) -> Self {
        let ethertype = EthernetHeader::parse(frame).map(|header| header.ethertype);
        let above = frame.get(ETHERNET_HEADER_LEN..).unwrap_or_default();
        let packet = match ethertype {
            Some(EtherType::Ipv4) => IpPacket::parse_v4(above).ok(),
            Some(EtherType::Ipv6) => IpPacket::parse_v6(above).ok(),
            _ => None,
        };
        let ports = packet.as_ref().and_then(|packet| ports(packet, above));
        Self { ethertype, packet, ports, from_guest, dropped: false }
    }
}

/// TCP and UDP begin with them; fragments other than the first have none.
fn ports(packet: &IpPacket, bytes: &[u8]) -> Option<(u16, u16)> {
    let has_ports = matches!(packet.protocol, Protocol::TCP | Protocol::UDP)
        && packet.fragment.is_none_or(|fragment| fragment.offset == 0);
    let head: &[u8; 4] = bytes.get(packet.payload.clone())?.first_chunk()?;
    let [s0, s1, d0, d1] = *head;
    has_ports.then(|| (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}

impl Test {
    fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::Arp => facts.ethertype == Some(EtherType::Arp),
            Self::Ip { v6: false } => facts.ethertype == Some(EtherType::Ipv4),
            Self::Ip { v6: true } => facts.ethertype == Some(EtherType::Ipv6),
            Self::Protocol(protocol) => {
                facts.packet.as_ref().is_some_and(|packet| packet.protocol == *protocol)
            }
            Self::Direction { from_guest } => facts.from_guest == *from_guest,
            Self::Dropped => facts.dropped,
            Self::Net(side, net) => facts.packet.as_ref().is_some_and(|packet| {
                side.any(&packet.source, &packet.destination, |address| net.contains(address))
            }),
            Self::Port(side, port) => facts.ports.is_some_and(|(source, destination)| {
                side.any(&source, &destination, |other| other == port)
            }),
            Self::Not(test) => !test.holds(facts),
            Self::And(one, other) => one.holds(facts) && other.holds(facts),
            Self::Or(one, other) => one.holds(facts) || other.holds(facts),
        }
    }
}

impl Side {
    fn any<T>(self, source: &T, destination: &T, test: impl Fn(&T) -> bool) -> bool {
        (self != Self::Destination && test(source)) || (self != Self::Source && test(destination))
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn filter(&mut self) -> Result<Test, CaptureFilterError> {
        let mut test = self.term()?;
        while self.take("or") {
            test = Test::Or(Box::new(test), Box::new(self.term()?));
        }
        Ok(test)
    }

    fn term(&mut self) -> Result<Test, CaptureFilterError> {
        let mut test = self.factor()?;
        while self.take("and") {
            test = Test::And(Box::new(test), Box::new(self.factor()?));
        }
        Ok(test)
    }

    fn factor(&mut self) -> Result<Test, CaptureFilterError> {
        // A filter is evaluated by recursion.
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("it is nested too deeply"));
        }
        let test = if self.take("not") {
            Test::Not(Box::new(self.factor()?))
        } else if self.take("(") {
            let inner = self.filter()?;
            if !self.take(")") {
                return Err(self.wrong("`)` is missing"));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(test)
    }

    fn test(&mut self) -> Result<Test, CaptureFilterError> {
        let Some(word) = self.next() else { return Err(self.wrong("a word is missing")) };
        let test = match word {
            "arp" => Test::Arp,
            "ip" => Test::Ip { v6: false },
            "ip6" => Test::Ip { v6: true },
            "tcp" => Test::Protocol(Protocol::TCP),
            "udp" => Test::Protocol(Protocol::UDP),
            "icmp" => Test::Protocol(Protocol::ICMP),
            "icmp6" => Test::Protocol(Protocol::ICMPV6),
            "dropped" => Test::Dropped,
            "from" | "to" if self.take("guest") => Test::Direction { from_guest: word == "from" },
            "from" | "to" => return Err(self.wrong("`guest` must follow")),
            "src" => return self.endpoint(Side::Source),
            "dst" => return self.endpoint(Side::Destination),
            _ => {
                let fault = CaptureFilterError { what: "unknown word", at: Some(word.to_owned()) };
                return self.endpoint_of(word, Side::Either).unwrap_or(Err(fault));
            }
        };
        Ok(test)
    }

    fn endpoint(&mut self, side: Side) -> Result<Test, CaptureFilterError> {
        let word = self.next().unwrap_or_default();
        let wrong = self.wrong("`host`, `net` or `port` must follow");
        self.endpoint_of(word, side).unwrap_or(Err(wrong))
    }

    /// `None` when the word is none of an endpoint.
    fn endpoint_of(&mut self, word: &str, side: Side) -> Option<Result<Test, CaptureFilterError>> {
        let test = match word {
            "host" => self.value("not an address").map(|host: IpAddr| Test::Net(side, host.into())),
            "net" => self.value("not a prefix such as 10.0.0.0/8").map(|net| Test::Net(side, net)),
            "port" => self.value("not a port").map(|port| Test::Port(side, port)),
            _ => return None,
        };
        Some(test)
    }

    fn value<T: FromStr>(&mut self, what: &'static str) -> Result<T, CaptureFilterError> {
        let word = self.next();
        let at = word.map(str::to_owned);
        word.and_then(|word| word.parse().ok()).ok_or(CaptureFilterError { what, at })
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn wrong(&self, what: &'static str) -> CaptureFilterError {
        CaptureFilterError { what, at: self.words.first().map(|&word| word.to_owned()) }
    }
}

const ETHERNET_HEADER_LEN: usize = 14;
const MAX_LEN: usize = 1024;
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_wire::ethernet::EthernetHeader;

    /// A TCP packet from 10.0.0.2:1000 to 192.0.2.1:80.
    fn segment() -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 20];
        EthernetHeader { destination: [2; 6], source: [4; 6], ethertype: EtherType::Ipv4 }
            .emit(&mut frame);
        let ip = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 192, 0, 2, 1];
        frame[14..34].copy_from_slice(&ip);
        let sum = portreeve_wire::checksum::finish(portreeve_wire::checksum::sum(&ip));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame[34..38].copy_from_slice(&[1000u16.to_be_bytes(), 80u16.to_be_bytes()].concat());
        frame
    }

    #[test]
    fn filters_mean_what_they_say() {
        let frame = segment();
        for (text, expected) in [
            ("", true),
            ("tcp", true),
            ("udp or arp", false),
            ("ip and tcp and port 80", true),
            ("src port 80", false),
            ("dst port 80 and src port 1000", true),
            ("host 10.0.0.2", true),
            ("dst host 10.0.0.2", false),
            ("net 192.0.2.0/24 and not port 22", true),
            ("not (tcp or udp)", false),
            ("arp or tcp and dropped", false),
            ("(arp or tcp) and from guest", true),
            ("to guest", false),
            ("ip6 or icmp6 or icmp", false),
            ("host ::1", false),
        ] {
            let filter: CaptureFilter = text.parse().unwrap();
            assert_eq!(filter.wants(&frame, true).passed, expected, "{text}");
        }
        let dropped: CaptureFilter = "dropped".parse().unwrap();
        let wanted = Wanted { passed: false, dropped: true };
        assert_eq!(dropped.wants(&[], true), wanted, "what cannot be read can still be dropped");
        let tcp: CaptureFilter = "tcp".parse().unwrap();
        assert_eq!(tcp.wants(&frame[..20], true), Wanted { passed: false, dropped: false });
    }

    #[test]
    fn wrong_filters_are_shown_where_they_are_wrong() {
        for (text, word) in [
            ("tcp udp", "`and` or `or` is missing at `udp`"),
            ("tcp and", "a word is missing at its end"),
            ("port http", "not a port at `http`"),
            ("port 70000", "not a port at `70000`"),
            ("host example.org", "not an address at `example.org`"),
            ("net 10/8", "not a prefix such as 10.0.0.0/8 at `10/8`"),
            ("from host", "`guest` must follow at `host`"),
            ("src tcp", "`host`, `net` or `port` must follow"),
            ("(tcp", "`)` is missing at its end"),
            ("tpc", "unknown word at `tpc`"),
            ("tcp)", "is missing at `)`"),
        ] {
            let error = text.parse::<CaptureFilter>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let deep = "(".repeat(100) + "tcp" + &")".repeat(100);
        assert!(deep.parse::<CaptureFilter>().unwrap_err().to_string().contains("nested"));
        let many = vec!["tcp"; 120].join(" and ");
        assert!(many.parse::<CaptureFilter>().is_ok());
    }
}
