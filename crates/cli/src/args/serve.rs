//! The options of `portreeve serve`: how a virtual machine is attached, and when it is over.
//!
//! Owns their names and texts; what they mean is done in `serve/attach.rs`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use portreeve_types::{
    Configuration, DatagramPaths, Descriptor, InheritedLink, LinkConfig, VhostUserLink,
};

use super::config::ConfigArgs;
use super::serving::ServingArgs;
use crate::configuration::ConfigurationError;

#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// A name for the guest: its host name, and what `portreeve ps` and the like know it by
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
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    // Behind the others, which would come under its heading.
    #[command(flatten)]
    pub(crate) attach: AttachArgs,
}

impl ServeArgs {
    /// Puts what was given in place of what is there.
    pub(crate) fn apply(&self, to: &mut Configuration) -> Result<(), ConfigurationError> {
        if let Some(name) = &self.name {
            to.name = Some(name.clone());
        }
        to.ready_fd = self.ready_fd.or(to.ready_fd);
        to.exit_with_guest |= self.exit_with_guest;
        if let Some(link) = self.attach.link() {
            to.link = Some(link);
        }
        self.serving.apply(to)
    }
}

/// How the guest is attached: one of them, here or in the configuration.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The guest's link")]
#[group(skip)]
#[command(group(ArgGroup::new("link").args([
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
    #[arg(long, value_name = "PATH[,REMOTE]", value_parser = datagram_paths)]
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
    /// Take over a descriptor, by its number or its name in socket activation: a connected or
    /// listening socket, or a TAP
    #[arg(long, value_name = "N|NAME")]
    pub(crate) fd: Option<Descriptor>,
    /// What the descriptor must be; by default it is asked
    #[arg(long, value_name = "KIND", requires = "fd", conflicts_with_all = [
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

impl AttachArgs {
    /// The one that was given.
    fn link(&self) -> Option<LinkConfig> {
        let queue_pairs = self.queue_pairs;
        let shared = |path: &PathBuf| VhostUserLink { path: path.clone(), queue_pairs };
        let path = |path: &Option<PathBuf>, link: fn(PathBuf) -> LinkConfig| path.clone().map(link);
        path(&self.stream, LinkConfig::Stream)
            .or_else(|| path(&self.stream_connect, LinkConfig::StreamConnect))
            .or_else(|| self.dgram.clone().map(LinkConfig::Dgram))
            .or_else(|| path(&self.vfkit, LinkConfig::Vfkit))
            .or_else(|| path(&self.seqpacket, LinkConfig::Seqpacket))
            .or_else(|| path(&self.hyperkit, LinkConfig::Hyperkit))
            .or_else(|| self.vhost_user.as_ref().map(|path| LinkConfig::VhostUser(shared(path))))
            .or_else(|| {
                let path = self.vhost_user_connect.as_ref()?;
                Some(LinkConfig::VhostUserConnect(shared(path)))
            })
            .or_else(|| self.tap.clone().map(LinkConfig::Tap))
            .or_else(|| {
                let descriptor = self.fd.clone()?;
                let kind = self.fd_kind.map(Into::into);
                Some(LinkConfig::Fd(InheritedLink { descriptor, kind, queue_pairs }))
            })
    }
}

impl From<FdKind> for portreeve_types::FdKind {
    fn from(kind: FdKind) -> Self {
        match kind {
            FdKind::Stream => Self::Stream,
            FdKind::Dgram => Self::Dgram,
            FdKind::Seqpacket => Self::Seqpacket,
            FdKind::VhostUser => Self::VhostUser,
            FdKind::Tap => Self::Tap,
        }
    }
}

fn datagram_paths(text: &str) -> Result<DatagramPaths, String> {
    let (path, remote) = match text.split_once(',') {
        Some((path, remote)) => (path, Some(remote)),
        None => (text, None),
    };
    if path.is_empty() || remote.is_some_and(str::is_empty) {
        return Err("write PATH, or PATH,REMOTE with the path of the guest's socket".into());
    }
    Ok(DatagramPaths { path: path.into(), remote: remote.map(Into::into) })
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
    fn one_link_is_taken_and_no_more() {
        assert_eq!(parse(&[]).unwrap().attach.link(), None);
        assert!(parse(&["--stream", "a", "--tap", "b"]).unwrap_err().contains("cannot be used"));
        assert!(parse(&["--tap", "b", "--fd-kind", "tap"]).is_err());
        assert!(parse(&["--vhost-user", "b", "--fd-kind", "vhost-user"]).is_err());
        assert!(parse(&["--stream", "b", "--queue-pairs", "2"]).is_err());
        assert!(parse(&["--vhost-user", "b", "--queue-pairs", "65"]).is_err());
        let args = parse(&["--vhost-user", "b", "--queue-pairs", "4"]).unwrap();
        assert_eq!(args.attach.queue_pairs, 4);
        let args = parse(&["--fd", "5", "--fd-kind", "dgram", "-p", "80", "--exit-with-guest"]);
        let args = args.unwrap();
        let kind = Some(portreeve_types::FdKind::Dgram);
        let link = InheritedLink { descriptor: Descriptor::Number(5), kind, queue_pairs: 1 };
        assert_eq!(args.attach.link(), Some(LinkConfig::Fd(link)));
        assert!(args.exit_with_guest);
        assert_eq!(args.serving.publish, ["80"]);
    }

    #[test]
    fn a_datagram_socket_may_name_the_other_one() {
        let paths = datagram_paths;
        assert_eq!(paths("/a").unwrap().remote, None);
        assert_eq!(paths("/a,/b").unwrap().remote, Some("/b".into()));
        assert!(paths("/a,").is_err() && paths(",/b").is_err());
    }
}
