//! The host's own addresses, to keep a guest's apart from them.
//!
//! Spec: getifaddrs(3).

use std::io;
use std::net::IpAddr;

/// Every address of every interface of this network namespace, with its prefix length where the
/// interface says one.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn interface_addresses() -> io::Result<Vec<(IpAddr, Option<u8>)>> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(io::Error::from)?;
    Ok(interfaces
        .filter_map(|interface| {
            let ip = |storage: nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
                let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            };
            let address = ip(interface.address?)?;
            let ones = |mask| match mask {
                IpAddr::V4(v4) => v4.to_bits().count_ones(),
                IpAddr::V6(v6) => v6.to_bits().count_ones(),
            };
            let prefix = interface.netmask.and_then(ip).map(ones);
            Some((address, prefix.and_then(|bits| u8::try_from(bits).ok())))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_them() {
        let addresses = interface_addresses().unwrap();
        assert!(addresses.iter().any(|(address, _)| address.is_loopback()), "{addresses:?}");
    }
}
