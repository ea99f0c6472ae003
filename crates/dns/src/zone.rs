//! Names that are answered here and never forwarded.
//!
//! Owns the configured records, their reverse names, the reverse names of the guest's link, and
//! the special names that no upstream should see. Names that were not found here and are nobody
//! else's do not exist.
//! Spec: RFC 6761 §6 (localhost, invalid), RFC 6303 §4 (reverse names of loopback), RFC 7686 §2
//! (onion), RFC 1035 §3.5 and RFC 3596 §2.5 (reverse names).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::quality::SeedableRandomState;
use ipnet::IpNet;
use portreeve_types::{Addressing, DnsName, StaticRecord};

use crate::limits::{LOCAL_ADDRESSES, LOCAL_NAMES, LOCAL_TTL};
use crate::wire::{WireName, labels, rtype, wire_name};

/// The local zone.
#[derive(Debug)]
pub(crate) struct Zone {
    /// What was configured or added.
    given: Table,
    /// What the gateway and its guest are called by themselves.
    own: Table,
    /// The guest's link: reverse names there are answered here whether they exist or not.
    networks: Vec<IpNet>,
}

/// Names with their addresses, and addresses with their names.
#[derive(Debug)]
struct Table {
    /// By name in wire form.
    names: BTreeMap<Box<[u8]>, Local>,
    /// Looked up only, never iterated.
    reverse: HashMap<IpAddr, DnsName, SeedableRandomState>,
}

#[derive(Debug)]
struct Local {
    name: DnsName,
    addresses: Vec<IpAddr>,
    ttl: u32,
}

/// What is known here about a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Records of the type asked for.
    Addresses(Vec<IpAddr>, u32),
    /// The name an address has.
    Pointer(DnsName, u32),
    /// The name exists, with other types.
    NoData,
    /// The name does not exist.
    NoName,
}

impl Zone {
    pub(crate) fn new(
        records: &[StaticRecord],
        given: SeedableRandomState,
        own: SeedableRandomState,
    ) -> Self {
        let (given, own) = (Table::new(given), Table::new(own));
        let mut zone = Self { given, own, networks: Vec::new() };
        for record in records {
            zone.add(record);
        }
        zone
    }

    /// Adds addresses to a name, as many as there is room for; says whether there was for all.
    pub(crate) fn add(&mut self, record: &StaticRecord) -> bool {
        self.given.add(record)
    }

    /// The same for a name of the gateway's own, which stands behind one that was given.
    pub(crate) fn add_own(&mut self, record: &StaticRecord) -> bool {
        self.own.add(record)
    }

    /// Replaces all addresses of a name; says whether there was room, without which nothing
    /// changes.
    pub(crate) fn set(&mut self, record: &StaticRecord) -> bool {
        self.given.set(record)
    }

    /// Forgets a name; says whether there was one.
    pub(crate) fn remove(&mut self, name: &DnsName) -> bool {
        self.given.remove(name)
    }

    /// What was given, by name.
    pub(crate) fn records(&self) -> Vec<StaticRecord> {
        let record = |local: &Local| StaticRecord {
            name: local.name.clone(),
            addresses: local.addresses.clone(),
            ttl: local.ttl,
        };
        let mut records: Vec<_> = self.given.names.values().map(record).collect();
        records.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        records
    }

    /// Takes the reverse names of the guest's link as its own.
    pub(crate) fn set_addressing(&mut self, addressing: &Addressing) {
        let v4 =
            addressing.ipv4.and_then(|link| IpNet::new(link.guest.into(), link.prefix_len).ok());
        let v6 =
            addressing.ipv6.and_then(|link| IpNet::new(link.guest.into(), link.prefix_len).ok());
        self.networks = v4.into_iter().chain(v6).map(|network| network.trunc()).collect();
    }

