//! The options of `portreeve serve`: how a virtual machine is attached, and when it is over.
//!
//! Owns their names and texts; what they mean is done in `serve/attach.rs`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::serving::ServingArgs;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A name for the guest: its host name, and the name shown for it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Write a newline to this descriptor, and close it, once the ports are bound and a guest may
    /// come; where `NOTIFY_SOCKET` is set, systemd is told as well
    #[arg(long, value_name = "N")]
    pub(crate) ready_fd: Option<i32>,
    /// End when the guest goes; without, the next one is waited for
    #[arg(long)]
    pub(crate) exit_with_guest: bool,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
    // Behind the others, which would come under its heading.
    #[command(flatten)]
    pub(crate) attach: AttachArgs,
}

/// How the guest is attached: one of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "The guest's link")]
#[group(skip)]
#[command(group(ArgGroup::new("link").required(true).args([
    "stream", "stream_connect", "dgram", "vfkit", "seqpacket", "hyperkit", "vhost_user",
    "vhost_user_connect", "tap", "fd",
])))]
pub(crate) struct AttachArgs {
    /// Listen at a stream socket: QEMU's `-netdev stream` with `server=off`, libkrun's
    /// `unixstream`, and whatever speaks to passt
    #[arg(long, value_name = "PATH")]
    pub(crate) stream: Option<PathBuf>,
    /// Connect to a stream socket: QEMU's `-netdev stream` with `server=on`
    #[arg(long, value_name = "PATH")]
    pub(crate) stream_connect: Option<PathBuf>,
    /// Bind a datagram socket; the guest is at REMOTE, or else whoever sends first: QEMU's
    /// `-netdev dgram`
    #[arg(long, value_name = "PATH[,REMOTE]")]
    pub(crate) dgram: Option<DatagramPaths>,
    /// Bind a datagram socket for vfkit or libkrun's `unixgram`
    #[arg(long, value_name = "PATH")]
    pub(crate) vfkit: Option<PathBuf>,
    /// Listen at a socket of packets in sequence: User-Mode Linux, BESS
    #[arg(long, value_name = "PATH")]
    pub(crate) seqpacket: Option<PathBuf>,
    /// Listen for HyperKit's framing behind `POST /connect`: gvforwarder, HyperKit
    #[arg(long, value_name = "PATH")]
    pub(crate) hyperkit: Option<PathBuf>,
    /// Listen for a vhost-user front end, and share its guest's memory: QEMU's `-netdev vhost-user`,
    /// User-Mode Linux, DPDK's virtio-user
    #[arg(long, value_name = "PATH")]
    pub(crate) vhost_user: Option<PathBuf>,
    /// Connect to a vhost-user front end: QEMU's `-chardev socket` with `server=on`
    #[arg(long, value_name = "PATH")]
    pub(crate) vhost_user_connect: Option<PathBuf>,
    /// Pairs of queues that a vhost-user front end may use, as in QEMU's `queues=N`
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64), conflicts_with_all = [
        "stream", "stream_connect", "dgram", "vfkit", "seqpacket", "hyperkit", "tap",
    ])]
    pub(crate) queue_pairs: u16,
    /// Attach to a TAP device that is there: with a bridge and the VMM's own TAP, Firecracker
    #[arg(long, value_name = "NAME")]
    pub(crate) tap: Option<String>,
    /// Take over a descriptor: a connected or listening socket, or a TAP
    #[arg(long, value_name = "N")]
    pub(crate) fd: Option<i32>,
    /// What the descriptor must be; by default it is asked
    #[arg(long, value_name = "KIND", conflicts_with_all = [
        "stream", "stream_connect", "dgram", "vfkit", "seqpacket", "hyperkit", "vhost_user",
        "vhost_user_connect", "tap",
    ])]
    pub(crate) fd_kind: Option<FdKind>,
}

/// What an inherited descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FdKind {
    /// A stream socket
    Stream,
    /// A datagram socket
    Dgram,
    /// A socket of packets in sequence
    Seqpacket,
    /// A stream socket over which a vhost-user front end speaks
    VhostUser,
    /// A TAP device
    Tap,
}

/// Where a datagram socket is, and where the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatagramPaths {
    pub(crate) local: PathBuf,
    pub(crate) remote: Option<PathBuf>,
}

impl std::str::FromStr for DatagramPaths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = match text.split_once(',') {
            Some((local, remote)) => (local, Some(remote)),
            None => (text, None),
        };
        if local.is_empty() || remote.is_some_and(str::is_empty) {
            return Err("write PATH, or PATH,REMOTE with the path of the guest's socket".into());
        }
        Ok(Self { local: local.into(), remote: remote.map(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn parse(words: &[&str]) -> Result<ServeArgs, String> {
        let words = ["portreeve", "serve"].iter().chain(words);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Serve(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_link_is_wanted_and_no_more() {
        assert!(parse(&[]).unwrap_err().contains("--stream"));
        assert!(parse(&["--stream", "a", "--tap", "b"]).unwrap_err().contains("cannot be used"));
        assert!(parse(&["--tap", "b", "--fd-kind", "tap"]).is_err());
        assert!(parse(&["--vhost-user", "b", "--fd-kind", "vhost-user"]).is_err());
        assert!(parse(&["--stream", "b", "--queue-pairs", "2"]).is_err());
        assert!(parse(&["--vhost-user", "b", "--queue-pairs", "65"]).is_err());
        let args = parse(&["--vhost-user", "b", "--queue-pairs", "4"]).unwrap();
        assert_eq!(args.attach.queue_pairs, 4);
        let args = parse(&["--fd", "5", "--fd-kind", "dgram", "-p", "80", "--exit-with-guest"]);
        let args = args.unwrap();
        assert_eq!((args.attach.fd, args.attach.fd_kind), (Some(5), Some(FdKind::Dgram)));
        assert!(args.exit_with_guest);
        assert_eq!(args.serving.publish, ["80"]);
    }

    #[test]
    fn a_datagram_socket_may_name_the_other_one() {
        let paths = |text: &str| text.parse::<DatagramPaths>();
        assert_eq!(paths("/a").unwrap().remote, None);
        assert_eq!(paths("/a,/b").unwrap().remote, Some("/b".into()));
        assert!(paths("/a,").is_err() && paths(",/b").is_err());
    }
}
