//! Choosing the guest's addresses so that they collide with none of the host's.

use std::net::IpAddr;

use portreeve_types::Addressing;

/// The first of [`Addressing::candidates`] whose networks overlap none of the host's own; the
/// default when the host cannot be asked or every candidate overlaps.
///
/// A guest whose network is also one of the host's could not be told apart from it.
pub fn free_addressing() -> Addressing {
    let host = match portreeve_host::interface_addresses() {
        Ok(addresses) => addresses,
        Err(error) => {
            tracing::warn!(%error, "reading the host's addresses");
            Vec::new()
        }
    };
    first_free(&host)
}

fn first_free(host: &[(IpAddr, Option<u8>)]) -> Addressing {
    let collides = |candidate: &Addressing| {
        host.iter().any(|&(address, prefix)| match address {
            IpAddr::V4(v4) => candidate.ipv4.is_some_and(|link| {
                let shorter = prefix.unwrap_or(32).min(link.prefix_len);
                let mask = !u32::MAX.checked_shr(shorter.into()).unwrap_or(0);
                v4.to_bits() & mask == link.guest.to_bits() & mask
            }),
            IpAddr::V6(v6) => candidate.ipv6.is_some_and(|link| {
                let shorter = prefix.unwrap_or(128).min(link.prefix_len);
                let mask = !u128::MAX.checked_shr(shorter.into()).unwrap_or(0);
                v6.to_bits() & mask == link.guest.to_bits() & mask
            }),
        })
    };
    Addressing::candidates().find(|candidate| !collides(candidate)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_network_that_overlaps_moves_the_guest() {
        let default = Addressing::default();
        assert_eq!(first_free(&[]), default);
        let guest = default.ipv4.unwrap().guest;
        let moved = first_free(&[(guest.into(), Some(24))]);
        assert_ne!(moved, default);
        // A host that has all of 10/8 overlaps every candidate in it.
        let wide = first_free(&[("10.0.0.1".parse().unwrap(), Some(8))]);
        assert!(wide == default || wide.ipv4.unwrap().guest.octets()[0] != 10);
        let guest6 = default.ipv6.unwrap().guest;
        assert_ne!(first_free(&[(guest6.into(), Some(64))]), default);
    }
}
