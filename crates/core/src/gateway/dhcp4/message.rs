//! DHCP messages (RFC 2131, RFC 2132) through `dhcproto`: a client's is read, the reply written.
//!
//! Owns what the codec leaves to its user. Lengths are judged before the codec sees them, since it
//! takes what is cut off for the end and asserts some lengths itself; values are left as bytes, so
//! that none is decoded which nobody asks for. The pieces of a long option (RFC 3396) count wherever
//! they stand, also in the fields that option 52 overloads. Options a reply carries stand in the
//! order in which they are put, and not in the codec's. Not supported: replies that overload.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::DhcpOptionIterator;
use dhcproto::v4::{
    DhcpOption, HType, MAGIC, MIN_PACKET_SIZE, Message, MessageType, Opcode, OptionCode,
};
use dhcproto::{Decodable, Decoder, Encodable};

/// A client's message, the lengths in it checked.
pub(super) struct Request {
    /// What it is: one of the kinds of RFC 2132 §9.6.
    pub(super) kind: MessageType,
    /// The client's hardware address.
    pub(super) hardware: [u8; 6],
    /// The fixed fields, without any option.
    pub(super) fixed: Message,
    values: BTreeMap<OptionCode, Vec<u8>>,
}

impl Request {
    /// Reads a message to a server; `None` when a length does not fit, when it is from a server, or
    /// when it is not about Ethernet.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let (head, list) = message.split_at_checked(FIXED_LEN)?;
        let fixed = Message::from_bytes(head).ok()?;
        let asks = fixed.opcode() == Opcode::BootRequest && head.ends_with(&MAGIC);
        // The codec's `chaddr` panics for lengths above the field's.
        if !asks || fixed.htype() != HType::Eth || fixed.hlen() != 6 {
            return None;
        }
        let hardware = fixed.chaddr().try_into().ok()?;
        let mut values = BTreeMap::new();
        collect(list, &mut values)?;
        let overload = match values.get(&OptionCode::OptionOverload).map(Vec::as_slice) {
            None => 0,
            Some(&[which @ 1..=3]) => which,
            Some(_) => return None,
        };
        // RFC 2131 §4.1: the file field is read before the server name.
        if overload & 1 != 0 {
            collect(&head[108..236], &mut values)?;
        }
        if overload & 2 != 0 {
            collect(&head[44..108], &mut values)?;
        }
        let kind = match values.get(&OptionCode::MessageType).map(Vec::as_slice) {
            Some(&[code @ 1..=8]) => code.into(),
            _ => return None,
        };
        Some(Self { kind, hardware, fixed, values })
    }

    /// The value of an option, its pieces put together.
    pub(super) fn option(&self, code: OptionCode) -> Option<&[u8]> {
        self.values.get(&code).map(Vec::as_slice)
    }

    /// The value of an option that is one address. The outer `None` is an option of another length.
    pub(super) fn address(&self, code: OptionCode) -> Option<Option<Ipv4Addr>> {
        let value = self.option(code).map(<[u8; 4]>::try_from).transpose().ok()?;
        Some(value.map(Ipv4Addr::from))
    }
}

/// A reply being written, option by option.
pub(super) struct Reply {
    bytes: Vec<u8>,
    most: usize,
}

impl Reply {
    /// A reply to `request` of at most `most` bytes, its type the first option.
    pub(super) fn new(request: &Request, kind: MessageType, yours: Ipv4Addr, most: usize) -> Self {
        // The request turned round: every constructor of the codec draws a transaction number.
        let mut fixed = request.fixed.clone();
        // RFC 2131 §4.3.1 table 3: `ciaddr` is repeated in a DHCPACK only.
        let held = if kind == MessageType::Ack { fixed.ciaddr() } else { Ipv4Addr::UNSPECIFIED };
        fixed.set_opcode(Opcode::BootReply).set_hops(0).set_secs(0);
        fixed.set_ciaddr(held).set_yiaddr(yours).set_siaddr(Ipv4Addr::UNSPECIFIED);
        fixed.set_chaddr(&request.hardware);
        fixed.clear_sname();
        fixed.clear_fname();
        let mut reply = Self { bytes: encode(&fixed), most };
        debug_assert_eq!(reply.bytes.len(), FIXED_LEN);
        reply.put(&DhcpOption::MessageType(kind));
        reply
    }

