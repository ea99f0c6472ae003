//! Frames, packets and segments: checked views, builders, checksums and flow keys.
//!
//! Everything a guest sends is read here first. Views are checked once, at the boundary; nothing
//! in this crate keeps state, panics on input or reads a clock. Builders panic only where their
//! documentation says so, for lengths their caller controls.

#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod dhcp4;
pub mod dhcp6;
pub mod domain_list;
pub mod ethernet;
pub mod flow_key;
pub mod icmp;
pub mod ndp;
pub mod packet;
pub mod router_advert;
pub mod tcp;
pub mod udp;
mod virtio_net;

pub use flow_key::FlowKey;
pub use virtio_net::{GsoType, VIRTIO_NET_HDR_LEN, VirtioNetHdr};
