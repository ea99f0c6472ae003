//! DHCPv6 messages (RFC 8415) through `dhcproto`: a client's is read, the reply written.
//!
//! Owns what the codec leaves to its user. Lists of options are taken apart one level at a time and
//! their lengths judged, since the codec nests as deep as a message says, subtracts from lengths
//! unchecked and takes what is cut off for the end; it decodes what is then known to be whole. A
//! reply's options stand in the order in which they are put: the codec's list sorts them, and turns
//! round those of one code.

use std::net::Ipv6Addr;

use dhcproto::v6::{DhcpOption, IAAddr, IANA, IATA, Message, MessageType, ORO, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};

/// A message between client and server, the lengths in it checked. Relayed ones are none.
pub(super) struct Request<'a> {
    /// What it is: one of the kinds of RFC 8415 §7.3.
    pub(super) kind: MessageType,
    /// Kind and transaction, without any option.
    fixed: Message,
    options: Vec<(OptionCode, &'a [u8])>,
}

impl<'a> Request<'a> {
    /// Reads a message; `None` when a length does not fit.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let (head, list) = message.split_at_checked(FIXED_LEN)?;
        let fixed = Message::from_bytes(head).ok()?;
        let kind = fixed.msg_type();
        (1..=11).contains(&u8::from(kind)).then_some(())?;
        Some(Self { kind, fixed, options: options(list)? })
    }

    /// The value of the first option of a code.
    pub(super) fn option(&self, wanted: OptionCode) -> Option<&'a [u8]> {
        self.options.iter().find(|&&(code, _)| code == wanted).map(|&(_, value)| value)
    }

    /// Whether the client would like to know about an option.
    pub(super) fn asks_for(&self, wanted: OptionCode) -> bool {
        let list = self.option(OptionCode::ORO).and_then(|list| ORO::from_bytes(list).ok());
        list.is_some_and(|list| list.opts.contains(&wanted))
    }

    /// The first `most` identity associations; `None` when one of them is malformed.
    pub(super) fn associations(&self, most: usize) -> Option<Vec<Association>> {
        let codes = [OptionCode::IANA, OptionCode::IATA, OptionCode::IAPD];
        let all = self.options.iter().filter(|(code, _)| codes.contains(code));
        all.take(most).map(|&(code, value)| Association::parse(code, value)).collect()
    }
}

/// An identity association as a client names it.
pub(super) struct Association {
    /// Which of the three it is.
    pub(super) code: OptionCode,
    /// The client's number for it.
    pub(super) id: u32,
    /// The addresses in it; ones that are cut off are left out.
    pub(super) addresses: Vec<Ipv6Addr>,
}

impl Association {
    fn parse(code: OptionCode, value: &[u8]) -> Option<Self> {
        let fixed = if code == OptionCode::IATA { 4 } else { 12 };
        let (head, list) = value.split_at_checked(fixed)?;
        let id = if code == OptionCode::IATA {
            IATA::from_bytes(head).ok()?.id
        } else {
            // An IA_PD begins as an IA_NA does.
            IANA::from_bytes(head).ok()?.id
        };
        let addresses = options(list)?
            .into_iter()
            .filter(|&(code, _)| code == OptionCode::IAAddr)
            .filter_map(|(_, value)| Some(IAAddr::from_bytes(value.get(..24)?).ok()?.addr))
            .collect();
        Some(Self { code, id, addresses })
    }
}

/// A reply being written, option by option.
pub(super) struct Reply(Vec<u8>);

impl Reply {
    /// A reply of a kind, without options.
    pub(super) fn new(request: &Request<'_>, kind: MessageType) -> Self {
        // The request turned round: every constructor of the codec draws a transaction number.
        let mut fixed = request.fixed.clone();
        fixed.set_msg_type(kind);
        Self(fixed.to_vec().unwrap_or_default())
    }

    /// Adds an option.
    pub(super) fn put(&mut self, option: &DhcpOption) {
        // Writing into memory fails for nothing that is put here.
        self.0.extend(option.to_vec().unwrap_or_default());
    }

    /// The message.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a list apart; `None` when an option is longer than what is left.
fn options(list: &[u8]) -> Option<Vec<(OptionCode, &[u8])>> {
    let mut rest = Decoder::new(list);
    let mut options = Vec::new();
    while !rest.buffer().is_empty() {
        let (code, length) = (rest.read_u16().ok()?, rest.read_u16().ok()?);
        options.push((code.into(), rest.read_slice(length.into()).ok()?));
    }
    Some(options)
}

/// Kind and transaction.
const FIXED_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use dhcproto::v6::{DhcpOptions, Status, StatusCode};

    use super::*;

