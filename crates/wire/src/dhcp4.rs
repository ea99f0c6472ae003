//! DHCP (RFC 2131, options RFC 2132): a checked view of a client's message and the reply's layout.
//!
//! Owns the fixed fields, the option lists with their overloads, and the order in which a reply is
//! written: the caller's. Which message is answered, and with what, is the gateway's to decide.
//! Keeps no state.

use std::borrow::Cow;
use std::net::Ipv4Addr;

/// Port a server listens on.
pub const DHCP4_SERVER_PORT: u16 = 67;
/// Port a client listens on.
pub const DHCP4_CLIENT_PORT: u16 = 68;

/// Option codes in use here (RFC 2132 unless noted).
pub mod option {
    /// The link's mask.
    pub const SUBNET_MASK: u8 = 1;
    /// Routers, best first.
    pub const ROUTER: u8 = 3;
    /// Name servers.
    pub const DNS: u8 = 6;
    /// The client's name.
    pub const HOST_NAME: u8 = 12;
    /// The client's domain.
    pub const DOMAIN_NAME: u8 = 15;
    /// Largest packet of the link.
    pub const INTERFACE_MTU: u8 = 26;
    /// Where broadcast goes.
    pub const BROADCAST: u8 = 28;
    /// The address a client would like.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Seconds an address is given for.
    pub const LEASE_TIME: u8 = 51;
    /// Where more options stand.
    pub const OVERLOAD: u8 = 52;
    /// What the message is.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Which server a message is from or for.
    pub const SERVER_ID: u8 = 54;
    /// What the client wants to know.
    pub const PARAMETER_LIST: u8 = 55;
    /// Why not, in words.
    pub const MESSAGE: u8 = 56;
    /// Largest message the client takes.
    pub const MAX_SIZE: u8 = 57;
    /// T1: when to renew.
    pub const RENEWAL_TIME: u8 = 58;
    /// T2: when to ask any server.
    pub const REBINDING_TIME: u8 = 59;
    /// Who the client is.
    pub const CLIENT_ID: u8 = 61;
    /// Two messages instead of four. RFC 4039.
    pub const RAPID_COMMIT: u8 = 80;
    /// Suffixes to search. RFC 3397.
    pub const DOMAIN_SEARCH: u8 = 119;
    /// Routes without classes. RFC 3442.
    pub const CLASSLESS_ROUTES: u8 = 121;
    pub(super) const PAD: u8 = 0;
    pub(super) const END: u8 = 255;
}

/// What a message is. RFC 2132 §9.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Dhcp4Type {
    /// Who gives addresses?
    Discover = 1,
    /// I do, this one.
    Offer,
    /// I take it, or keep it.
    Request,
    /// Somebody has it already.
    Decline,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
    /// I need it no longer.
    Release,
    /// I have an address; what else is there to know?
    Inform,
}

impl Dhcp4Type {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }
}

/// A client's message whose lengths have been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp4Request<'a> {
    /// What it is.
    pub kind: Dhcp4Type,
    /// The client's number for the exchange.
    pub transaction: u32,
    /// Whether the client can only hear broadcasts.
    pub broadcast: bool,
    /// The address the client has, or 0.0.0.0.
    pub client_address: Ipv4Addr,
    /// The relay it came through, or 0.0.0.0.
    pub relay: Ipv4Addr,
    /// The client's hardware address.
    pub hardware: [u8; 6],
    flags: [u8; 2],
    /// The option field, then what overloads the file and server name fields.
    areas: [&'a [u8]; 3],
}

impl<'a> Dhcp4Request<'a> {
    /// Reads a message to a server; `None` when a length does not fit, when it is from a server, or
    /// when it is not about Ethernet.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let fixed: &[u8; FIXED_LEN] = message.first_chunk()?;
        if fixed[..3] != [BOOT_REQUEST, HTYPE_ETHERNET, 6] || fixed[236..] != MAGIC_COOKIE {
            return None;
        }
        let word = |at: usize| [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        let options = well_formed(&message[FIXED_LEN..])?;
        let areas = [options, &[][..], &[][..]];
        let overload = match find(&areas, option::OVERLOAD).as_deref() {
            None => 0,
            Some(&[which @ 1..=3]) => which,
            Some(_) => return None,
        };
        // RFC 2131 §4.1: the file field is read before the server name.
        let file = if overload & 1 != 0 { well_formed(&message[108..236])? } else { &[] };
        let name = if overload & 2 != 0 { well_formed(&message[44..108])? } else { &[] };
        let areas = [options, file, name];
        let kind = match find(&areas, option::MESSAGE_TYPE).as_deref() {
            Some(&[code]) => Dhcp4Type::from_code(code)?,
            _ => return None,
        };
        let mut hardware = [0; 6];
        hardware.copy_from_slice(&fixed[28..34]);
        Some(Self {
            kind,
            transaction: u32::from_be_bytes(word(4)),
            broadcast: fixed[10] & 0x80 != 0,
            client_address: word(12).into(),
            relay: word(24).into(),
            hardware,
            flags: [fixed[10], fixed[11]],
            areas,
        })
    }

