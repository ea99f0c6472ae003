//! How the guest of `portreeve serve` is attached.
//!
//! Never makes a link.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Descriptor;

/// How the guest is attached: one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkConfig {
    /// Listen at a stream socket: QEMU's `-netdev stream` with `server=off`, libkrun's
    /// `unixstream`, and whatever speaks to passt.
    Stream(PathBuf),
    /// Connect to a stream socket: QEMU's `-netdev stream` with `server=on`.
    StreamConnect(PathBuf),
    /// Bind a datagram socket: QEMU's `-netdev dgram`.
    Dgram(DatagramPaths),
    /// Bind a datagram socket for vfkit or libkrun's `unixgram`.
    Vfkit(PathBuf),
    /// Listen at a socket of packets in sequence: User-Mode Linux, BESS.
    Seqpacket(PathBuf),
    /// Listen for HyperKit's framing behind `POST /connect`: gvforwarder, HyperKit.
    Hyperkit(PathBuf),
    /// Listen for a vhost-user front end: QEMU, DPDK's virtio-user, User-Mode Linux.
    VhostUser(VhostUserLink),
    /// Connect to a vhost-user front end that listens: QEMU's `-chardev socket,server=on`.
    VhostUserConnect(VhostUserLink),
    /// Attach to a TAP device that is there: with a bridge and the VMM's own TAP, Firecracker.
    Tap(String),
    /// Take over a descriptor: a connected or listening socket, or a TAP.
    Fd(InheritedLink),
}

/// Where a datagram socket is, and where the guest's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatagramPaths {
    /// The socket's path.
    pub path: PathBuf,
    /// The path of the guest's socket; left out, the guest is whoever sends first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<PathBuf>,
}

/// Where a vhost-user front end is met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VhostUserLink {
    /// The socket's path.
    pub path: PathBuf,
    /// Pairs of queues that it may use, 1 to 64.
    #[serde(default = "one_pair")]
    #[schemars(range(min = 1, max = 64))]
    pub queue_pairs: u16,
}

const fn one_pair() -> u16 {
    1
}

/// A descriptor that leads to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InheritedLink {
    /// Its number, or its name where a service manager handed it over.
    pub descriptor: Descriptor,
    /// What it must be; left out, it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FdKind>,
    /// Pairs of queues that a vhost-user front end may use, 1 to 64.
    #[serde(default = "one_pair", skip_serializing_if = "is_one_pair")]
    #[schemars(range(min = 1, max = 64))]
    pub queue_pairs: u16,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_one_pair(pairs: &u16) -> bool {
    *pairs == 1
}

/// What an inherited descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FdKind {
    /// A stream socket.
    Stream,
    /// A datagram socket.
    Dgram,
    /// A socket of packets in sequence.
    Seqpacket,
    /// A stream socket over which a vhost-user front end speaks.
    VhostUser,
    /// A TAP device.
    Tap,
}

/// The most pairs of queues that a vhost-user front end may be given.
pub(super) const MAX_QUEUE_PAIRS: u16 = 64;

impl LinkConfig {
    /// The pairs of queues asked for, and where.
    pub(super) const fn queue_pairs(&self) -> Option<(&'static str, u16)> {
        match self {
            Self::VhostUser(link) | Self::VhostUserConnect(link) => {
                Some((self.kind(), link.queue_pairs))
            }
            Self::Fd(link) => Some((self.kind(), link.queue_pairs)),
            _ => None,
        }
    }

    /// The name in configuration; on the command line `-` stands for `_`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stream(_) => "stream",
            Self::StreamConnect(_) => "stream_connect",
            Self::Dgram(_) => "dgram",
            Self::Vfkit(_) => "vfkit",
            Self::Seqpacket(_) => "seqpacket",
            Self::Hyperkit(_) => "hyperkit",
            Self::VhostUser(_) => "vhost_user",
            Self::VhostUserConnect(_) => "vhost_user_connect",
            Self::Tap(_) => "tap",
            Self::Fd(_) => "fd",
        }
    }
}
