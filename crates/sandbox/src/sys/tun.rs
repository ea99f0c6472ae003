//! The two ioctls that turn an open `/dev/net/tun` into a TAP queue.
//!
//! Never chooses name or namespace. Spec: the kernel's networking/tuntap.rst, `linux/if_tun.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Makes `tun`, an open `/dev/net/tun`, a TAP device called `name` in the network namespace `tun`
/// was opened in, with a virtio-net header of `header_len` bytes before every frame.
pub(crate) fn attach_tap(tun: impl AsFd, name: &str, header_len: i32) -> io::Result<()> {
    let fd = tun.as_fd().as_raw_fd();
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    };
    // The last byte stays the terminating NUL.
    let room = libc::IFNAMSIZ - 1;
    if name.len() > room {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    // The bit pattern is what counts; IFF_VNET_HDR is 0x4000 and fits either way.
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or(libc::c_short::MAX);
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is, for the time of the call.
    check(unsafe { libc::ioctl(fd, libc::TUNSETIFF as _, &raw mut request) })?;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which `header_len` is.
    check(unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ as _, &raw const header_len) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
