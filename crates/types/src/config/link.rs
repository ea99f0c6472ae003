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

/// A descriptor that leads to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InheritedLink {
    /// Its number, or its name where a service manager handed it over.
    pub descriptor: Descriptor,
    /// What it must be; left out, it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FdKind>,
}

/// What an inherited descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FdKind {
    /// A stream socket.
    Stream,
    /// A datagram socket.
    Dgram,
    /// A socket of packets in sequence.
    Seqpacket,
    /// A TAP device.
    Tap,
}

impl LinkConfig {
    /// The name in configuration; on the command line `-` stands for `_`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stream(_) => "stream",
            Self::StreamConnect(_) => "stream_connect",
            Self::Dgram(_) => "dgram",
            Self::Vfkit(_) => "vfkit",
            Self::Seqpacket(_) => "seqpacket",
            Self::Hyperkit(_) => "hyperkit",
            Self::Tap(_) => "tap",
            Self::Fd(_) => "fd",
        }
    }
}