    /// What is known here; `None` for a name that is somebody else's.
    pub(crate) fn find(&self, name: &WireName, qtype: u16) -> Option<Verdict> {
        if let Some(local) = self.tables().find_map(|table| table.names.get(name.as_bytes())) {
            return Some(local.of_type(qtype));
        }
        let octets = name.as_bytes();
        if octets.ends_with(b"\x04arpa\0") {
            return self.find_reverse(reverse_address(name)?, qtype);
        }
        if ends_with_labels(octets, b"\x09localhost\0") {
            let addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Some(of_type(&addresses, LOCAL_TTL, qtype));
        }
        NEVER_FORWARDED
            .iter()
            .any(|domain| ends_with_labels(octets, domain))
            .then_some(Verdict::NoName)
    }

    fn find_reverse(&self, address: IpAddr, qtype: u16) -> Option<Verdict> {
        let (name, ttl) = match self.tables().find_map(|table| table.name_of(address)) {
            Some(named) => named,
            None if address.is_loopback() => (DnsName::from_labels([&b"localhost"[..]]), LOCAL_TTL),
            None => {
                let ours = self.networks.iter().any(|network| network.contains(&address));
                return ours.then_some(Verdict::NoName);
            }
        };
        let pointer = matches!(qtype, rtype::PTR | rtype::ANY);
        Some(if pointer { Verdict::Pointer(name, ttl) } else { Verdict::NoData })
    }

    /// What was given goes first.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        [&self.given, &self.own].into_iter()
    }
}

impl Table {
    fn new(hasher: SeedableRandomState) -> Self {
        Self { names: BTreeMap::new(), reverse: HashMap::with_hasher(hasher) }
    }

    fn add(&mut self, record: &StaticRecord) -> bool {
        let name = wire_name(&record.name);
        if !self.has_room(&name) {
            return false;
        }
        let local = self.names.entry(name).or_insert_with(|| Local {
            name: record.name.clone(),
            addresses: Vec::new(),
            ttl: 0,
        });
        local.ttl = record.ttl;
        let mut complete = true;
        for address in record.addresses.iter().map(IpAddr::to_canonical) {
            if local.addresses.contains(&address) {
                continue;
            }
            if local.addresses.len() >= LOCAL_ADDRESSES {
                complete = false;
                break;
            }
            local.addresses.push(address);
            // The first name of an address is its reverse name.
            self.reverse.entry(address).or_insert_with(|| record.name.clone());
        }
        complete
    }

    fn set(&mut self, record: &StaticRecord) -> bool {
        let addresses: BTreeSet<_> = record.addresses.iter().map(IpAddr::to_canonical).collect();
        if addresses.len() > LOCAL_ADDRESSES || !self.has_room(&wire_name(&record.name)) {
            return false;
        }
        self.remove(&record.name);
        self.add(record)
    }

    fn remove(&mut self, name: &DnsName) -> bool {
        let Some(local) = self.names.remove(&wire_name(name)) else { return false };
        for address in &local.addresses {
            if self.reverse.get(address) == Some(name) {
                self.reverse.remove(address);
            }
        }
        true
    }

    fn has_room(&self, name: &[u8]) -> bool {
        self.names.len() < LOCAL_NAMES || self.names.contains_key(name)
    }

    /// The name of an address, and how long it may be kept.
    fn name_of(&self, address: IpAddr) -> Option<(DnsName, u32)> {
        let name = self.reverse.get(&address)?;
        let ttl = self.names.get(&wire_name(name)).map_or(LOCAL_TTL, |local| local.ttl);
        Some((name.clone(), ttl))
    }
}

impl Local {
    fn of_type(&self, qtype: u16) -> Verdict {
        of_type(&self.addresses, self.ttl, qtype)
    }
}

fn of_type(addresses: &[IpAddr], ttl: u32, qtype: u16) -> Verdict {
    let wanted = |address: &IpAddr| match qtype {
        rtype::A => address.is_ipv4(),
        rtype::AAAA => address.is_ipv6(),
        _ => false,
    };
    let addresses: Vec<_> = addresses.iter().copied().filter(wanted).collect();
    if addresses.is_empty() {
        return Verdict::NoData;
    }
    Verdict::Addresses(addresses, ttl)
}