    /// The value of an option, its pieces put together. RFC 3396 §5.
    pub fn option(&self, code: u8) -> Option<Cow<'a, [u8]>> {
        find(&self.areas, code)
    }

    /// The value of an option that is one address. The outer `None` is an option of another length.
    pub fn address(&self, code: u8) -> Option<Option<Ipv4Addr>> {
        match self.option(code).as_deref() {
            None => Some(None),
            Some(&[a, b, c, d]) => Some(Some(Ipv4Addr::new(a, b, c, d))),
            Some(_) => None,
        }
    }
}

/// A reply being written, option by option.
#[derive(Clone, Debug)]
pub struct Dhcp4Reply {
    bytes: Vec<u8>,
    most: usize,
}

impl Dhcp4Reply {
    /// A reply to `request` of at most `most` bytes, its type the first option.
    pub fn new(request: &Dhcp4Request<'_>, kind: Dhcp4Type, yours: Ipv4Addr, most: usize) -> Self {
        let mut bytes = vec![0; FIXED_LEN];
        bytes[..3].copy_from_slice(&[BOOT_REPLY, HTYPE_ETHERNET, 6]);
        bytes[4..8].copy_from_slice(&request.transaction.to_be_bytes());
        bytes[10..12].copy_from_slice(&request.flags);
        // RFC 2131 §4.3.1 table 3: `ciaddr` is repeated in a DHCPACK only.
        if kind == Dhcp4Type::Ack {
            bytes[12..16].copy_from_slice(&request.client_address.octets());
        }
        bytes[16..20].copy_from_slice(&yours.octets());
        bytes[24..28].copy_from_slice(&request.relay.octets());
        bytes[28..34].copy_from_slice(&request.hardware);
        bytes[236..].copy_from_slice(&MAGIC_COOKIE);
        let mut reply = Self { bytes, most };
        reply.put(option::MESSAGE_TYPE, &[kind as u8]);
        reply
    }

    /// Bytes left for options.
    pub fn room(&self) -> usize {
        self.most.saturating_sub(self.bytes.len() + 1)
    }

    /// Bytes that an option with a value of `length` takes.
    pub fn option_len(length: usize) -> usize {
        length + 2 * pieces(length)
    }

    /// Adds an option, in pieces of 255 bytes (RFC 3396 §6); `false` when it does not fit.
    pub fn put(&mut self, code: u8, value: &[u8]) -> bool {
        if Self::option_len(value.len()) > self.room() {
            return false;
        }
        let mut rest = value;
        for _ in 0..pieces(value.len()) {
            let (piece, behind) = rest.split_at(rest.len().min(255));
            // At most 255.
            self.bytes.extend_from_slice(&[code, piece.len() as u8]);
            self.bytes.extend_from_slice(piece);
            rest = behind;
        }
        true
    }

    /// The message, as long as a BOOTP client expects at the least. RFC 1542 §2.1.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(option::END);
        if self.bytes.len() < BOOTP_LEN {
            self.bytes.resize(BOOTP_LEN, option::PAD);
        }
        self.bytes
    }
}

fn pieces(length: usize) -> usize {
    length.div_ceil(255).max(1)
}

/// Cuts an option list behind its last option; `None` when one is longer than what is left. A list
/// that ends without saying so is taken: some clients fill the field to the brim.
fn well_formed(area: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while let Some(&code) = area.get(at) {
        match code {
            option::PAD => at += 1,
            option::END => break,
            _ => at += 2 + usize::from(*area.get(at + 1)?),
        }
    }
    area.get(..at)
}