    fn list(code: u8, value: &[u8]) -> Vec<u8> {
        [&[0, code][..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    #[test]
    fn the_parts_of_a_request() {
        let address = [&[0xfd; 16][..], &[0; 8]].concat();
        let nested = [list(13, &[0]), list(5, &address), list(5, &address[..23])].concat();
        let mut bytes = vec![3, 1, 2, 3];
        bytes.extend(list(6, &[0, 23, 0, 24, 0]));
        bytes.extend(list(3, &[&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0][..], &nested].concat()));
        bytes.extend(list(25, &[9; 12]));
        bytes.extend(list(4, &[8; 4]));
        bytes.extend(list(1, &[5; 10]));
        bytes.extend(list(1, &[6; 10]));
        let request = Request::parse(&bytes).unwrap();
        assert_eq!((request.kind, request.fixed.xid()), (MessageType::Request, [1, 2, 3]));
        assert_eq!(request.option(OptionCode::ClientId), Some(&[5; 10][..]));
        assert_eq!(request.option(OptionCode::ServerId), None);
        assert!(request.asks_for(OptionCode::DomainSearchList));
        assert!(!request.asks_for(OptionCode::ClientId));
        let associations = request.associations(2).unwrap();
        let read: Vec<_> = associations.iter().map(|ia| (ia.code, ia.id)).collect();
        assert_eq!(read, [(OptionCode::IANA, 7), (OptionCode::IAPD, 0x0909_0909)]);
        assert_eq!(associations[0].addresses, [Ipv6Addr::from([0xfd; 16])]);
        assert_eq!(request.associations(4).unwrap().len(), 3);
    }

    #[test]
    fn a_reply_byte_by_byte() {
        let request = Request::parse(&[1, 1, 2, 3]).unwrap();
        let mut reply = Reply::new(&request, MessageType::Reply);
        reply.put(&DhcpOption::RapidCommit);
        reply.put(&DhcpOption::ClientId(vec![9, 8, 7]));
        let (addr, preferred_life, valid_life) = ("fd00::2".parse().unwrap(), 300, 301);
        let address = IAAddr { addr, preferred_life, valid_life, opts: DhcpOptions::new() };
        for id in [7, 6] {
            let opts = [DhcpOption::IAAddr(address.clone())].into_iter().collect();
            reply.put(&DhcpOption::IANA(IANA { id, t1: 100, t2: 200, opts }));
        }
        let (status, msg) = (Status::NoPrefixAvail, "no".to_owned());
        let opts = [DhcpOption::StatusCode(StatusCode { status, msg })].into_iter().collect();
        reply.put(&DhcpOption::IATA(IATA { id: 5, opts }));
        let mut expected = vec![7, 1, 2, 3, 0, 14, 0, 0, 0, 1, 0, 3, 9, 8, 7];
        for id in [7, 6] {
            expected.extend([0, 3, 0, 40, 0, 0, 0, id, 0, 0, 0, 100, 0, 0, 0, 200, 0, 5, 0, 24]);
            expected.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
            expected.extend([0, 0, 1, 44, 0, 0, 1, 45]);
        }
        expected.extend([0, 4, 0, 12, 0, 0, 0, 5, 0, 13, 0, 4, 0, 6, b'n', b'o']);
        assert_eq!(reply.finish(), expected);
    }

    #[test]
    fn every_truncation_within_an_option_is_refused() {
        let bytes = [vec![1, 0, 0, 0], list(1, &[1; 6])].concat();
        for length in (0..bytes.len()).filter(|&length| length != 4) {
            assert!(Request::parse(&bytes[..length]).is_none(), "{length}");
        }
        // Relayed ones and kinds unknown.
        for kind in [0, 12, 13, 255] {
            assert!(Request::parse(&[kind, 0, 0, 0]).is_none());
        }
        for (code, length) in [(3, 11), (25, 11), (4, 3), (4, 5), (3, 15)] {
            let bytes = [vec![1, 0, 0, 0], list(code, &vec![0; length])].concat();
            let request = Request::parse(&bytes).unwrap();
            assert!(request.associations(4).is_none(), "{code} of {length} bytes");
        }
    }

    /// The codec's own decoder runs out of stack here.
    #[test]
    fn nesting_has_an_end() {
        let mut nested = Vec::new();
        while nested.len() < 65_000 {
            nested = list(4, &[&[0; 4][..], &nested].concat());
        }
        let bytes = [&[1, 0, 0, 0][..], &nested].concat();
        let associations = Request::parse(&bytes).unwrap().associations(4).unwrap();
        assert_eq!(associations.len(), 1);
        assert!(associations[0].addresses.is_empty());
    }

    /// The codec's own decoder panics for some of these.
    #[test]
    fn options_of_any_code_and_length_are_read() {
        for code in 1..=70 {
            for length in 0..=40 {
                let bytes = [vec![1, 0, 0, 0], list(code, &vec![0; length])].concat();
                let request = Request::parse(&bytes).unwrap();
                assert_eq!(request.option(u16::from(code).into()).map(<[u8]>::len), Some(length));
                request.asks_for(OptionCode::DomainNameServers);
            }
        }
    }
}