    /// Adds an option; `false` when it does not fit.
    pub(super) fn put(&mut self, option: &DhcpOption) -> bool {
        let option = encode(option);
        let fits = option.len() <= self.room();
        if fits {
            self.bytes.extend_from_slice(&option);
        }
        fits
    }

    /// Adds options in their order, without the longest ones if all do not fit: what a small client
    /// cannot take must not cost it its router.
    pub(super) fn put_all(&mut self, options: impl IntoIterator<Item = DhcpOption>) {
        let mut options: Vec<_> = options.into_iter().map(|option| encode(&option)).collect();
        while options.iter().map(Vec::len).sum::<usize>() > self.room()
            && let Some(longest) = (0..options.len()).max_by_key(|&at| options[at].len())
        {
            options.remove(longest);
        }
        self.bytes.extend(options.concat());
    }

    /// The message, as long as a BOOTP client expects at the least. RFC 1542 §2.1.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend(encode(&DhcpOption::End));
        let length = self.bytes.len().max(MIN_PACKET_SIZE);
        self.bytes.resize(length, OptionCode::Pad.into());
        self.bytes
    }

    /// Bytes left for options, before the mark of the end.
    fn room(&self) -> usize {
        self.most.saturating_sub(self.bytes.len() + 1)
    }
}

/// Adds the options of one field to `values`; `None` when one is longer than what is left.
fn collect(area: &[u8], values: &mut BTreeMap<OptionCode, Vec<u8>>) -> Option<()> {
    if !is_whole(area) {
        return None;
    }
    for option in DhcpOptionIterator::new(area) {
        values.entry(option.code()).or_default().extend_from_slice(option.data());
    }
    Some(())
}

/// Whether every option is as long as it says. A list that ends without saying so is taken: some
/// clients fill the field to the brim.
fn is_whole(area: &[u8]) -> bool {
    let mut rest = Decoder::new(area);
    while let Ok(code) = rest.read_u8() {
        let code = OptionCode::from(code);
        if code == OptionCode::End {
            break;
        }
        if code == OptionCode::Pad {
            continue;
        }
        let Ok(length) = rest.read_u8() else { return false };
        if rest.read_slice(length.into()).is_err() {
            return false;
        }
    }
    true
}

/// Writes into memory, which fails for nothing but a name that no message can carry: that is left
/// out.
fn encode(what: &impl Encodable) -> Vec<u8> {
    what.to_vec().unwrap_or_default()
}

