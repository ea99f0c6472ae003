//! Which name servers the host asks.
//!
//! Owns the reading of `resolv.conf` as glibc reads it; asks no server. When to read it again,
//! `watch` tells.
//!
//! A server on loopback is as good as any. That of systemd-resolved (127.0.0.53) is even the best
//! choice there is: it sends each name to the servers of the interface that the name belongs to
//! (split DNS), which a list of its upstream servers does not say.
//!
//! Read here and not by the crate `resolv-conf`, which refuses the names of many interfaces in
//! `fe80::1%eth0.5`.
//!
//! Spec: resolv.conf(5), RFC 4007 §11 for scope identifiers.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Where the configuration is.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How the host resolves names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolverConfig {
    /// Name servers in the order of preference, none twice, all that are listed (glibc asks only
    /// the first three). 127.0.0.1 when none is listed. Empty when those listed are link-local
    /// on interfaces that are not there.
    pub servers: Vec<SocketAddr>,
    /// Domains to try for short names, in order. Empty where glibc would guess one from the
    /// host's own name.
    pub search: Vec<String>,
    /// The options.
    pub options: ResolverOptions,
}

/// Options of `resolv.conf` that mean something to whoever forwards questions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResolverOptions {
    /// A name with fewer dots than this is tried with the search list first; at most 15.
    pub ndots: u32,
    /// How long a server has to answer; 1 to 30 s.
    pub timeout: Duration,
    /// How often the list of servers is gone through; 1 to 5.
    pub attempts: u32,
    /// Ask the servers in turn and not always the first one first.
    pub rotate: bool,
    /// Ask over TCP.
    pub use_tcp: bool,
    /// The servers are trusted to have validated what they answer with the AD bit.
    pub trust_ad: bool,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self {
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_tcp: false,
            trust_ad: false,
        }
    }
}

/// Reads the configuration at `path`, usually [`RESOLV_CONF`]. What is not understood in it is
/// passed over, and without a file the server is 127.0.0.1, as glibc does it.
///
/// # Errors
/// When there is a file and it cannot be read.
pub fn resolver_config(path: impl AsRef<Path>) -> io::Result<ResolverConfig> {
    match fs::read(path) {
        Ok(text) => Ok(parse(&String::from_utf8_lossy(&text), interface_index)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(parse("", |_| None)),
        Err(error) => Err(error),
    }
}

/// Reads a configuration; `index` knows the interfaces.
fn parse(text: &str, index: impl Fn(&str) -> Option<u32>) -> ResolverConfig {
    let mut named_any = false;
    let mut config = ResolverConfig {
        servers: Vec::new(),
        search: Vec::new(),
        options: ResolverOptions::default(),
    };
    // A comment begins with its line; elsewhere these characters are part of a word.
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let Some(word) = words.next() else { continue };
                named_any = true;
                let server = server(word, &index);
                config.servers.extend(server.filter(|server| !config.servers.contains(server)));
            }
            // The last of these two wins.
            Some("domain") => config.search = words.take(1).map(str::to_owned).collect(),
            Some("search") => config.search = words.map(str::to_owned).collect(),
            Some("options") => words.for_each(|word| option(&mut config.options, word)),
            Some(_) | None => {}
        }
    }
    if !named_any {
        config.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
    }
    config
}

fn server(word: &str, index: &impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let (address, scope) = match word.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (word, None),
    };
    match address.parse().ok()? {
        IpAddr::V4(v4) => scope.is_none().then(|| SocketAddr::new(v4.into(), DNS_PORT)),
        IpAddr::V6(v6) => {
            let scope = match scope {
                Some(scope) => scope.parse().ok().or_else(|| index(scope)).unwrap_or(0),
                None => 0,
            };
            // Nothing can be sent to a link without saying which.
            let reachable = scope != 0 || !v6.is_unicast_link_local();
            reachable.then(|| SocketAddr::V6(SocketAddrV6::new(v6, DNS_PORT, 0, scope)))
        }
    }
}

/// Reads one option, within the bounds glibc sets to it.
fn option(options: &mut ResolverOptions, word: &str) {
    let number = |value: &str, least: u32, most: u32| {
        value.parse::<u32>().ok().map(|number| number.clamp(least, most))
    };
    match word.split_once(':') {
        Some(("ndots", value)) => {
            options.ndots = number(value, 0, 15).unwrap_or(options.ndots);
        }
        Some(("timeout", value)) => {
            let seconds = number(value, 1, 30).map(u64::from);
            options.timeout = seconds.map_or(options.timeout, Duration::from_secs);
        }
        Some(("attempts", value)) => {
            options.attempts = number(value, 1, 5).unwrap_or(options.attempts);
        }
        Some(_) => {}
        None => match word {
            "rotate" => options.rotate = true,
            "use-vc" => options.use_tcp = true,
            "trust-ad" => options.trust_ad = true,
            _ => {}
        },
    }
}

fn interface_index(name: &str) -> Option<u32> {
    let flags = SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None).ok()?;
    rustix::net::netdevice::name_to_index(&fd, name).ok()
}

const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ResolverConfig {
        parse(text, |name| (name == "eth0.5").then_some(7))
    }

    fn servers(text: &str) -> Vec<String> {
        read(text).servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_listed_in_order_and_once() {
        let text = "# made by hand\n;nameserver 192.0.2.9\nnameserver 192.0.2.1 trailing\n\
                    nameserver\t2001:db8::1\nnameserver 192.0.2.1\nnameserver nonsense\n\
                    nameserver 127.0.0.53\nsortlist 192.0.2.0/24\n";
        assert_eq!(servers(text), ["192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.53:53"]);
    }

    #[test]
    fn scopes_are_kept_by_name_and_number() {
        assert_eq!(servers("nameserver fe80::1%eth0.5"), ["[fe80::1%7]:53"]);
        assert_eq!(servers("nameserver fe80::1%3"), ["[fe80::1%3]:53"]);
        assert!(servers("nameserver fe80::1%gone").is_empty(), "and nobody else is asked");
        assert!(servers("nameserver fe80::1").is_empty());
        assert!(servers("nameserver 192.0.2.1%eth0.5").is_empty());
    }

    #[test]
    fn without_servers_it_is_this_host() {
        assert_eq!(servers(""), ["127.0.0.1:53"]);
        assert_eq!(servers("search example.org\nnameserver\n"), ["127.0.0.1:53"]);
    }

    #[test]
    fn the_last_of_domain_and_search_wins() {
        assert_eq!(read("domain a.test\nsearch b.test c.test").search, ["b.test", "c.test"]);
        assert_eq!(read("search b.test c.test\ndomain a.test x").search, ["a.test"]);
    }

    #[test]
    fn options_keep_to_their_bounds() {
        assert_eq!(read("options nonsense ndots: ndots:x").options, ResolverOptions::default());
        let text = "options ndots:99 timeout:0 attempts:9 rotate\noptions use-vc trust-ad edns0";
        let expected = ResolverOptions {
            ndots: 15,
            timeout: Duration::from_secs(1),
            attempts: 5,
            rotate: true,
            use_tcp: true,
            trust_ad: true,
        };
        assert_eq!(read(text).options, expected);
    }

    #[test]
    fn a_missing_file_is_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let config = resolver_config(directory.path().join("resolv.conf")).unwrap();
        assert_eq!(config.servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
        assert!(resolver_config(directory.path()).is_err(), "a directory is neither");
    }
}
