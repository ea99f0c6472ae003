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

/// Binds a socket to the interface that another one is bound to, if it is.
pub(crate) fn bind_like(fd: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    match SockRef::from(&other).device()? {
        Some(name) => SockRef::from(&fd).bind_device(Some(&name)),
        None => Ok(()),
    }
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

/// The TTL or hop limit of what the socket sends (ip(7) `IP_TTL`, ipv6(7) `IPV6_UNICAST_HOPS`).
pub(crate) fn set_hop_limit(
    fd: BorrowedFd<'_>,
    socket: AddressFamily,
    limit: u8,
) -> io::Result<()> {
    let limit = libc::c_int::from(limit);
    if socket == AddressFamily::INET6 {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, limit)
    } else {
        set_int(fd, libc::IPPROTO_IP, libc::IP_TTL, limit)
    }
}

/// What every datagram socket has: reports of errors, and fragmentation by the kernel instead of
/// an error for what exceeds the path MTU.
///
/// `IP_PMTUDISC_DONT` and not `WANT`: the latter sets the DF bit on what fits the MTU known so
/// far, so that a datagram whose sender allowed fragments is lost at the first narrower link.
/// Over IPv6 both fragment to the path MTU.
pub(crate) fn set_datagram_options(fd: BorrowedFd<'_>, socket: AddressFamily) -> io::Result<()> {
    let v4 = || {
        set_int(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        forbid_fragments_v4(fd, false)
    };
    if socket != AddressFamily::INET6 {
        return v4();
    }
    // On an IPv6 socket, IPv4's options rule its IPv4-mapped traffic, should it have any: those
    // of ICMPv6 have none and no such options.
    v4().or_else(|error| match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => Ok(()),
        _ => Err(error),
    })?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
    set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
}

/// Makes each datagram tell which address it came to.
pub(crate) fn tell_arrival(fd: BorrowedFd<'_>, socket: AddressFamily) -> io::Result<()> {
    if socket == AddressFamily::INET6 {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Keeps away from a socket on a wildcard what comes to groups that others have joined: by
/// default the kernel gives it a copy (ip(7) `IP_MULTICAST_ALL`).
pub(crate) fn refuse_foreign_groups(fd: BorrowedFd<'_>, socket: AddressFamily) -> io::Result<()> {
    if socket == AddressFamily::INET6 {
        set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, 0)
    } else {
        set_int(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0)
    }
}

/// Lets the kernel join datagrams of one sender and length (udp(7) `UDP_GRO`).
pub(crate) fn join_received(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int(fd, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Sets or clears the DF bit of the IPv4 datagrams that follow.
pub(crate) fn forbid_fragments_v4(fd: BorrowedFd<'_>, forbid: bool) -> io::Result<()> {
    let mode = if forbid { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
    set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode)
}

/// The path MTU of a connected socket, in bytes of the whole packet.
pub(crate) fn path_mtu(fd: BorrowedFd<'_>, socket: AddressFamily) -> io::Result<u32> {
    let (level, option) = if socket == AddressFamily::INET6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU)
    };
    let mut found: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both options write at most `length` bytes, which is the size of `found`.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, option, (&raw mut found).cast(), &raw mut length)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(found).unwrap_or_default())
}

/// Makes a raw ICMP socket receive only echo replies with this identifier. An IPv4 socket is
/// given the IP header as well, an IPv6 socket is not.
pub(crate) fn filter_echo_replies(
    fd: BorrowedFd<'_>,
    socket: AddressFamily,
    identifier: u16,
) -> io::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let (reply, first) = if socket == AddressFamily::INET6 {
        (129, step(libc::BPF_LDX | libc::BPF_IMM, 0, 0, 0))
    } else {
        // The length of the IP header (RFC 791 §3.1), which is where ICMP begins.
        (0, step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 0))
    };
    let mut program = [
        first,
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, reply),
        step(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, 4),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::from(identifier)),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    attach_filter(fd, &mut program)
}

/// Makes a socket receive nothing.
pub(crate) fn drop_incoming(fd: BorrowedFd<'_>) -> io::Result<()> {
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    attach_filter(fd, &mut [libc::sock_filter { code, jt: 0, jf: 0, k: 0 }])
}

fn attach_filter(fd: BorrowedFd<'_>, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = program.len() as libc::c_ushort;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: SO_ATTACH_FILTER reads one sock_fprog and the `len` instructions it points to; all
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

/// Whether a TCP connection is no more: reset, given up, or closed by both sides.
pub(crate) fn is_over(fd: BorrowedFd<'_>) -> bool {
    /// The kernel's `TCP_CLOSE`.
    const CLOSED: u8 = 7;
    let mut state = 0_u8;
    let mut length: libc::socklen_t = 1;
    // SAFETY: TCP_INFO writes at most `length` bytes of a `tcp_info`, whose first is the state.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    result == 0 && length == 1 && state == CLOSED
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
