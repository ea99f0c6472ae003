//! Router discovery (RFC 4861 §4.1, §4.2): solicitations read, advertisements written.
//!
//! Owns the layout of both messages and of the options an advertisement carries, those of RFC 8106
//! included. When one is sent, and with what, is the gateway's to decide.

use std::net::Ipv6Addr;

use crate::checksum;
use crate::ndp::{OPTION_SOURCE_LINK_LAYER, link_layer_option};
use crate::packet::Protocol;

/// ICMPv6 type of a router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6 type of a router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;

/// A router solicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterSolicitation {
    /// The asker's link-layer address, where it gave one.
    pub mac: Option<[u8; 6]>,
}

impl RouterSolicitation {
    /// Reads an ICMPv6 message whose checksum has been verified; `None` for other types and where
    /// RFC 4861 §6.1.1 discards it.
    pub fn parse(source: Ipv6Addr, message: &[u8]) -> Option<Self> {
        let [ROUTER_SOLICITATION, 0, _, _, _, _, _, _, options @ ..] = message else { return None };
        let mac = link_layer_option(options, OPTION_SOURCE_LINK_LAYER)?;
        (mac.is_none() || !source.is_unspecified()).then_some(Self { mac })
    }
}

/// What an advertisement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement<'a> {
    /// The router's own link-layer address.
    pub mac: [u8; 6],
    /// Seconds the sender is a default router for.
    pub lifetime: u16,
    /// Hop limit that hosts should send with.
    pub hop_limit: u8,
    /// Addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Other configuration is to be had by DHCPv6.
    pub other: bool,
    /// The link's prefix, its length, and whether hosts may make addresses in it.
    pub prefix: (Ipv6Addr, u8, bool),
    /// Seconds the prefix is valid and addresses in it preferred for.
    pub prefix_lifetimes: (u32, u32),
    /// Largest packet of the link.
    pub mtu: u16,
    /// The name server, where there is one. RFC 8106 §5.1.
    pub dns: Option<Ipv6Addr>,
    /// Suffixes to search, as RFC 1035 labels; empty for none. RFC 8106 §5.2.
    pub search: &'a [u8],
    /// Seconds the name server and the suffixes hold for.
    pub dns_lifetime: u32,
}

impl RouterAdvertisement<'_> {
    /// The message with its checksum.
    pub fn emit(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut out = vec![0; FIXED_LEN];
        out[0] = ROUTER_ADVERTISEMENT;
        out[4] = self.hop_limit;
        out[5] = u8::from(self.managed) << 7 | u8::from(self.other) << 6;
        out[6..8].copy_from_slice(&self.lifetime.to_be_bytes());
        out.extend_from_slice(&[OPTION_SOURCE_LINK_LAYER, 1]);
        out.extend_from_slice(&self.mac);
        out.extend_from_slice(&[OPTION_MTU, 1, 0, 0]);
        out.extend_from_slice(&u32::from(self.mtu).to_be_bytes());
        self.emit_prefix(&mut out);
        if let Some(dns) = self.dns {
            out.extend_from_slice(&[OPTION_RDNSS, 3, 0, 0]);
            out.extend_from_slice(&self.dns_lifetime.to_be_bytes());
            out.extend_from_slice(&dns.octets());
        }
        self.emit_search(&mut out);
        let pseudo =
            checksum::pseudo_header(source.into(), destination.into(), Protocol::ICMPV6, out.len());
        let sum = checksum::finish(pseudo + checksum::sum(&out));
        out[2..4].copy_from_slice(&sum.to_be_bytes());
        out
    }

    fn emit_prefix(&self, out: &mut Vec<u8>) {
        let (prefix, length, autonomous) = self.prefix;
        let mask = !u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
        out.extend_from_slice(&[OPTION_PREFIX, 4, length, ON_LINK | u8::from(autonomous) << 6]);
        out.extend_from_slice(&self.prefix_lifetimes.0.to_be_bytes());
        out.extend_from_slice(&self.prefix_lifetimes.1.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(prefix.to_bits() & mask).to_be_bytes());
    }

    fn emit_search(&self, out: &mut Vec<u8>) {
        let units = 1 + self.search.len().div_ceil(8);
        // A list too long for its length field is none; configuration keeps it well below.
        let Ok(length) = u8::try_from(units) else { return };
        if self.search.is_empty() {
            return;
        }
        let end = out.len() + units * 8;
        out.extend_from_slice(&[OPTION_DNSSL, length, 0, 0]);
        out.extend_from_slice(&self.dns_lifetime.to_be_bytes());
        out.extend_from_slice(self.search);
        out.resize(end, 0);
    }
}

const FIXED_LEN: usize = 16;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_RDNSS: u8 = 25;
const OPTION_DNSSL: u8 = 31;
const ON_LINK: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solicitations_are_read_and_judged() {
        let host: Ipv6Addr = "fe80::2".parse().unwrap();
        let bare = [133, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(RouterSolicitation::parse(host, &bare), Some(RouterSolicitation { mac: None }));
        let mut with = bare.to_vec();
        with.extend_from_slice(&[1, 1, 2, 3, 4, 5, 6, 7]);
        let read = RouterSolicitation::parse(host, &with).unwrap();
        assert_eq!(read.mac, Some([2, 3, 4, 5, 6, 7]));
        assert_eq!(RouterSolicitation::parse(Ipv6Addr::UNSPECIFIED, &with), None);
        with[9] = 0;
        assert_eq!(RouterSolicitation::parse(host, &with), None, "an option of no length");
        assert_eq!(RouterSolicitation::parse(host, &bare[..7]), None);
        assert_eq!(RouterSolicitation::parse(host, &[133, 1, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn an_advertisement_byte_by_byte() {
        let (router, all): (Ipv6Addr, Ipv6Addr) =
            ("fe80::1".parse().unwrap(), "ff02::1".parse().unwrap());
        let advert = RouterAdvertisement {
            mac: [2, 0, 0, 0, 0, 1],
            lifetime: 0x1234,
            hop_limit: 64,
            managed: true,
            other: false,
            prefix: ("fd00::2".parse().unwrap(), 64, true),
            prefix_lifetimes: (7, 6),
            mtu: 1500,
            dns: Some("fd00::1".parse().unwrap()),
            search: b"\x01a\x00",
            dns_lifetime: 5,
        };
        let out = advert.emit(router, all);
        assert!(checksum::verify(router.into(), all.into(), Protocol::ICMPV6, &out));
        assert_eq!(out[4..16], [64, 0x80, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[16..24], [1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(out[24..32], [5, 1, 0, 0, 0, 0, 5, 0xdc]);
        assert_eq!(out[32..48], [3, 4, 64, 0xc0, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 0]);
        assert_eq!(out[48..64], [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[64..72], [25, 3, 0, 0, 0, 0, 0, 5]);
        assert_eq!(out[88..], [31, 2, 0, 0, 0, 0, 0, 5, 1, b'a', 0, 0, 0, 0, 0, 0]);
    }
}
