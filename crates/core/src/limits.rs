//! Every bound and interval of the core that is not part of the configuration.
//!
//! What a user may set is in [`portreeve_types::Limits`]; what stands here follows from a protocol
//! or from the machine, and the reason stands with it.

use std::time::Duration;

use portreeve_wire::VIRTIO_NET_HDR_LEN;
use portreeve_wire::ethernet::ETHERNET_HEADER_LEN;

/// Longest frame the engine hands out, with its virtio-net header: a 65,535-byte packet.
pub const MAX_FRAME_LEN: usize = VIRTIO_NET_HDR_LEN + ETHERNET_HEADER_LEN + 65_535;

/// How many times faster than real time smoltcp's clock runs.
///
/// Its retransmission timer has a floor of one second, made for the Internet. The link to a guest
/// is a few microseconds long, so a lost segment should not cost a second: ten times brings the
/// floor to 100 ms (Linux's own is 200 ms), the first SYN retransmission to 100 ms and the largest
/// interval between two to 6 s. Delayed acknowledgements and TIME-WAIT, which would scale along,
/// are switched off and kept by the engine.
pub(crate) const TCP_CLOCK_RATE: u64 = 10;

/// How long a 4-tuple that we closed first stays reserved.
///
/// TIME-WAIT (RFC 9293 §3.6.1) guards against stray segments in the network. A guest link keeps
/// order and holds nothing back, so what remains is to acknowledge a repeated FIN.
pub(crate) const TIME_WAIT: Duration = Duration::from_secs(1);

/// Most 4-tuples in TIME-WAIT at once; beyond it the flow is forgotten at once.
pub(crate) const TIME_WAIT_ENTRIES: usize = 65_536;

/// How long a guest may leave data unacknowledged and say nothing at all before the flow is reset.
///
/// A guest that closes its window still answers probes, so this catches only one that is gone.
pub(crate) const GUEST_SILENT: Duration = Duration::from_secs(120);

/// A stream to the gateway's name server on which nothing moves ends after so many seconds.
pub(crate) const NAMES_IDLE_SECS: u64 = 30;

/// How long bytes that a guest sent before it reset may wait for a client that does not read.
pub(crate) const RESET_LINGER: Duration = Duration::from_secs(60);

/// An attempt on one address family gives way to the other after this long without an answer.
pub(crate) const FAMILY_FALLBACK: Duration = Duration::from_millis(250);

/// A flow whose rings have been empty for this long gives their memory back.
pub(crate) const RING_IDLE: Duration = Duration::from_secs(1);

/// How often the guest's hardware address is asked for while it is unknown.
pub(crate) const NEIGHBOR_RETRY: Duration = Duration::from_millis(200);

/// IPv6 addresses of the guest's own making that are remembered: more than an interface has at once
/// with a stable and a few temporary ones (RFC 8981 §3.4).
pub(crate) const GUEST_ADDRESSES: usize = 16;

/// Longest client identifier: what one option holds.
pub(crate) const MAX_CLIENT_ID: usize = 255;

/// Longest DHCPv6 identifier. RFC 8415 §11.1.
pub(crate) const MAX_DUID: usize = 130;

/// How old a router advertisement may be before the guest's next frame brings another.
pub(crate) const ADVERT_REFRESH: Duration = Duration::from_secs(600);

/// Seconds the gateway is the guest's default router for: the longest there is (RFC 8319 §4), for
/// no timer repeats it while the guest is silent.
pub(crate) const ROUTER_LIFETIME: u16 = 65_535;

/// Seconds a prefix is valid, and addresses in it preferred. RFC 4861 §6.2.1.
pub(crate) const PREFIX_LIFETIMES: (u32, u32) = (2_592_000, 604_800);

/// Ports the engine dials from when the client's own number is taken. RFC 6056 §3.2.
pub(crate) const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 1024..=65_535;

/// Ephemeral ports looked at before a flow is refused: the search must stay bounded when a guest
/// has nearly all of them in use.
pub(crate) const EPHEMERAL_PROBES: usize = 512;

/// Free sockets kept for the next connection, with their rings.
pub(crate) const POOLED_STACKS: usize = 256;

/// ICMP and ICMPv6 errors quote this much of a packet. RFC 1812 §4.3.2.3, RFC 4443 §3.1 (c).
pub(crate) const ICMP_QUOTE: usize = 548;
