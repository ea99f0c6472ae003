//! The system calls no safe wrapper exists for, each behind a safe function with its argument.
//!
//! Never decides anything. Spec: unshare(2), signal(2), netdevice(7), tcp(7) for `SIOCOUTQ`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::UnshareFlags;

/// A network namespace of its own for this thread, and for what it starts from here on.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub fn unshare_network() -> io::Result<()> {
    unshare(UnshareFlags::NEWNET)
}

/// A mount namespace of its own for this process, which must have one thread.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub fn unshare_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: only CLONE_FILES is unsafe here, since it gives threads different descriptor
    // tables; no caller passes it.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Ctrl-C and Ctrl-\\ do to this process what they do by default, whoever ignored them before: a
/// shell does, for what it starts in the background.
pub fn heed_the_keyboard() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: SIG_DFL is a valid disposition for both; no handler of this program is replaced,
        // for it has none.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// What a network device does for the kernel; the numbers of `linux/ethtool.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Checksums of what it sends.
    SendChecksum = 0x17,
    /// Cutting large TCP segments.
    TcpSegmentation = 0x1f,
    /// The kernel's own late cutting of large packets.
    GenericSegmentation = 0x24,
    /// The kernel's joining of what is received.
    GenericReceive = 0x2c,
}

/// Switches an offload of a network device on or off.
///
/// # Errors
/// The kernel's: no such device, no right, or not to be had.
pub fn set_offload(device: &str, offload: Offload, on: bool) -> io::Result<()> {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value { command: offload as u32, data: on.into() };
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() },
    };
    // The last byte stays the terminating NUL.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(device.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    // SAFETY: SIOCETHTOOL reads one ifreq, whose `ifru_data` points to a `Value` as all these
    // commands want it; both live through the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes written to a TCP socket that its peer has not acknowledged.
///
/// # Errors
/// When it is no such socket.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int, which `bytes` is, for the time of the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(bytes).map_err(io::Error::other)
}

/// A datagram and who sent it, from a socket of any kind.
///
/// # Errors
/// The socket's.
pub fn receive_from(
    socket: &socket2::Socket,
    buffer: &mut [u8],
) -> io::Result<(usize, std::net::IpAddr)> {
    // SAFETY: a `MaybeUninit<u8>` has the layout of a `u8`, and recvfrom(2) only writes
    // initialised bytes into what is borrowed here for the time of the call.
    let space = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [std::mem::MaybeUninit<u8>]) };
    let (length, from) = socket.recv_from(space)?;
    let from = from.as_socket().ok_or_else(|| io::Error::other("not an IP address"))?;
    Ok((length, from.ip()))
}

/// Has the kernel send datagrams whole or not at all, and keep to the MTU it has learned.
///
/// # Errors
/// When it is no such socket.
pub fn forbid_fragments(socket: &impl AsFd, v6: bool) -> io::Result<()> {
    let value: libc::c_int = if v6 { libc::IPV6_PMTUDISC_DO } else { libc::IP_PMTUDISC_DO };
    let (level, name) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    };
    // SAFETY: both options read one int, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The MTU that the kernel believes in for a connected socket's peer.
///
/// # Errors
/// When it is not connected.
pub fn path_mtu(socket: &impl AsFd, v6: bool) -> io::Result<u32> {
    let (level, name) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_MTU) } else { (libc::IPPROTO_IP, libc::IP_MTU) };
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both options write one int and its length, which live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    u32::try_from(value).map_err(io::Error::other)
}
