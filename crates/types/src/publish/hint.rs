//! Guesses at what was meant: names for addresses, and words with one slip in them.
//!
//! Never accepts anything: a guess only ever becomes a "did you mean".

/// The address that is usually meant by a word that is none, with its interface if it names one.
pub(super) fn address_for(word: &str) -> Option<Meant> {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "localhost" | "localhost4" | "loopback" => Some(Meant::Name("127.0.0.1")),
        "localhost6" | "ip6-localhost" | "ip6-loopback" => Some(Meant::Name("::1")),
        "*" => Some(Meant::Wildcard("0.0.0.0")),
        "lo" | "lo0" => Some(Meant::Interface("127.0.0.1")),
        _ if is_interface_like(&lower) => Some(Meant::Interface("0.0.0.0")),
        _ => None,
    }
}

/// What a word in an address's place seems to be, and the address to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// A host name.
    Name(&'static str),
    /// Every address.
    Wildcard(&'static str),
    /// An interface, to go behind the address.
    Interface(&'static str),
}

/// The one word of `words` that `typed` is one slip away from, if exactly one is.
pub(super) fn nearest<const N: usize>(
    typed: &str,
    words: [&'static str; N],
) -> Option<&'static str> {
    let typed = typed.to_ascii_lowercase();
    let mut near = words.into_iter().filter(|word| one_slip(typed.as_bytes(), word.as_bytes()));
    near.next().filter(|_| near.next().is_none())
}

/// Whether one insertion, deletion, replacement or swap of neighbours turns `a` into `b`.
fn one_slip(a: &[u8], b: &[u8]) -> bool {
    let same_front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same_front..], &b[same_front..]);
    match (a, b) {
        ([], []) | ([_], []) | ([], [_]) => true,
        ([x, y, rest_a @ ..], [v, w, rest_b @ ..]) if x == w && y == v && rest_a == rest_b => true,
        ([_, rest_a @ ..], [_, rest_b @ ..]) => rest_a == rest_b || rest_a == b || a == rest_b,
        _ => false,
    }
}

/// Whether a word looks like a name Linux, systemd, Docker, Podman or libvirt give interfaces.
fn is_interface_like(word: &str) -> bool {
    const KINDS: [&str; 21] = [
        "bond",
        "br",
        "cni",
        "docker",
        "dummy",
        "en",
        "eth",
        "ib",
        "podman",
        "ppp",
        "tailscale",
        "tap",
        "team",
        "tun",
        "usb",
        "utun",
        "veth",
        "virbr",
        "vlan",
        "wg",
        "wl",
    ];
    let named_by_number = word.ends_with(|c: char| c.is_ascii_digit());
    let bridge_by_id = word.starts_with("br-");
    !word.contains('.')
        && (named_by_number || bridge_by_id)
        && KINDS.iter().any(|kind| word.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips() {
        for typed in ["tpc", "tp", "tcpp", "rcp", "TPC", "tcp6", "ctp"] {
            assert_eq!(nearest(typed, ["tcp", "udp"]), Some("tcp"), "{typed}");
        }
        for typed in ["sctp", "icmp", "", "t", "ucp", "dccp", "quic", "pct"] {
            assert_eq!(nearest(typed, ["tcp", "udp"]), None, "{typed}");
        }
    }

    #[test]
    fn interfaces() {
        for word in ["eth0", "enp0s31f6", "wlan0", "docker0", "br-1a2b3c", "tailscale0", "wg1"] {
            assert_eq!(address_for(word), Some(Meant::Interface("0.0.0.0")), "{word}");
        }
        for word in ["engine", "8080", "example.com", "web1", "", "brot"] {
            assert_eq!(address_for(word), None, "{word}");
        }
    }
}