/// The fixed fields and the cookie.
const FIXED_LEN: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_LEN];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[10] = 0x80;
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
        bytes.extend_from_slice(options);
        bytes
    }

    fn read(code: u8, request: &Request) -> Option<&[u8]> {
        request.option(code.into())
    }

    #[test]
    fn the_fields_of_a_request() {
        let bytes = message(&[53, 1, 3, 0, 50, 4, 10, 0, 0, 2, 255, 7]);
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(request.kind, MessageType::Request);
        assert_eq!(request.fixed.xid(), 0x0102_0304);
        assert!(request.fixed.flags().broadcast());
        assert_eq!(request.hardware, [2, 0, 0, 0, 0, 9]);
        let wanted = request.address(OptionCode::RequestedIpAddress);
        assert_eq!(wanted, Some(Some(Ipv4Addr::new(10, 0, 0, 2))));
        assert_eq!(request.address(OptionCode::ServerIdentifier), Some(None));
        assert_eq!(request.address(OptionCode::MessageType), None, "of another length");
        assert_eq!(read(7, &request), None, "behind the end");
    }

    #[test]
    fn pieces_and_overloads_are_put_together() {
        let mut bytes = message(&[53, 1, 1, 61, 2, 1, 2, 52, 1, 3, 61, 1, 3, 61, 0, 255]);
        bytes[108..112].copy_from_slice(&[61, 1, 4, 255]);
        bytes[44..48].copy_from_slice(&[61, 1, 5, 255]);
        let request = Request::parse(&bytes).unwrap();
        assert_eq!(read(61, &request), Some(&[1, 2, 3, 4, 5][..]));
        bytes[109] = 255;
        assert!(Request::parse(&bytes).is_none(), "cut off where it overloads");
    }

    #[test]
    fn what_is_cut_off_or_not_ours_is_refused() {
        let good = message(&[53, 1, 1, 61, 7, 1, 2, 0, 0, 0, 0, 9]);
        assert!(Request::parse(&good).is_some(), "an end nobody marked");
        for length in (0..good.len()).filter(|&length| length != FIXED_LEN + 3) {
            assert!(Request::parse(&good[..length]).is_none(), "{length}");
        }
        for (at, value) in [(0, 2), (1, 6), (2, 16), (2, 255), (236, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Request::parse(&bad).is_none(), "{at} = {value}");
        }
        for options in [&[53, 1, 99][..], &[53, 0], &[53, 2, 1, 1], &[53, 1, 1, 52, 1, 4]] {
            assert!(Request::parse(&message(options)).is_none(), "{options:?}");
        }
    }

    /// The codec's own decoder asserts the lengths of some options, and that panics.
    #[test]
    fn options_of_any_code_and_length_are_read() {
        for code in 1..255 {
            for length in 0..=32 {
                let option = [&[53, 1, 1, code, length][..], &vec![0xc0; length.into()]].concat();
                let request = Request::parse(&message(&option));
                assert_eq!(request.is_some(), !matches!((code, length), (52, _) | (53, 1..)));
            }
        }
    }

    #[test]
    fn a_reply_byte_by_byte() {
        let mut bytes = message(&[53, 1, 3, 255]);
        // What stands in every other field of the request, and behind the address of six bytes.
        bytes[3] = 7;
        bytes[8..10].copy_from_slice(&[1, 1]);
        bytes[12..16].copy_from_slice(&[10, 0, 0, 2]);
        bytes[16..28].fill(0xee);
        bytes[34..236].fill(0xee);
        let request = Request::parse(&bytes).unwrap();
        let yours = Ipv4Addr::new(10, 0, 0, 2);
        let mut reply = Reply::new(&request, MessageType::Ack, yours, 548);
        reply.put(&DhcpOption::AddressLeaseTime(1));
        reply.put(&DhcpOption::SubnetMask([255, 255, 255, 0].into()));
        let mut expected = vec![2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0, 10, 0, 0, 2, 10, 0, 0, 2];
        expected.extend_from_slice(&[0, 0, 0, 0, 0xee, 0xee, 0xee, 0xee, 2, 0, 0, 0, 0, 9]);
        expected.resize(236, 0);
        expected.extend_from_slice(&[99, 130, 83, 99, 53, 1, 5, 51, 4, 0, 0, 0, 1]);
        expected.extend_from_slice(&[1, 4, 255, 255, 255, 0, 255]);
        expected.resize(300, 0);
        assert_eq!(reply.finish(), expected);
    }

    #[test]
    fn long_options_are_cut_and_what_does_not_fit_is_left_out() {
        let bytes = message(&[53, 1, 1, 255]);
        let request = Request::parse(&bytes).unwrap();
        let offer = |most| Reply::new(&request, MessageType::Offer, [10, 0, 0, 2].into(), most);
        let mut reply = offer(548);
        assert!(reply.put(&DhcpOption::ClassIdentifier(vec![7; 260])));
        assert!(!reply.put(&DhcpOption::Hostname("7".repeat(60))));
        assert!(reply.put(&DhcpOption::RapidCommit));
        let mut bytes = reply.finish();
        assert!(bytes.len() <= 548);
        bytes[0] = 1;
        let back = Request::parse(&bytes).unwrap();
        assert_eq!((back.kind, back.fixed.xid()), (MessageType::Offer, 0x0102_0304));
        assert_eq!(read(60, &back), Some(&[7; 260][..]));
        assert_eq!(read(80, &back), Some(&[][..]));
        assert_eq!(read(12, &back), None);
        // Room for nine bytes besides the type and the end.
        let mut reply = offer(FIXED_LEN + 3 + 9 + 1);
        let router = DhcpOption::Router(vec![[10, 0, 0, 1].into()]);
        let long = DhcpOption::DomainName("7.example".into());
        reply.put_all([DhcpOption::RapidCommit, long, router]);
        assert_eq!(reply.finish()[FIXED_LEN + 3..][..9], [80, 0, 3, 4, 10, 0, 0, 1, 255]);
    }
}
