//! IPv6 neighbour discovery (RFC 4861 §4): solicitations and advertisements of neighbours.
//!
//! Owns the layout of the ICMPv6 message; who answers for which address is the gateway's to
//! decide. Routers are `router_advert`'s.

use std::net::{IpAddr, Ipv6Addr};

use crate::checksum;
use crate::packet::Protocol;

/// ICMPv6 type of a neighbour solicitation.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Length of both messages with one link-layer address option.
pub const NEIGHBOR_LEN: usize = 32;
/// Hop limit all neighbour discovery must arrive with. RFC 4861 §7.1.1.
pub const NDP_HOP_LIMIT: u8 = 255;

pub(crate) const OPTION_SOURCE_LINK_LAYER: u8 = 1;
const OPTION_TARGET_LINK_LAYER: u8 = 2;

/// A neighbour solicitation or advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Whether it is an advertisement.
    pub advertisement: bool,
    /// The address asked for or spoken for.
    pub target: Ipv6Addr,
    /// The link-layer address option, where present.
    pub mac: Option<[u8; 6]>,
    /// Advertisement only: whether it answers a solicitation.
    pub solicited: bool,
}

impl Neighbor {
    /// Reads an ICMPv6 message whose checksum has been verified; `None` for other types.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let fixed: &[u8; 24] = message.first_chunk()?;
        let advertisement = match (fixed[0], fixed[1]) {
            (NEIGHBOR_SOLICITATION, 0) => false,
            (NEIGHBOR_ADVERTISEMENT, 0) => true,
            _ => return None,
        };
        let mut target = [0; 16];
        target.copy_from_slice(&fixed[8..24]);
        let wanted =
            if advertisement { OPTION_TARGET_LINK_LAYER } else { OPTION_SOURCE_LINK_LAYER };
        Some(Self {
            advertisement,
            target: target.into(),
            mac: link_layer_option(&message[24..], wanted)?,
            solicited: advertisement && fixed[4] & 0x40 != 0,
        })
    }

    /// Writes the message with its checksum into the first 32 bytes of `out`.
    ///
    /// # Panics
    /// When `out` is shorter than [`NEIGHBOR_LEN`].
    pub fn emit(&self, source: Ipv6Addr, destination: Ipv6Addr, out: &mut [u8]) {
        let out = &mut out[..NEIGHBOR_LEN];
        out.fill(0);
        if self.advertisement {
            out[0] = NEIGHBOR_ADVERTISEMENT;
            // Router and override; solicited when it answers.
            out[4] = 0xa0 | if self.solicited { 0x40 } else { 0 };
            out[24] = OPTION_TARGET_LINK_LAYER;
        } else {
            out[0] = NEIGHBOR_SOLICITATION;
            out[24] = OPTION_SOURCE_LINK_LAYER;
        }
        out[8..24].copy_from_slice(&self.target.octets());
        out[25] = 1;
        out[26..32].copy_from_slice(&self.mac.unwrap_or_default());
        let sum = checksum::pseudo_header(
            IpAddr::V6(source),
            IpAddr::V6(destination),
            Protocol::ICMPV6,
            NEIGHBOR_LEN,
        ) + checksum::sum(out);
        out[2..4].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    }
}

/// Finds one option. The outer `None` means the options are malformed (RFC 4861 §4.6: a length of
/// zero discards the message).
pub(crate) fn link_layer_option(mut options: &[u8], wanted: u8) -> Option<Option<[u8; 6]>> {
    while let [kind, units, rest @ ..] = options {
        let length = usize::from(*units) * 8;
        if length == 0 || length > options.len() {
            return None;
        }
        if *kind == wanted && length == 8 {
            return Some(rest.first_chunk().copied());
        }
        options = &options[length..];
    }
    Some(None)
}

/// The solicited-node multicast address of `target`. RFC 4291 §2.7.1.
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// The Ethernet group address of a multicast destination. RFC 2464 §7.
pub fn multicast_mac(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_verifies() {
        let (a, b): (Ipv6Addr, Ipv6Addr) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        for advertisement in [false, true] {
            let neighbor =
                Neighbor { advertisement, target: a, mac: Some([9; 6]), solicited: advertisement };
            let mut out = [0; NEIGHBOR_LEN];
            neighbor.emit(a, b, &mut out);
            assert_eq!(Neighbor::parse(&out), Some(neighbor));
            assert!(checksum::verify(a.into(), b.into(), Protocol::ICMPV6, &out));
        }
    }

    #[test]
    fn an_option_of_no_length_discards_the_message() {
        let mut message = [0; 32];
        message[0] = NEIGHBOR_SOLICITATION;
        assert_eq!(Neighbor::parse(&message), None);
        assert!(Neighbor::parse(&message[..24]).is_some_and(|neighbor| neighbor.mac.is_none()));
    }

    #[test]
    fn group_addresses() {
        let group = solicited_node("fd00::1:2:3456".parse().unwrap());
        assert_eq!(group, "ff02::1:ff02:3456".parse::<Ipv6Addr>().unwrap());
        assert_eq!(multicast_mac(group), [0x33, 0x33, 0xff, 0x02, 0x34, 0x56]);
    }
}
