//! What an address means, whatever its spelling, and which addresses are special.
//!
//! Owns the list of ranges that lead to the host itself, to its neighbours on a link or to the
//! cloud it runs in. Pure. Spec: RFC 6890 and its registry, RFC 6052, RFC 3056, RFC 4380; the
//! clouds' own documentation for the addresses of their metadata services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not just somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// This host.
    Loopback,
    /// This host too, to a socket that connects there.
    Unspecified,
    /// A neighbour of the host, or of whatever it is on.
    LinkLocal,
    /// A service of the cloud that gives secrets to whoever asks from this host.
    Metadata,
    /// Nothing that can be reached.
    Reserved,
}

/// The addresses that `ip` means: itself, and the IPv4 addresses that it may embed.
pub(super) fn meaning(ip: IpAddr) -> [Option<IpAddr>; 3] {
    let IpAddr::V6(v6) = ip else { return [Some(ip), None, None] };
    [Some(ip), embedded(v6).map(IpAddr::V4), embedded_short(v6).map(IpAddr::V4)]
}

/// The same where a translator's prefix has 48 bits, around the reserved octet. RFC 6052 §2.2.
fn embedded_short(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = v6.octets();
    let local_use = v6.segments()[..3] == [0x64, 0xff9b, 1];
    local_use.then(|| Ipv4Addr::new(octets[6], octets[7], octets[9], octets[10]))
}

/// The IPv4 address to which a translator or tunnel would carry a packet for `v6`.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = v6.segments();
    let at = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // RFC 6052 §2.1.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(at(high, low)),
        // RFC 8215, the same within a network; with nothing there it is the short form.
        [0x64, 0xff9b, 1, .., high, low] if (high, low) != (0, 0) => Some(at(high, low)),
        // RFC 3056 §2: 6to4.
        [0x2002, high, low, ..] => Some(at(high, low)),
        // RFC 4380 §4: Teredo, the client's address inverted.
        [0x2001, 0, .., high, low] => Some(at(!high, !low)),
        // RFC 5214 §6.1: ISATAP.
        [.., 0 | 0x200, 0x5efe, high, low] => Some(at(high, low)),
        _ => None,
    }
}

pub(super) fn classify(ip: IpAddr) -> Option<Special> {
    match ip {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(v4: Ipv4Addr) -> Option<Special> {
    if METADATA_V4.contains(&v4) {
        return Some(Special::Metadata);
    }
    match v4.octets() {
        [127, ..] => Some(Special::Loopback),
        [0, ..] => Some(Special::Unspecified),
        [169, 254, ..] => Some(Special::LinkLocal),
        [224..=255, ..] => Some(Special::Reserved),
        _ => None,
    }
}

fn classify_v6(v6: Ipv6Addr) -> Option<Special> {
    if METADATA_V6.contains(&v6) {
        return Some(Special::Metadata);
    }
    if v6 == Ipv6Addr::LOCALHOST {
        return Some(Special::Loopback);
    }
    if v6.is_unspecified() {
        return Some(Special::Unspecified);
    }
    match v6.segments() {
        // RFC 4291 §2.5.5: IPv4 in IPv6 spelling. A host socket takes it for the IPv4 address, and
        // on the wire it means nothing.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => Some(Special::Reserved),
        // RFC 2765 §2.1: "IPv4-translated", the same once more.
        [0, 0, 0, 0, 0xffff, 0, ..] => Some(Special::Reserved),
        [0xfe80..=0xfebf, ..] => Some(Special::LinkLocal),
        [0xff00..=0xffff, ..] => Some(Special::Reserved),
        // RFC 6666: discard only.
        [0x100, 0, 0, 0, ..] => Some(Special::Reserved),
        _ => None,
    }
}

/// Metadata services by address.
const METADATA_V4: [Ipv4Addr; 5] = [
    // Amazon, Google, Microsoft, DigitalOcean, OpenStack and most others.
    Ipv4Addr::new(169, 254, 169, 254),
    // Amazon's container credentials.
    Ipv4Addr::new(169, 254, 170, 2),
    // Alibaba.
    Ipv4Addr::new(100, 100, 100, 200),
    // Microsoft's platform channel ("WireServer").
    Ipv4Addr::new(168, 63, 129, 16),
    // Oracle.
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    // Amazon's instance metadata, and its container credentials.
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    // Google.
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(text: &str) -> Option<Special> {
        meaning(text.parse().unwrap()).into_iter().flatten().find_map(classify)
    }

    #[test]
    fn every_spelling_of_the_host_and_its_cloud_is_known() {
        use Special::{LinkLocal, Loopback, Metadata, Reserved, Unspecified};
        for (text, expected) in [
            ("127.0.0.1", Loopback),
            ("127.255.0.9", Loopback),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("169.254.1.1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", Metadata),
            ("255.255.255.255", Reserved),
            ("240.0.0.1", Reserved),
            ("224.0.0.251", Reserved),
            ("::", Unspecified),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Reserved),
            ("::ffff:8.8.8.8", Reserved),
            ("::127.0.0.1", Reserved),
            ("::ffff:0:127.0.0.1", Reserved),
            ("64:ff9b::127.0.0.1", Loopback),
            ("64:ff9b::a9fe:a9fe", Metadata),
            ("64:ff9b:1::7f00:1", Loopback),
            ("64:ff9b:1:2:3:4:7f00:1", Loopback),
            ("64:ff9b:1:7f00:0:100::", Loopback),
            ("64:ff9b:1:a9fe:a9:fe00::", Metadata),
            ("2002:7f00:1::", Loopback),
            ("2002:a9fe:a9fe::1", Metadata),
            ("2001:0:1:2:3:4:80ff:fffe", Loopback),
            ("2001:db8::5efe:127.0.0.1", Loopback),
            ("2001:db8::200:5efe:127.0.0.1", Loopback),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("ff02::1", Reserved),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("100::1", Reserved),
        ] {
            assert_eq!(verdicts(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn the_rest_of_the_world_is_just_somewhere() {
        for text in [
            "8.8.8.8",
            "10.0.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.51.100.1",
            "2001:db8::1",
            "2606:4700::1111",
            "fd00::1",
            "fec0::1",
            "64:ff9b::808:808",
            "64:ff9b:1:808:8:800::",
            "2002:808:808::1",
        ] {
            assert_eq!(verdicts(text), None, "{text}");
        }
    }
}
