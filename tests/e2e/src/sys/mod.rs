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
