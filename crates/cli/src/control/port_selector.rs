//! Which published port is meant: `9090`, `9090/tcp`, `127.0.0.1:9090`, `unix:PATH`, `id:7`.
//!
//! Owns when several listeners are one thing: a request for loopback, or for every address, makes
//! one for each family. Anything else that fits several is ambiguous, and closing a port is not
//! done on a guess.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use portreeve_types::api::PortStatus;
use portreeve_types::{HostEndpoint, PublishId, PublishedPort, Transport};

/// One or more published ports, as somebody names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortSelector {
    host: Host,
    transport: Option<Transport>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Id(PublishId),
    Port(u16),
    Addr(SocketAddr),
    Unix(PathBuf),
    Fd(i32),
}

/// Why a selector chooses nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// No published port fits.
    Absent,
    /// Several do, and are not one thing: how to name each.
    Several(Vec<String>),
}

impl PortSelector {
    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Every one that fits, draining ones as well.
    pub(super) fn all<'a>(&self, ports: &'a [PortStatus]) -> Vec<&'a PortStatus> {
        ports.iter().filter(|status| self.fits(&status.port)).collect()
    }

    /// The one thing that is meant.
    pub(super) fn choose<'a>(
        &self,
        ports: &'a [PortStatus],
    ) -> Result<Vec<&'a PortStatus>, Unclear> {
        let found = self.all(ports);
        match found.split_first() {
            None => Err(Unclear::Absent),
            Some((first, rest)) if rest.iter().all(|other| belong(&first.port, &other.port)) => {
                Ok(found)
            }
            Some(_) => {
                let protocols =
                    found.iter().any(|one| one.port.transport != found[0].port.transport);
                let name = |status: &&PortStatus| match (&self.host, protocols) {
                    (Host::Port(port), true) => format!("{port}/{}", status.port.transport),
                    _ => format!("{}/{}", status.port.host, status.port.transport),
                };
                let mut names: Vec<_> = found.iter().map(name).collect();
                names.sort();
                names.dedup();
                Err(Unclear::Several(names))
            }
        }
    }

    fn fits(&self, port: &PublishedPort) -> bool {
        let host = match (&self.host, &port.host) {
            (Host::Id(id), _) => *id == port.id,
            (Host::Port(wanted), HostEndpoint::Inet(at)) => *wanted == at.port(),
            (Host::Addr(wanted), HostEndpoint::Inet(at)) => wanted == at,
            (Host::Unix(wanted), HostEndpoint::Unix(at)) => wanted == at,
            (Host::Fd(wanted), HostEndpoint::Fd(at)) => wanted == at,
            _ => false,
        };
        host && self.transport.is_none_or(|transport| transport == port.transport)
    }
}

/// Whether two listeners were made for one purpose: they lead to the same place, from the loopback
/// addresses of both families or from all addresses of both.
fn belong(one: &PublishedPort, other: &PublishedPort) -> bool {
    let kind = |port: &PublishedPort| match port.host.socket_addr().map(|at| at.ip()) {
        Some(ip) if ip.is_loopback() => Some((true, ip.is_ipv4())),
        Some(ip) if ip.is_unspecified() => Some((false, ip.is_ipv4())),
        _ => None,
    };
    let families = match (kind(one), kind(other)) {
        (Some((loopback, v4)), Some((too, v4_too))) => loopback == too && v4 != v4_too,
        _ => false,
    };
    one.id == other.id
        || (families && one.transport == other.transport && one.guest_port == other.guest_port)
}

