//! The ioctls of `/dev/net/tun`.
//!
//! Owns the calls and their argument layouts; what to ask for is decided in `tap.rs`.
//!
//! Spec: `Documentation/networking/tuntap.rst` and `linux/if_tun.h` of the Linux kernel.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Longest interface name, without the closing zero.
pub(crate) const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// An interface as `TUNSETIFF` and `TUNGETIFF` name it.
pub(crate) struct Interface {
    pub(crate) name: String,
    /// `IFF_TAP`, `IFF_VNET_HDR` and the like, of `linux/if_tun.h`.
    pub(crate) flags: libc::c_int,
}

/// Attaches a fresh descriptor of `/dev/net/tun` to an interface; an empty name lets the kernel
/// choose. Returns the interface's name.
pub(crate) fn set_interface(
    fd: BorrowedFd<'_>,
    name: &str,
    flags: libc::c_int,
) -> io::Result<String> {
    let mut request = empty_request();
    if name.len() > NAME_MAX {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = short_flags(flags);
    // SAFETY: TUNSETIFF reads and writes one `ifreq` (its number says `int`, its handler copies
    // an ifreq); `request` is one, valid and exclusively borrowed for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(read_name(&request))
}

/// Asks which interface a descriptor is attached to.
///
/// TUNGETIFF sets `IFF_NOFILTER`, the same bit as `IFF_NO_PI`, whenever the queue has no socket
/// filter. Where the bit could be either, a filter that accepts everything is attached while the
/// kernel is asked once more.
pub(crate) fn interface(fd: BorrowedFd<'_>) -> io::Result<Interface> {
    let plain = interface_once(fd)?;
    if plain.flags & libc::IFF_NO_PI == 0 || attach_accepting_filter(fd).is_err() {
        // Relatives of TAP (macvtap) know no filters, and their flags mean what they say.
        return Ok(plain);
    }
    let filtered = interface_once(fd);
    detach_filter(fd)?;
    filtered
}

fn interface_once(fd: BorrowedFd<'_>) -> io::Result<Interface> {
    let mut request = empty_request();
    // SAFETY: TUNGETIFF writes one `ifreq`; `request` is one, valid and exclusively borrowed.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    // SAFETY: all members of the union are plain integers or bytes, and it was zeroed before the
    // kernel wrote to it: any member is initialised.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(Interface { name: read_name(&request), flags: libc::c_int::from(flags.cast_unsigned()) })
}

fn attach_accepting_filter(fd: BorrowedFd<'_>) -> io::Result<()> {
    let accept = libc::BPF_RET | libc::BPF_K;
    let code = u16::try_from(accept).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut instruction = libc::sock_filter { code, jt: 0, jf: 0, k: u32::MAX };
    let program = libc::sock_fprog { len: 1, filter: &raw mut instruction };
    // SAFETY: TUNATTACHFILTER reads one sock_fprog and the `len` instructions it points to, and
    // keeps neither pointer for use after the call; both live until it returns.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNATTACHFILTER, &raw const program) })
}

fn detach_filter(fd: BorrowedFd<'_>) -> io::Result<()> {
    // The handler ignores its argument.
    // SAFETY: TUNDETACHFILTER reads no memory of ours.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNDETACHFILTER, 0 as libc::c_ulong) })
}

/// Sets the length of the virtio-net header in front of each frame.
pub(crate) fn set_header_len(fd: BorrowedFd<'_>, length: libc::c_int) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int, and `length` outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const length) })
}

/// Makes the fields of the virtio-net header little endian.
pub(crate) fn set_little_endian(fd: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: TUNSETVNETLE reads one int, and `on` outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETLE, &raw const on) })
}

/// Says what the reader of this descriptor accepts unfinished (`TUN_F_*`).
pub(crate) fn set_offload(fd: BorrowedFd<'_>, features: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    check(unsafe {
        libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(features))
    })
}

fn empty_request() -> libc::ifreq {
    // SAFETY: ifreq holds integers, byte arrays and a nullable pointer; zeroes are valid for all.
    unsafe { std::mem::zeroed() }
}

fn short_flags(flags: libc::c_int) -> libc::c_short {
    // The kernel reads the field as unsigned: IFF_TUN_EXCL is its top bit.
    let low = u16::try_from(flags & 0xffff).unwrap_or_default();
    low.cast_signed()
}

fn read_name(request: &libc::ifreq) -> String {
    let bytes: Vec<u8> = request
        .ifr_name
        .iter()
        .map(|byte| byte.to_ne_bytes()[0])
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
