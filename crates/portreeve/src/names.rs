//! The names that every gateway answers by itself, and what the host says of names.

use std::net::IpAddr;

use portreeve_types::{Addressing, Announce, DnsName, Egress, StaticRecord};

/// The gateway's own name.
const GATEWAY_NAME: &str = "gateway.portreeve.internal";
/// The name of the host, for a guest that may reach it.
const HOST_NAME: &str = "host.portreeve.internal";

/// The search list of this host: what its `/etc/resolv.conf` says now. Names that are none are
/// left out.
pub fn host_search() -> Vec<DnsName> {
    match portreeve_host::resolver_config(portreeve_host::RESOLV_CONF) {
        Ok(config) => config.search.iter().filter_map(|name| name.parse().ok()).collect(),
        Err(error) => {
            tracing::warn!(%error, "reading the host's search list");
            Vec::new()
        }
    }
}

/// What the guest, its gateway and, where it is open, the host are called. A record of the same
/// name that was configured goes before.
pub(crate) fn own_records(
    addressing: &Addressing,
    announce: &Announce,
    egress: &Egress,
) -> Vec<StaticRecord> {
    let link = |guest: bool| -> Vec<IpAddr> {
        let v4 = addressing.ipv4.map(|link| if guest { link.guest } else { link.gateway }.into());
        let v6 = addressing.ipv6.map(|link| if guest { link.guest } else { link.gateway }.into());
        v4.into_iter().chain(v6).collect()
    };
    let host = egress.host.is_open().then(|| (HOST_NAME.to_owned(), false));
    let guest = announce.hostname.clone().map(|name| (name, true));
    let local = [Some((GATEWAY_NAME.to_owned(), false)), host, guest];
    let record = |(name, is_guest): (String, bool)| {
        // What is announced has been checked to be a name.
        let name = name.parse::<DnsName>().ok()?;
        Some(StaticRecord { name, addresses: link(is_guest), ttl: StaticRecord::DEFAULT_TTL })
    };
    local.into_iter().flatten().filter_map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_types::HostAccess;

    #[test]
    fn the_host_has_a_name_only_where_it_is_open() {
        let names = |egress: &Egress| {
            let announce = Announce { hostname: Some("web".into()), ..Announce::default() };
            let addressing = Addressing::default();
            let records = own_records(&addressing, &announce, egress);
            records.iter().map(|record| record.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&Egress::default()), [GATEWAY_NAME, "web"]);
        let open = Egress { host: HostAccess::All, ..Egress::default() };
        assert_eq!(names(&open), [GATEWAY_NAME, HOST_NAME, "web"]);
    }
}
