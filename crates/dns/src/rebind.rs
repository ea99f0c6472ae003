//! Addresses that an upstream's answer must not point the guest at.
//!
//! A name of the outside that resolves to loopback or to a link-local address makes whoever
//! trusts names reach services that trust addresses. Judged in every spelling an address has.
//! Never looks at local names: those point where the configuration says.
//! Spec: RFC 1918, RFC 3927, RFC 4193, RFC 4291 §2.5, RFC 6052 §2.1 (NAT64), RFC 6598.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portreeve_types::{DnsConfig, DnsName};

/// Which answers are withheld.
#[derive(Clone, Debug)]
pub(crate) struct RebindGuard {
    active: bool,
    private: bool,
    allowed: Vec<DnsName>,
}

impl RebindGuard {
    pub(crate) fn new(config: &DnsConfig) -> Self {
        Self {
            active: config.rebind_guard,
            private: config.rebind_private,
            allowed: config.rebind_allow.clone(),
        }
    }

    /// Whether answers for this name are looked at.
    pub(crate) fn applies_to(&self, name: &DnsName) -> bool {
        self.active && !self.allowed.iter().any(|allowed| name.is_within(allowed))
    }

    /// Whether an answer may not contain this address.
    pub(crate) fn forbids(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.forbids_v4(address),
            IpAddr::V6(address) => match embedded(address) {
                Some(embedded) => self.forbids_v4(embedded),
                None => self.forbids_v6(address),
            },
        }
    }

    fn forbids_v4(&self, address: Ipv4Addr) -> bool {
        let [first, second, ..] = address.octets();
        let private = address.is_private() || (first == 100 && second & 0xc0 == 64);
        first == 0
            || address.is_loopback()
            || address.is_link_local()
            || address.is_broadcast()
            || (self.private && private)
    }

    fn forbids_v6(&self, address: Ipv6Addr) -> bool {
        address.is_loopback()
            || address.is_unspecified()
            || address.is_unicast_link_local()
            || (self.private && address.is_unique_local())
    }
}

/// The IPv4 address that an IPv6 address is another spelling of.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        // IPv4-mapped, and IPv4-translated as of RFC 2765.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        // IPv4-compatible; `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(join(high, low)),
        _ => None,
    }
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_judged() {
        let guard = RebindGuard::new(&DnsConfig::default());
        let strict = RebindGuard::new(&DnsConfig { rebind_private: true, ..DnsConfig::default() });
        for (address, forbidden, forbidden_private) in [
            ("127.0.0.1", true, true),
            ("127.255.0.9", true, true),
            ("0.0.0.0", true, true),
            ("0.1.2.3", true, true),
            ("169.254.169.254", true, true),
            ("255.255.255.255", true, true),
            ("::", true, true),
            ("::1", true, true),
            ("fe80::1", true, true),
            ("::ffff:127.0.0.1", true, true),
            ("::ffff:169.254.169.254", true, true),
            ("::127.0.0.1", true, true),
            ("::ffff:0:127.0.0.1", true, true),
            ("64:ff9b::169.254.169.254", true, true),
            ("10.1.2.3", false, true),
            ("100.64.0.1", false, true),
            ("::ffff:192.168.0.1", false, true),
            ("fd00:ec2::254", false, true),
            ("93.184.216.34", false, false),
            ("100.128.0.1", false, false),
            ("2606:2800:220:1::1", false, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(guard.forbids(address), forbidden, "{address}");
            assert_eq!(strict.forbids(address), forbidden_private, "{address}");
        }
    }

    #[test]
    fn allowed_names_may_point_anywhere() {
        let guard = RebindGuard::new(&DnsConfig {
            rebind_allow: vec!["lvh.test".parse().unwrap()],
            ..DnsConfig::default()
        });
        assert!(!guard.applies_to(&"a.lvh.test".parse().unwrap()));
        assert!(guard.applies_to(&"xlvh.test".parse().unwrap()));
        let off = DnsConfig { rebind_guard: false, ..DnsConfig::default() };
        assert!(!RebindGuard::new(&off).applies_to(&"a.test".parse().unwrap()));
    }
}
