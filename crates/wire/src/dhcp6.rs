//! DHCPv6 (RFC 8415): a checked view of a client's message and the reply's layout.
//!
//! Owns the header and the nesting of options. Which message is answered, and with what, is the
//! gateway's to decide. Keeps no state.

use std::net::Ipv6Addr;

/// Port servers and relays listen on.
pub const DHCP6_SERVER_PORT: u16 = 547;
/// Port a client listens on.
pub const DHCP6_CLIENT_PORT: u16 = 546;
/// All servers and relays of the link. RFC 8415 §7.1.
pub const DHCP6_GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Option codes in use here (RFC 8415 §21 unless noted).
pub mod option {
    /// Who the client is.
    pub const CLIENT_ID: u16 = 1;
    /// Who the server is.
    pub const SERVER_ID: u16 = 2;
    /// Addresses for an interface.
    pub const IA_NA: u16 = 3;
    /// Temporary addresses.
    pub const IA_TA: u16 = 4;
    /// One address.
    pub const IA_ADDRESS: u16 = 5;
    /// What the client wants to know.
    pub const REQUEST: u16 = 6;
    /// How much a server wants to be chosen.
    pub const PREFERENCE: u16 = 7;
    /// How it went.
    pub const STATUS: u16 = 13;
    /// Two messages instead of four.
    pub const RAPID_COMMIT: u16 = 14;
    /// Name servers. RFC 3646 §3.
    pub const DNS: u16 = 23;
    /// Suffixes to search. RFC 3646 §4.
    pub const DOMAIN_LIST: u16 = 24;
    /// Prefixes for a router.
    pub const IA_PD: u16 = 25;
    /// When to ask again for what has no lease.
    pub const REFRESH_TIME: u16 = 32;
}

/// Status codes. RFC 8415 §21.13.
pub mod status {
    /// It went well.
    pub const SUCCESS: u16 = 0;
    /// There is no address for this.
    pub const NO_ADDRESSES: u16 = 2;
    /// Nothing is known of this lease.
    pub const NO_BINDING: u16 = 3;
    /// The address does not belong on this link.
    pub const NOT_ON_LINK: u16 = 4;
    /// There is no prefix for this.
    pub const NO_PREFIX: u16 = 6;
}

/// What a message is. RFC 8415 §7.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Dhcp6Type {
    Solicit = 1,
    Advertise,
    Request,
    Confirm,
    Renew,
    Rebind,
    Reply,
    Release,
    Decline,
    Reconfigure,
    InformationRequest,
}

impl Dhcp6Type {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Solicit,
            2 => Self::Advertise,
            3 => Self::Request,
            4 => Self::Confirm,
            5 => Self::Renew,
            6 => Self::Rebind,
            7 => Self::Reply,
            8 => Self::Release,
            9 => Self::Decline,
            10 => Self::Reconfigure,
            11 => Self::InformationRequest,
            _ => return None,
        })
    }
}

/// A message between client and server whose lengths have been checked. Relayed ones are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp6Message<'a> {
    /// What it is.
    pub kind: Dhcp6Type,
    /// The client's number for the exchange.
    pub transaction: [u8; 3],
    /// Its options.
    pub options: Dhcp6Options<'a>,
}

impl<'a> Dhcp6Message<'a> {
    /// Reads a message; `None` when a length does not fit.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let [code, a, b, c, options @ ..] = message else { return None };
        Some(Self {
            kind: Dhcp6Type::from_code(*code)?,
            transaction: [*a, *b, *c],
            options: Dhcp6Options::parse(options)?,
        })
    }
}

/// A list of options, each as long as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp6Options<'a>(&'a [u8]);

impl<'a> Dhcp6Options<'a> {
    /// Checks a list; `None` when an option is longer than what is left.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let [_, _, high, low, value @ ..] = rest else { return None };
            rest = value.get(usize::from(u16::from_be_bytes([*high, *low]))..)?;
        }
        Some(Self(bytes))
    }

    /// The options in order: code and value.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let [a, b, high, low, value @ ..] = rest else { return None };
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(value.len());
            let (value, behind) = value.split_at(length);
            rest = behind;
            Some((u16::from_be_bytes([*a, *b]), value))
        })
    }

    /// The first option of a code.
    pub fn get(&self, wanted: u16) -> Option<&'a [u8]> {
        self.iter().find(|&(code, _)| code == wanted).map(|(_, value)| value)
    }
}

/// An identity association as a client names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp6Association<'a> {
    /// The client's number for it.
    pub id: [u8; 4],
    /// What stands in it.
    pub options: Dhcp6Options<'a>,
}

