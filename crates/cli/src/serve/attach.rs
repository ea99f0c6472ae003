//! From configuration to a link.
//!
//! Owns the choice, and the words when it cannot be had; links themselves are the library's.

use std::io;
use std::os::fd::OwnedFd;

use portreeve::{
    Link, LinkError, SocketOptions, Tap, TapCause, TapError, TapOptions, VhostUserOptions,
    datagram, hyperkit, seqpacket, stream, vhost_user,
};
use portreeve_types::{Descriptor, FdKind, InheritedLink, LinkConfig};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use crate::report::Failure;

/// Makes the link.
pub(super) fn attach(link: Option<&LinkConfig>, mtu: u16) -> Result<Box<dyn Link>, Failure> {
    let options = SocketOptions { mtu, ..SocketOptions::default() };
    let shared = |queue_pairs| VhostUserOptions { mtu, queue_pairs, ..VhostUserOptions::default() };
    Ok(match link {
        Some(LinkConfig::Stream(path)) => Box::new(stream::listen(path, &options)?),
        Some(LinkConfig::StreamConnect(path)) => Box::new(stream::connect(path, &options)?),
        Some(LinkConfig::Dgram(paths)) => Box::new(match &paths.remote {
            Some(remote) => datagram::connect(&paths.path, remote, &options)?,
            None => datagram::listen(&paths.path, &options)?,
        }),
        Some(LinkConfig::Vfkit(path)) => Box::new(datagram::listen(path, &options)?),
        Some(LinkConfig::Seqpacket(path)) => Box::new(seqpacket::listen(path, &options)?),
        Some(LinkConfig::Hyperkit(path)) => Box::new(hyperkit::listen(path, &options)?),
        Some(LinkConfig::VhostUser(link)) => {
            Box::new(vhost_user::listen(&link.path, &shared(link.queue_pairs))?)
        }
        Some(LinkConfig::VhostUserConnect(link)) => {
            Box::new(vhost_user::connect(&link.path, &shared(link.queue_pairs))?)
        }
        Some(LinkConfig::Tap(name)) => Box::new(tap(name, mtu)?),
        Some(LinkConfig::Fd(fd)) => inherited(fd, &options, &shared(fd.queue_pairs))?,
        None => return Err(Failure::ours("no link was named")),
    })
}

fn tap(name: &str, mtu: u16) -> Result<Tap, Failure> {
    let help = || format!("make one: ip tuntap add dev {name} mode tap && ip link set {name} up");
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, SocketType::DGRAM, None)
        .map_err(|errno| Failure::ours(format_args!("socket: {errno}")))?;
    // Without this look, the kernel would make one that nobody else knows of.
    match rustix::net::netdevice::name_to_index(socket, name) {
        Ok(_) => {}
        Err(Errno::NODEV) => {
            return Err(Failure::with_help(
                format_args!("--tap {name}: there is no such interface"),
                Some(help()),
            ));
        }
        Err(errno) => return Err(Failure::ours(format_args!("--tap {name}: {errno}"))),
    }
    let options = TapOptions { mtu, ..TapOptions::default() };
    Tap::create(Some(name), &options).map_err(|error| tap_failure("--tap", name, &error))
}

fn tap_failure(option: &str, which: &str, error: &TapError) -> Failure {
    let kind = (error.cause() == TapCause::BadName).then_some("the interface must be a TAP device");
    let what = format_args!("{option} {which}: {error}");
    Failure::with_help(what, kind.or_else(|| error.help()))
}

fn inherited(
    link: &InheritedLink,
    options: &SocketOptions,
    shared: &VhostUserOptions,
) -> Result<Box<dyn Link>, Failure> {
    let name = &link.descriptor;
    let fault = |error: io::Error| Failure::ours(format_args!("--fd {name}: {error}"));
    // The link knows it under the number that it has got since.
    let unfit = |error: LinkError| {
        let words = error.to_string().replace(error.place(), "the descriptor");
        Failure::with_help(format_args!("--fd {name}: {words}"), error.help())
    };
    let fd = number(name).and_then(portreeve::inherited_fd).map_err(fault)?;
    let kind = match link.kind {
        Some(kind) => kind,
        None => kind_of(&fd).map_err(fault)?,
    };
    Ok(match kind {
        FdKind::Stream => Box::new(stream::from_fd(fd, options).map_err(unfit)?),
        FdKind::Dgram => Box::new(datagram::from_fd(fd, options).map_err(unfit)?),
        FdKind::Seqpacket => Box::new(seqpacket::from_fd(fd, options).map_err(unfit)?),
        FdKind::VhostUser => Box::new(vhost_user::from_fd(fd, shared).map_err(unfit)?),
        FdKind::Tap => {
            let tap = Tap::from_fd(fd);
            let tap = tap.map_err(|error| tap_failure("--fd", &name.to_string(), &error))?;
            Box::new(tap.with_mtu(options.mtu))
        }
    })
}

/// The number of a descriptor that may have been named by who handed it over.
fn number(descriptor: &Descriptor) -> io::Result<i32> {
    let name = match descriptor {
        Descriptor::Number(number) => return Ok(*number),
        Descriptor::Name(name) => name,
    };
    let sockets = portreeve::activated_sockets()?;
    match sockets.iter().find(|socket| socket.name == *name) {
        Some(socket) => Ok(socket.fd),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no socket of this name was handed over (LISTEN_FDNAMES)",
        )),
    }
}

fn kind_of(fd: &OwnedFd) -> io::Result<FdKind> {
    match sockopt::socket_type(fd) {
        Ok(SocketType::STREAM) => Ok(FdKind::Stream),
        Ok(SocketType::DGRAM) => Ok(FdKind::Dgram),
        Ok(SocketType::SEQPACKET) => Ok(FdKind::Seqpacket),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "a socket of an unknown type")),
        Err(Errno::NOTSOCK) => Ok(FdKind::Tap),
        Err(errno) => Err(errno.into()),
    }
}
