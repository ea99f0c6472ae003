//! Whom a mapping has sent to: the filter for what comes back (RFC 4787 §5), and the way back from
//! the address that was dialled to the one the guest knows.
//!
//! Owns a bounded set; a destination that was not used lately gives way to a new one.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use portreeve_types::UdpFiltering;

use crate::engine::host::MappingKind;

/// Destinations by the address that the host's socket sends to.
#[derive(Default)]
pub(super) struct Peers {
    peers: BTreeMap<SocketAddr, Peer>,
    order: VecDeque<SocketAddr>,
}

struct Peer {
    /// The address that the guest uses.
    remote: SocketAddr,
    /// Whether it was used again since it was last at the head of `order`.
    used: bool,
}

impl Peers {
    /// The guest sends to `remote`, which is `target` on the host's side.
    pub(super) fn add(&mut self, target: SocketAddr, remote: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&target) {
            peer.remote = remote;
            peer.used = true;
            return;
        }
        while self.peers.len() >= MAX_PEERS {
            self.evict();
        }
        self.peers.insert(target, Peer { remote, used: false });
        self.order.push_back(target);
    }

    /// Who sends from `source`, as the guest knows it; `None` when it is to be kept out.
    pub(super) fn admits(
        &self,
        source: SocketAddr,
        kind: MappingKind,
        filtering: UdpFiltering,
    ) -> Option<SocketAddr> {
        if let Some(remote) = self.remote(source) {
            return Some(remote);
        }
        let admitted = match (kind, filtering) {
            (MappingKind::Echo, _) | (_, UdpFiltering::AddressAndPortDependent) => false,
            (MappingKind::Udp, UdpFiltering::AddressDependent) => {
                // A service of the host's loopback is known by its port alone.
                !source.ip().is_loopback() && self.has_address(source.ip())
            }
            (MappingKind::Udp, UdpFiltering::EndpointIndependent) => true,
        };
        admitted.then_some(source)
    }

    /// The guest's name for a destination that it has sent to.
    pub(super) fn remote(&self, target: SocketAddr) -> Option<SocketAddr> {
        self.peers.get(&target).map(|peer| peer.remote)
    }

    fn has_address(&self, address: IpAddr) -> bool {
        let first = SocketAddr::new(address, 0);
        self.peers.range(first..).next().is_some_and(|(target, _)| target.ip() == address)
    }

    fn evict(&mut self) {
        while let Some(target) = self.order.pop_front() {
            match self.peers.get_mut(&target) {
                Some(peer) if peer.used => {
                    peer.used = false;
                    self.order.push_back(target);
                }
                Some(_) => {
                    self.peers.remove(&target);
                    return;
                }
                None => {}
            }
        }
    }
}

/// Destinations of one mapping that are remembered at once.
const MAX_PEERS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: u8, port: u16) -> SocketAddr {
        ([192, 0, 2, host], port).into()
    }

    #[test]
    fn who_is_let_in_follows_the_filtering() {
        let mut peers = Peers::default();
        peers.add(at(1, 53), at(1, 53));
        let admits = |source, filtering| peers.admits(source, MappingKind::Udp, filtering);
        use UdpFiltering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        for filtering in [AddressAndPortDependent, AddressDependent, EndpointIndependent] {
            assert_eq!(admits(at(1, 53), filtering), Some(at(1, 53)));
        }
        assert_eq!(admits(at(1, 54), AddressAndPortDependent), None);
        assert_eq!(admits(at(1, 54), AddressDependent), Some(at(1, 54)));
        assert_eq!(admits(at(2, 53), AddressDependent), None);
        assert_eq!(admits(at(2, 53), EndpointIndependent), Some(at(2, 53)));
        assert_eq!(peers.admits(at(1, 54), MappingKind::Echo, EndpointIndependent), None);
    }

    #[test]
    fn an_answer_from_the_hosts_loopback_comes_from_the_gateway() {
        let (service, gateway) = (([127, 0, 0, 1], 9000).into(), at(1, 9000));
        let mut peers = Peers::default();
        peers.add(service, gateway);
        let admits =
            |source| peers.admits(source, MappingKind::Udp, UdpFiltering::AddressDependent);
        assert_eq!(admits(service), Some(gateway));
        assert_eq!(admits(([127, 0, 0, 1], 9001).into()), None);
    }

    #[test]
    fn a_spray_is_bounded_and_spares_what_is_in_use() {
        let mut peers = Peers::default();
        let kept = at(1, 1);
        peers.add(kept, kept);
        for port in 2..10_000 {
            peers.add(at(2, port), at(2, port));
            peers.add(kept, kept);
            assert!(peers.peers.len() <= MAX_PEERS && peers.order.len() <= MAX_PEERS);
        }
        assert_eq!(peers.remote(kept), Some(kept));
        assert_eq!(peers.remote(at(2, 2)), None);
    }
}