impl<'a> Dhcp6Association<'a> {
    /// Reads the value of an IA_NA, IA_TA or IA_PD option; `None` for any other.
    pub fn parse(code: u16, value: &'a [u8]) -> Option<Self> {
        let fixed = match code {
            option::IA_NA | option::IA_PD => 12,
            option::IA_TA => 4,
            _ => return None,
        };
        let options = Dhcp6Options::parse(value.get(fixed..)?)?;
        Some(Self { id: *value.first_chunk()?, options })
    }

    /// The addresses in it; ones that are cut off are left out.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> + use<'a> {
        let values = self.options.iter().filter(|&(code, _)| code == option::IA_ADDRESS);
        values.filter_map(|(_, value)| Some(Ipv6Addr::from(*value.first_chunk::<16>()?)))
    }
}

/// A message being written, option by option.
#[derive(Clone, Debug)]
pub struct Dhcp6Writer(Vec<u8>);

impl Dhcp6Writer {
    /// A message without options.
    pub fn new(kind: Dhcp6Type, transaction: [u8; 3]) -> Self {
        let [a, b, c] = transaction;
        Self(vec![kind as u8, a, b, c])
    }

    /// Adds an option with a value.
    pub fn put(&mut self, code: u16, value: &[u8]) {
        self.nest(code, |out| out.0.extend_from_slice(value));
    }

    /// Adds a status.
    pub fn status(&mut self, code: u16, words: &str) {
        self.nest(option::STATUS, |out| {
            out.0.extend_from_slice(&code.to_be_bytes());
            out.0.extend_from_slice(words.as_bytes());
        });
    }

    /// Adds an IA_NA and what `fill` puts into it.
    pub fn addresses(&mut self, id: [u8; 4], t1: u32, t2: u32, fill: impl FnOnce(&mut Self)) {
        self.nest(option::IA_NA, |out| {
            out.0.extend_from_slice(&id);
            out.0.extend_from_slice(&t1.to_be_bytes());
            out.0.extend_from_slice(&t2.to_be_bytes());
            fill(out);
        });
    }

    /// Adds an address that is preferred and valid for `lifetime` seconds.
    pub fn address(&mut self, address: Ipv6Addr, lifetime: u32) {
        self.nest(option::IA_ADDRESS, |out| {
            out.0.extend_from_slice(&address.octets());
            out.0.extend_from_slice(&lifetime.to_be_bytes());
            out.0.extend_from_slice(&lifetime.to_be_bytes());
        });
    }

    /// Adds an option whose value `fill` writes.
    ///
    /// # Panics
    /// When that is more than a length field can say: the caller's to rule out.
    pub fn nest(&mut self, code: u16, fill: impl FnOnce(&mut Self)) {
        self.0.extend_from_slice(&code.to_be_bytes());
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        fill(self);
        let length = self.0.len() - at - 2;
        let length = u16::try_from(length).expect("an option of at most 65,535 bytes");
        self.0[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Adds raw bytes to the option being filled.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let address: Ipv6Addr = "fd00::2".parse().unwrap();
        let mut out = Dhcp6Writer::new(Dhcp6Type::Reply, [1, 2, 3]);
        out.put(option::CLIENT_ID, &[9; 10]);
        out.addresses([0, 0, 0, 7], 100, 200, |out| {
            out.address(address, 300);
            out.status(status::SUCCESS, "yes");
        });
        let bytes = out.finish();
        let read = Dhcp6Message::parse(&bytes).unwrap();
        assert_eq!((read.kind, read.transaction), (Dhcp6Type::Reply, [1, 2, 3]));
        assert_eq!(read.options.get(option::CLIENT_ID), Some(&[9; 10][..]));
        let value = read.options.get(option::IA_NA).unwrap();
        let ia = Dhcp6Association::parse(option::IA_NA, value).unwrap();
        assert_eq!(ia.id, [0, 0, 0, 7]);
        assert_eq!(ia.addresses().collect::<Vec<_>>(), [address]);
        assert_eq!(ia.options.get(option::STATUS), Some(&[0, 0, b'y', b'e', b's'][..]));
    }

    #[test]
    fn every_truncation_within_an_option_is_refused() {
        let mut out = Dhcp6Writer::new(Dhcp6Type::Solicit, [0; 3]);
        out.put(option::CLIENT_ID, &[1; 6]);
        let bytes = out.finish();
        for length in (0..bytes.len()).filter(|&length| length != 4) {
            assert_eq!(Dhcp6Message::parse(&bytes[..length]), None, "{length}");
        }
        // Relayed ones and kinds unknown.
        for kind in [0, 12, 13, 255] {
            assert_eq!(Dhcp6Message::parse(&[kind, 0, 0, 0]), None);
        }
        assert_eq!(Dhcp6Association::parse(option::IA_NA, &[0; 11]), None);
        assert_eq!(Dhcp6Association::parse(option::IA_TA, &[0; 5]), None);
        assert_eq!(Dhcp6Association::parse(option::STATUS, &[0; 12]), None);
    }
}