/// Whether a name is `domain` or below it; both in wire form.
fn ends_with_labels(name: &[u8], domain: &[u8]) -> bool {
    if !name.ends_with(domain) {
        return false;
    }
    // The octets may also be those of a label's inside.
    let mut at = 0;
    while at < name.len() - domain.len() {
        at += 1 + usize::from(name[at]);
    }
    at == name.len() - domain.len()
}

/// The address a complete reverse name is of.
fn reverse_address(name: &WireName) -> Option<IpAddr> {
    let mut parts: Vec<&[u8]> = labels(name.as_bytes()).collect();
    let (zone, family) = (parts.pop()?, parts.pop()?);
    if zone != b"arpa" {
        return None;
    }
    parts.reverse();
    match (family, parts.len()) {
        (b"in-addr", 4) => {
            let mut octets = [0; 4];
            for (octet, part) in octets.iter_mut().zip(parts) {
                *octet = std::str::from_utf8(part).ok()?.parse().ok()?;
            }
            Some(octets.into())
        }
        (b"ip6", 32) => {
            let mut bits = 0_u128;
            for part in parts {
                let &[digit] = part else { return None };
                bits = bits << 4 | u128::from(char::from(digit).to_digit(16)?);
            }
            Some(Ipv6Addr::from(bits).into())
        }
        _ => None,
    }
}

