//! Options and questions of sockets.
//!
//! Owns how each is asked of the kernel; when, is decided by the sockets' own files.
//!
//! Spec: socket(7), ip(7), ipv6(7), tcp(7), udp(7), unix(7).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::net::{AddressFamily, sockopt};
use socket2::SockRef;

use crate::error::HostError;
use crate::listen_unix::PeerCredentials;

/// Makes a descriptor from elsewhere like our own.
pub(crate) fn make_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(fd, true)?;
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(())
}

/// Binds a socket to an interface.
pub(crate) fn bind_interface(fd: BorrowedFd<'_>, name: &str) -> Result<(), HostError> {
    let fault = |source: io::Error| HostError::new("SO_BINDTODEVICE", name, source);
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        // The kernel would take the empty name for "no interface" and cut a long one.
        return Err(fault(io::Error::from_raw_os_error(libc::ENODEV)));
    }
    SockRef::from(&fd).bind_device(Some(name.as_bytes())).map_err(fault)
}

/// What every relayed TCP connection has: small writes leave at once (the engine has gathered
/// them already), and an urgent byte stays in its place in the stream, where it is not lost.
pub(crate) fn set_stream_options(fd: BorrowedFd<'_>) -> io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)?;
    sockopt::set_socket_oobinline(fd, true)?;
    Ok(())
}

/// Leaves the choice of a port to connect (ip(7) `IP_BIND_ADDRESS_NO_PORT`).
pub(crate) fn defer_port_choice(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// What every datagram socket has: the address a datagram came to, reports of errors, and
/// fragmentation by the kernel instead of an error for what exceeds the path MTU.
pub(crate) fn set_datagram_options(fd: BorrowedFd<'_>, socket: AddressFamily) -> io::Result<()> {
    // On an IPv6 socket, IPv4's options rule its IPv4-mapped traffic, should it have any.
    set_int(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
    set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
    if socket == AddressFamily::INET6 {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
    } else {
        set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Makes a socket receive nothing.
pub(crate) fn drop_incoming(fd: BorrowedFd<'_>) -> io::Result<()> {
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut instruction = libc::sock_filter { code, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut instruction };
    // SAFETY: SO_ATTACH_FILTER reads one sock_fprog and the one instruction it points to; both
    // live until the call returns, and the kernel keeps its own copy.
    unsafe { set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }
}

/// Bytes written and not acknowledged (tcp(7), unix(7): `SIOCOUTQ`).
pub(crate) fn unsent(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ by another name, writes one int.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or_default())
}

/// Who connected to a unix socket.
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: SO_PEERCRED writes at most `length` bytes, which is the size of `found`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // A process of an outer PID namespace has the id zero here.
    let pid = u32::try_from(found.pid).ok().filter(|pid| *pid != 0);
    Ok(PeerCredentials { pid, uid: found.uid, gid: found.gid })
}

fn set_int(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the options of this file that go through here read one int.
    unsafe { set(fd, level, option, &value) }
}

/// # Safety
/// `option` must read a `T`, and what `value` points to must live until the call returns.
unsafe fn set<T>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is valid for the length given, and the caller vouches for its type.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
