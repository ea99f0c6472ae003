//! From options to a link.
//!
//! Owns the choice, and the words when it cannot be had; links themselves are the library's.

use std::io;
use std::os::fd::OwnedFd;

use portreeve::{
    Link, LinkError, SocketOptions, Tap, TapCause, TapError, TapOptions, VhostUserOptions,
    datagram, hyperkit, seqpacket, stream, vhost_user,
};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use crate::args::serve::{AttachArgs, FdKind};
use crate::report::Failure;

/// Makes the link.
pub(super) fn attach(args: &AttachArgs, mtu: u16) -> Result<Box<dyn Link>, Failure> {
    let options = SocketOptions { mtu, ..SocketOptions::default() };
    let queue_pairs = args.queue_pairs;
    let shared = VhostUserOptions { mtu, queue_pairs, ..VhostUserOptions::default() };
    if let Some(path) = &args.stream {
        return Ok(Box::new(stream::listen(path, &options)?));
    }
    if let Some(path) = &args.stream_connect {
        return Ok(Box::new(stream::connect(path, &options)?));
    }
    if let Some(paths) = &args.dgram {
        return Ok(Box::new(match &paths.remote {
            Some(remote) => datagram::connect(&paths.local, remote, &options)?,
            None => datagram::listen(&paths.local, &options)?,
        }));
    }
    if let Some(path) = &args.vfkit {
        return Ok(Box::new(datagram::listen(path, &options)?));
    }
    if let Some(path) = &args.seqpacket {
        return Ok(Box::new(seqpacket::listen(path, &options)?));
    }
    if let Some(path) = &args.hyperkit {
        return Ok(Box::new(hyperkit::listen(path, &options)?));
    }
    if let Some(path) = &args.vhost_user {
        return Ok(Box::new(vhost_user::listen(path, &shared)?));
    }
    if let Some(path) = &args.vhost_user_connect {
        return Ok(Box::new(vhost_user::connect(path, &shared)?));
    }
    if let Some(name) = &args.tap {
        return Ok(Box::new(tap(name, mtu)?));
    }
    match args.fd {
        Some(number) => inherited(number, args.fd_kind, &options, &shared),
        None => Err(Failure::ours("no link was named")),
    }
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
    number: i32,
    kind: Option<FdKind>,
    options: &SocketOptions,
    shared: &VhostUserOptions,
) -> Result<Box<dyn Link>, Failure> {
    let fault = |error: io::Error| Failure::ours(format_args!("--fd {number}: {error}"));
    // The link knows it under the number that it has got since.
    let unfit = |error: LinkError| {
        let words = error.to_string().replace(error.place(), "the descriptor");
        Failure::with_help(format_args!("--fd {number}: {words}"), error.help())
    };
    let fd = portreeve::inherited_fd(number).map_err(fault)?;
    let kind = match kind {
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
            let tap = tap.map_err(|error| tap_failure("--fd", &number.to_string(), &error))?;
            Box::new(tap.with_mtu(options.mtu))
        }
    })
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
