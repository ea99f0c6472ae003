//! Sockets as every measurement wants them: CUBIC on each, so that a machine's default
//! congestion control does not decide the comparison, and Nagle off; UDP in batches and with room,
//! so that the load generator is not what is measured.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, SocketFlags, SocketType,
    bind, connect, ipproto, sendmmsg, socket_with, sockopt,
};

use crate::sys::BATCH;

/// The congestion control of every TCP socket here.
pub(crate) const CONGESTION_CONTROL: &str = "cubic";

/// A TCP socket for `target`'s family, bound to `source` if there is one.
fn open(target: SocketAddr, source: Option<IpAddr>, flags: SocketFlags) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket =
        socket_with(family, SocketType::STREAM, flags | SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    set_congestion_control(&socket)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(source) = source {
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    Ok(socket)
}

/// Sets CUBIC; for a listener, its accepted sockets inherit it.
pub(crate) fn set_congestion_control(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_congestion(socket, CONGESTION_CONTROL)
        .map_err(|error| io::Error::other(format!("TCP_CONGESTION {CONGESTION_CONTROL}: {error}")))
}

/// A connected blocking stream whose reads and writes give up after `patience`.
pub(crate) fn dial(
    target: SocketAddr,
    source: Option<IpAddr>,
    patience: Duration,
) -> io::Result<TcpStream> {
    let socket = open(target, source, SocketFlags::empty())?;
    // On Linux the send timeout bounds connect() too (socket(7)).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(patience))?;
    connect(&socket, &target)?;
    Ok(TcpStream::from(socket))
}

/// A stream whose connect is under way; it is writable once that has ended.
pub(crate) fn start_dial(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = open(target, source, SocketFlags::NONBLOCK)?;
    match connect(&socket, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Gives a UDP socket room for a burst, as far as the machine's limit allows.
pub(crate) fn make_room(socket: &UdpSocket) -> io::Result<()> {
    sockopt::set_socket_recv_buffer_size(socket, DATAGRAM_ROOM)?;
    sockopt::set_socket_send_buffer_size(socket, DATAGRAM_ROOM)?;
    Ok(())
}

/// Sends datagrams, [`BATCH`] with one call; returns how many the kernel took. A socket that is
/// connected needs no destination.
pub(crate) fn send_batch<'a>(
    socket: &UdpSocket,
    datagrams: impl Iterator<Item = (Option<SocketAddr>, &'a [u8])>,
) -> io::Result<usize> {
    let datagrams: Vec<_> = datagrams
        .take(BATCH)
        .map(|(to, bytes)| (to.map(SocketAddrAny::from), [IoSlice::new(bytes)]))
        .collect();
    let mut ancillary: Vec<_> = datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<_> = datagrams
        .iter()
        .zip(&mut ancillary)
        .map(|((to, bytes), ancillary)| match to {
            Some(to) => MMsgHdr::new_with_addr(to, bytes, ancillary),
            None => MMsgHdr::new(bytes, ancillary),
        })
        .collect();
    Ok(sendmmsg(socket, &mut messages, SendFlags::empty())?)
}

/// Addresses taken in turn, so that TIME-WAIT never runs a measurement out of ports.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    base: Option<Ipv4Addr>,
    count: u32,
    next: u32,
}

impl Addresses {
    /// `count` addresses from `base` on; without a base the kernel chooses.
    pub(crate) fn new(base: Option<Ipv4Addr>, count: u32) -> Self {
        Self { base, count: count.max(1), next: 0 }
    }

    pub(crate) fn take(&mut self) -> Option<IpAddr> {
        let base = self.base?;
        let address = Ipv4Addr::from(u32::from(base).wrapping_add(self.next));
        self.next = (self.next + 1) % self.count;
        Some(address.into())
    }
}

/// The default limit of what an ordinary process may ask for is less, and is taken then.
const DATAGRAM_ROOM: usize = 4 << 20;

/// Lifts this process's soft limit of file descriptors to its hard limit.
pub(crate) fn raise_fd_limit() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_turn() {
        let mut addresses = Addresses::new(Some(Ipv4Addr::new(127, 0, 1, 1)), 2);
        let taken: Vec<_> = (0..3).filter_map(|_| addresses.take()).collect();
        assert_eq!(
            taken,
            ["127.0.1.1", "127.0.1.2", "127.0.1.1"].map(|a| a.parse::<IpAddr>().expect("address"))
        );
        assert_eq!(Addresses::new(None, 4).take(), None);
    }
}