/// Domains that exist here or nowhere.
const NEVER_FORWARDED: &[&[u8]] =
    &[b"\x09portreeve\x08internal\0", b"\x07invalid\0", b"\x05onion\0"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn zone() -> Zone {
        let record = |name: &str, addresses: &[&str]| StaticRecord {
            name: name.parse().unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ttl: 30,
        };
        let records = [
            record("host.portreeve.internal", &["10.0.2.2", "fd00::2"]),
            record("box", &["fd00::15"]),
        ];
        let mut random = Random::new([1, 2]);
        let mut zone = Zone::new(&records, random.hasher(), random.hasher());
        zone.set_addressing(&Addressing {
            ipv4: Some(portreeve_types::Ipv4Link {
                guest: [10, 0, 2, 15].into(),
                gateway: [10, 0, 2, 2].into(),
                prefix_len: 24,
            }),
            ipv6: None,
            ..Addressing::default()
        });
        zone
    }

    fn find(zone: &Zone, name: &str, qtype: u16) -> Option<Verdict> {
        let wire = wire_name(&name.parse().unwrap());
        zone.find(&WireName::read(&wire, 0).unwrap().0, qtype)
    }

    #[test]
    fn local_names_answer_by_type() {
        let zone = zone();
        let v4 = Verdict::Addresses(vec!["10.0.2.2".parse().unwrap()], 30);
        assert_eq!(find(&zone, "HOST.portreeve.internal", rtype::A), Some(v4));
        assert_eq!(find(&zone, "box", rtype::A), Some(Verdict::NoData));
        assert_eq!(find(&zone, "box", rtype::MX), Some(Verdict::NoData));
        assert_eq!(find(&zone, "a.box", rtype::A), None);
    }

    #[test]
    fn special_names_never_leave() {
        let zone = zone();
        for name in ["portreeve.internal", "x.portreeve.internal", "a.invalid", "xyz.onion"] {
            assert_eq!(find(&zone, name, rtype::A), Some(Verdict::NoName), "{name}");
        }
        let loopback = Verdict::Addresses(vec![Ipv6Addr::LOCALHOST.into()], 60);
        assert_eq!(find(&zone, "a.localhost", rtype::AAAA), Some(loopback));
        for name in ["corp.internal", "notlocalhost", "use-application-dns.net", "xinvalid"] {
            assert_eq!(find(&zone, name, rtype::A), None, "{name}");
        }
        // One label with the octets of two inside.
        assert!(!ends_with_labels(b"\x0ax\x09localhos\0", b"\x09localhos\0"));
    }

    #[test]
    fn reverse_names_of_the_link_are_local_and_others_are_not() {
        let mut zone = zone();
        let host = Verdict::Pointer("host.portreeve.internal".parse().unwrap(), 30);
        assert_eq!(find(&zone, "2.2.0.10.in-addr.arpa", rtype::PTR), Some(host));
        assert_eq!(find(&zone, "2.2.0.10.in-addr.arpa", rtype::A), Some(Verdict::NoData));
        assert_eq!(find(&zone, "9.2.0.10.in-addr.arpa", rtype::PTR), Some(Verdict::NoName));
        assert_eq!(find(&zone, "9.3.0.10.in-addr.arpa", rtype::PTR), None);
        assert_eq!(find(&zone, "2.0.10.in-addr.arpa", rtype::PTR), None);
        assert_eq!(find(&zone, "300.2.0.10.in-addr.arpa", rtype::PTR), None);
        let name = format!("2.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert!(matches!(find(&zone, &name, rtype::PTR), Some(Verdict::Pointer(_, 30))));
        let localhost = Verdict::Pointer("localhost".parse().unwrap(), 60);
        assert_eq!(find(&zone, "1.0.0.127.in-addr.arpa", rtype::PTR), Some(localhost));
        assert!(zone.remove(&"host.portreeve.internal".parse().unwrap()));
        assert!(!zone.remove(&"host.portreeve.internal".parse().unwrap()));
        assert_eq!(find(&zone, "2.2.0.10.in-addr.arpa", rtype::PTR), Some(Verdict::NoName));
    }

    #[test]
    fn a_name_has_room_for_so_many_addresses() {
        let mut zone = zone();
        let record = |last| StaticRecord {
            name: "many".parse().unwrap(),
            addresses: vec![IpAddr::from([192, 0, 2, last])],
            ttl: 1,
        };
        for last in 0..LOCAL_ADDRESSES as u8 {
            assert!(zone.add(&record(last)));
            assert!(zone.add(&record(last)));
        }
        assert!(!zone.add(&record(200)));
    }

    fn record(name: &str, last: std::ops::Range<u8>, ttl: u32) -> StaticRecord {
        let addresses = last.map(|last| IpAddr::from([192, 0, 2, last])).collect();
        StaticRecord { name: name.parse().unwrap(), addresses, ttl }
    }

    #[test]
    fn a_record_that_is_set_takes_the_place_of_what_was_there() {
        let mut zone = zone();
        assert!(zone.set(&record("box", 1..3, 7)));
        let addresses = vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(find(&zone, "box", rtype::A), Some(Verdict::Addresses(addresses, 7)));
        assert_eq!(find(&zone, "box", rtype::AAAA), Some(Verdict::NoData));
        let names = |zone: &Zone| -> Vec<_> {
            zone.records().iter().map(|record| record.name.to_string()).collect()
        };
        assert_eq!(names(&zone), ["box", "host.portreeve.internal"]);
        assert_eq!(zone.records()[0], record("box", 1..3, 7));
        let before = zone.records();
        assert!(!zone.set(&record("box", 0..33, 7)), "no room for so many");
        assert_eq!(zone.records(), before);
        assert!(zone.set(&record("aaa", 0..32, 7)));
        assert_eq!(names(&zone), ["aaa", "box", "host.portreeve.internal"]);
    }

    #[test]
    fn names_of_the_gateways_own_stand_back_and_come_again() {
        let mut zone = zone();
        let own = |zone: &Zone| find(zone, "gw", rtype::A);
        assert!(zone.add_own(&record("gw", 1..2, 60)));
        let listed = zone.records().len();
        let first = own(&zone);
        assert!(matches!(first, Some(Verdict::Addresses(..))));
        assert!(zone.set(&record("gw", 5..6, 9)));
        assert_ne!(own(&zone), first);
        let reverse = find(&zone, "1.2.0.192.in-addr.arpa", rtype::PTR);
        assert_eq!(reverse, Some(Verdict::Pointer("gw".parse().unwrap(), 60)));
        assert_eq!(zone.records().len(), listed + 1);
        assert!(zone.remove(&"gw".parse().unwrap()));
        assert_eq!(own(&zone), first);
        assert!(!zone.remove(&"gw".parse().unwrap()), "it is nobody's to remove");
        assert_eq!(own(&zone), first);
    }
}