/// Puts the pieces of one option together over all areas, which are well formed.
fn find<'a>(areas: &[&'a [u8]; 3], wanted: u8) -> Option<Cow<'a, [u8]>> {
    let mut found: Option<Cow<'a, [u8]>> = None;
    for area in areas {
        let mut rest: &'a [u8] = area;
        while let Some((&code, behind)) = rest.split_first() {
            if code == option::PAD {
                rest = behind;
                continue;
            }
            let Some((&length, behind)) = behind.split_first() else { break };
            let (value, behind) = behind.split_at(usize::from(length).min(behind.len()));
            rest = behind;
            if code == wanted {
                found = Some(match found {
                    None => Cow::Borrowed(value),
                    Some(before) => {
                        let mut whole = before.into_owned();
                        whole.extend_from_slice(value);
                        Cow::Owned(whole)
                    }
                });
            }
        }
    }
    found
}

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const HTYPE_ETHERNET: u8 = 1;
const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The fixed fields and the cookie.
const FIXED_LEN: usize = 240;
const BOOTP_LEN: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_LEN];
        bytes[..3].copy_from_slice(&[BOOT_REQUEST, HTYPE_ETHERNET, 6]);
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[10] = 0x80;
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        bytes[236..].copy_from_slice(&MAGIC_COOKIE);
        bytes.extend_from_slice(options);
        bytes
    }

    #[test]
    fn the_fields_of_a_request() {
        let bytes = message(&[53, 1, 3, 0, 50, 4, 10, 0, 0, 2, 255, 7]);
        let request = Dhcp4Request::parse(&bytes).unwrap();
        assert_eq!(request.kind, Dhcp4Type::Request);
        assert_eq!(request.transaction, 0x0102_0304);
        assert!(request.broadcast);
        assert_eq!(request.hardware, [2, 0, 0, 0, 0, 9]);
        assert_eq!(request.address(50), Some(Some(Ipv4Addr::new(10, 0, 0, 2))));
        assert_eq!(request.address(54), Some(None));
        assert_eq!(request.address(53), None, "of another length");
        assert_eq!(request.option(7), None, "behind the end");
    }

    #[test]
    fn pieces_and_overloads_are_put_together() {
        let mut bytes = message(&[53, 1, 1, 61, 2, 1, 2, 52, 1, 3, 61, 1, 3, 255]);
        bytes[108..112].copy_from_slice(&[61, 1, 4, 255]);
        bytes[44..48].copy_from_slice(&[61, 1, 5, 255]);
        let request = Dhcp4Request::parse(&bytes).unwrap();
        assert_eq!(request.option(61).as_deref(), Some(&[1, 2, 3, 4, 5][..]));
    }

    #[test]
    fn what_is_cut_off_or_not_ours_is_refused() {
        let good = message(&[53, 1, 1, 61, 7, 1, 2, 0, 0, 0, 0, 9]);
        assert!(Dhcp4Request::parse(&good).is_some(), "an end nobody marked");
        for length in (0..good.len()).filter(|&length| length != FIXED_LEN + 3) {
            assert_eq!(Dhcp4Request::parse(&good[..length]), None, "{length}");
        }
        for (at, value) in [(0, 2), (1, 6), (2, 16), (2, 255), (236, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Dhcp4Request::parse(&bad), None, "{at} = {value}");
        }
        for options in [&[53, 1, 99][..], &[53, 0], &[53, 2, 1, 1], &[53, 1, 1, 52, 1, 4]] {
            assert_eq!(Dhcp4Request::parse(&message(options)), None, "{options:?}");
        }
    }

    #[test]
    fn long_options_are_cut_and_what_does_not_fit_is_left_out() {
        let bytes = message(&[53, 1, 1, 255]);
        let request = Dhcp4Request::parse(&bytes).unwrap();
        let mut reply =
            Dhcp4Reply::new(&request, Dhcp4Type::Offer, Ipv4Addr::new(10, 0, 0, 2), 548);
        assert!(reply.put(119, &[7; 260]));
        assert!(!reply.put(12, &[7; 60]));
        assert!(reply.put(80, &[]));
        let mut bytes = reply.finish();
        assert!(bytes.len() <= 548);
        bytes[0] = BOOT_REQUEST;
        let read = Dhcp4Request::parse(&bytes).unwrap();
        assert_eq!((read.kind, read.transaction), (Dhcp4Type::Offer, 0x0102_0304));
        assert_eq!(read.option(119).as_deref(), Some(&[7; 260][..]));
        assert_eq!(read.option(80).as_deref(), Some(&[][..]));
        assert_eq!(read.option(12), None);
        let small = Dhcp4Reply::new(&request, Dhcp4Type::Nak, Ipv4Addr::UNSPECIFIED, 548).finish();
        assert_eq!(small.len(), 300);
    }
}