impl FromStr for PortSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "`{}` is no published port: write 9090, 9090/tcp, 127.0.0.1:9090, unix:PATH or id:7",
                text.escape_debug()
            )
        };
        let select = |host, transport| Self { host, transport, text: text.to_owned() };
        if let Some(id) = text.strip_prefix("id:") {
            return Ok(select(Host::Id(PublishId(id.parse().map_err(|_| wrong())?)), None));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // `/tcp` may end what `ports` shows, and a path as well; only TCP has Unix sockets.
            let path = path.strip_suffix("/tcp").unwrap_or(path);
            return Ok(select(Host::Unix(path.into()), None));
        }
        let (host, transport) = match text.split_once('/') {
            Some((host, transport)) => (host, Some(transport.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let host = if let Some(fd) = host.strip_prefix("fd:") {
            Host::Fd(fd.parse().map_err(|_| wrong())?)
        } else if host.bytes().all(|byte| byte.is_ascii_digit()) {
            Host::Port(host.parse().map_err(|_| wrong())?)
        } else {
            Host::Addr(host.parse().map_err(|_| wrong())?)
        };
        Ok(select(host, transport))
    }
}

/// The same listener of both families once, as `localhost:8080` or `*:8080`; others as they are.
/// In order.
pub(super) fn shown_hosts<'a>(ports: impl IntoIterator<Item = &'a PublishedPort>) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    let mut rest: Vec<&PublishedPort> = ports.into_iter().collect();
    while !rest.is_empty() {
        let port = rest.remove(0);
        let twin = rest.iter().position(|other| {
            belong(port, other)
                && port.host.socket_addr().map(|at| at.port())
                    == other.host.socket_addr().map(|at| at.port())
        });
        let host = match (twin, &port.host) {
            (Some(at), HostEndpoint::Inet(addr)) => {
                rest.remove(at);
                match addr.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => format!("*:{}", addr.port()),
                    IpAddr::V6(ip) if ip.is_unspecified() => format!("*:{}", addr.port()),
                    _ => format!("localhost:{}", addr.port()),
                }
            }
            (_, host) => host.to_string(),
        };
        shown.push(format!("{host}->{}/{}", port.guest_port, port.transport));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_types::SourceMode;
    use portreeve_types::api::{PortCounters, PortState};

    fn port(id: u32, host: &str, guest_port: u16, transport: Transport) -> PortStatus {
        let host = match host.strip_prefix("unix:") {
            Some(path) => HostEndpoint::Unix(path.into()),
            None => HostEndpoint::Inet(host.parse().unwrap()),
        };
        let source = SourceMode::Gateway;
        let port =
            PublishedPort { id: PublishId(id), transport, guest_port, host, source, name: None };
        let counters = PortCounters::default();
        PortStatus { port, state: PortState::Listening, cause: None, counters }
    }

    fn ports() -> Vec<PortStatus> {
        use Transport::{Tcp, Udp};
        vec![
            port(1, "127.0.0.1:9090", 90, Tcp),
            port(2, "[::1]:9090", 90, Tcp),
            port(3, "127.0.0.1:53", 53, Udp),
            port(4, "127.0.0.1:53", 53, Tcp),
            port(5, "10.0.0.1:80", 80, Tcp),
            port(6, "10.0.0.2:80", 80, Tcp),
            port(7, "unix:/run/x", 80, Tcp),
            port(8, "0.0.0.0:443", 443, Tcp),
            port(9, "[::]:443", 443, Tcp),
        ]
    }

    fn choose(text: &str) -> Result<Vec<u32>, Unclear> {
        let ports = ports();
        let chosen = text.parse::<PortSelector>().unwrap().choose(&ports)?;
        Ok(chosen.iter().map(|status| status.port.id.0).collect())
    }

    #[test]
    fn one_thing_is_chosen_whole() {
        assert_eq!(choose("9090"), Ok(vec![1, 2]));
        assert_eq!(choose("9090/tcp"), Ok(vec![1, 2]));
        assert_eq!(choose("[::1]:9090"), Ok(vec![2]));
        assert_eq!(choose("53/udp"), Ok(vec![3]));
        assert_eq!(choose("10.0.0.2:80"), Ok(vec![6]));
        assert_eq!(choose("unix:/run/x"), Ok(vec![7]));
        assert_eq!(choose("unix:/run/x/tcp"), Ok(vec![7]));
        assert_eq!(choose("443"), Ok(vec![8, 9]));
        assert_eq!(choose("id:4"), Ok(vec![4]));
    }

    #[test]
    fn what_is_not_there_or_several_is_not_guessed() {
        for absent in ["90", "9090/udp", "id:99", "unix:/x", "fd:3", "127.0.0.2:9090"] {
            assert_eq!(choose(absent), Err(Unclear::Absent), "{absent}");
        }
        let several = |names: &[&str]| {
            Err(Unclear::Several(names.iter().map(|&name| name.to_owned()).collect()))
        };
        assert_eq!(choose("53"), several(&["53/tcp", "53/udp"]));
        assert_eq!(choose("80"), several(&["10.0.0.1:80/tcp", "10.0.0.2:80/tcp"]));
        assert_eq!(choose("10.0.0.1:80/tcp"), Ok(vec![5]));
    }

    #[test]
    fn what_cannot_be_meant() {
        for text in
            ["", "web", "99999", "80/sctp", "80/", "id:x", "fd:", "1.2.3.4", "-1", "8080:80"]
        {
            let error = text.parse::<PortSelector>().unwrap_err();
            assert!(error.contains("is no published port"), "{text}: {error}");
        }
    }

    #[test]
    fn pairs_are_shown_once() {
        let ports = ports();
        assert_eq!(
            shown_hosts(ports.iter().map(|status| &status.port)),
            [
                "localhost:9090->90/tcp",
                "127.0.0.1:53->53/udp",
                "127.0.0.1:53->53/tcp",
                "10.0.0.1:80->80/tcp",
                "10.0.0.2:80->80/tcp",
                "unix:/run/x->80/tcp",
                "*:443->443/tcp",
            ]
        );
    }
}
