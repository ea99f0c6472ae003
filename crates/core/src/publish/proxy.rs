//! The PROXY protocol: who the client is, said in front of its bytes.
//!
//! Owns which header goes where; the formats are the `ppp` crate's (HAProxy's specification,
//! versions 1 and 2). A client without an address (a Unix socket) is announced as unknown.

use std::net::SocketAddr;

use portreeve_types::SourceMode;
use ppp::{v1, v2};

use crate::engine::host::Accepted;

/// What goes in front of the first byte of a TCP stream; empty where the mode wants nothing.
pub(crate) fn preamble(mode: SourceMode, accepted: &Accepted) -> Box<[u8]> {
    let ends = accepted.client.zip(accepted.local);
    match mode {
        SourceMode::Gateway | SourceMode::Preserve => Box::default(),
        SourceMode::ProxyV1 => version_1(ends).into_bytes().into(),
        SourceMode::ProxyV2 => version_2(ends, v2::Protocol::Stream).into(),
    }
}

/// What goes in front of every UDP datagram: version 2 knows datagrams, version 1 does not.
pub(crate) fn datagram_preamble(
    mode: SourceMode,
    client: SocketAddr,
    local: SocketAddr,
) -> Box<[u8]> {
    match mode {
        SourceMode::ProxyV2 => version_2(Some((client, local)), v2::Protocol::Datagram).into(),
        SourceMode::Gateway | SourceMode::Preserve | SourceMode::ProxyV1 => Box::default(),
    }
}

fn version_1(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    match ends {
        Some((SocketAddr::V4(client), SocketAddr::V4(local))) => {
            v1::Addresses::new_tcp4(*client.ip(), *local.ip(), client.port(), local.port())
        }
        Some((SocketAddr::V6(client), SocketAddr::V6(local))) => {
            v1::Addresses::new_tcp6(*client.ip(), *local.ip(), client.port(), local.port())
        }
        Some((SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)))
        | None => v1::Addresses::Unknown,
    }
    .to_string()
}

fn version_2(ends: Option<(SocketAddr, SocketAddr)>, protocol: v2::Protocol) -> Vec<u8> {
    let header = match ends {
        Some(ends) => {
            v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, protocol, ends)
        }
        // "Local" with no addresses: the receiver must use the connection's own.
        None => v2::Builder::with_addresses(
            v2::Version::Two | v2::Command::Local,
            v2::Protocol::Unspecified,
            v2::Addresses::Unspecified,
        ),
    };
    // Addresses alone never exceed the length field.
    header.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_types::PublishId;

    fn accepted(client: &str, local: &str) -> Accepted {
        Accepted { publish: PublishId(0), client: client.parse().ok(), local: local.parse().ok() }
    }

    #[test]
    fn version_1_is_the_line_of_the_specification() {
        let header = preamble(SourceMode::ProxyV1, &accepted("192.0.2.7:5555", "192.0.2.1:80"));
        assert_eq!(&*header, b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 80\r\n");
        let header = preamble(SourceMode::ProxyV1, &accepted("[2001:db8::7]:5555", "[::1]:80"));
        assert!(header.starts_with(b"PROXY TCP6 2001:db8") && header.ends_with(b" 5555 80\r\n"));
        assert_eq!(&*preamble(SourceMode::ProxyV1, &accepted("", "")), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_is_read_back() {
        let (client, local) = ("192.0.2.7:5555", "192.0.2.1:80");
        let bytes = preamble(SourceMode::ProxyV2, &accepted(client, local));
        let header = v2::Header::try_from(&*bytes).unwrap();
        assert_eq!(header.protocol, v2::Protocol::Stream);
        assert_eq!(
            header.addresses,
            v2::Addresses::IPv4(v2::IPv4::new([192, 0, 2, 7], [192, 0, 2, 1], 5555, 80))
        );
        let bytes = preamble(SourceMode::ProxyV2, &accepted("", ""));
        assert_eq!(v2::Header::try_from(&*bytes).unwrap().command, v2::Command::Local);
        let (client, local) = (client.parse().unwrap(), local.parse().unwrap());
        let bytes = datagram_preamble(SourceMode::ProxyV2, client, local);
        assert_eq!(v2::Header::try_from(&*bytes).unwrap().protocol, v2::Protocol::Datagram);
    }
}
