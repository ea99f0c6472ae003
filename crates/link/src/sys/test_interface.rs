//! Interfaces for tests: a network namespace of their own, an address, up.
//!
//! Owns the calls netlink would make in production; compiled for tests only.
//!
//! Spec: netdevice(7), unshare(2).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::thread::UnshareFlags;

/// Runs `test` on a thread with a fresh network namespace, which ends with the last descriptor
/// in it. Where that is not allowed, says so and returns, or panics if every test is required.
pub(crate) fn in_fresh_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        // SAFETY: only the network namespace of this thread changes: descriptors, memory and the
        // rest stay shared, and no other thread's assumptions are touched.
        match unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) } {
            Ok(()) => test(),
            Err(errno) => {
                skip(&format!("no right to make a network namespace ({errno})"));
            }
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Says why a test cannot run here; panics if the environment asks for every test.
pub(crate) fn skip(reason: &str) {
    let required = std::env::var_os("PORTREEVE_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "every test is required to run: {reason}");
    eprintln!("skipped: {reason}");
}

/// Gives the interface an address (of a /24) and sets it up.
pub(crate) fn set_up(name: &str, address: Ipv4Addr) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_addr = sockaddr(address);
    interface_ioctl(libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_addr = sockaddr(Ipv4Addr::new(255, 255, 255, 0));
    interface_ioctl(libc::SIOCSIFNETMASK, &mut request)?;
    set_flags(name, libc::IFF_UP | libc::IFF_RUNNING)
}

/// Sets the interface down.
pub(crate) fn set_down(name: &str) -> io::Result<()> {
    set_flags(name, 0)
}

/// Deletes the interface (rtnetlink(7)).
pub(crate) fn delete(name: &str) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    let index = rustix::net::netdevice::name_to_index(&socket, name)?;
    let mut request = Vec::new();
    request.extend(32u32.to_ne_bytes());
    request.extend(libc::RTM_DELLINK.to_ne_bytes());
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or_default();
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([0; 4]);
    request.extend(index.to_ne_bytes());
    request.extend([0; 8]);
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0; 64];
    rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    // A struct nlmsgerr: the error number, negated, follows the header.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// The interface's hardware address.
pub(crate) fn hardware_address(name: &str) -> io::Result<[u8; 6]> {
    let mut request = request(name);
    interface_ioctl(libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: the kernel has just written this member of the union.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    Ok(std::array::from_fn(|at| data[at].to_ne_bytes()[0]))
}

fn set_flags(name: &str, flags: libc::c_int) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    interface_ioctl(libc::SIOCSIFFLAGS, &mut request)
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq holds integers, byte arrays and a nullable pointer; zeroes are valid for all.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: a sockaddr is an integer and bytes, for which zeroes are valid.
    let mut sockaddr: libc::sockaddr = unsafe { std::mem::zeroed() };
    sockaddr.sa_family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default();
    // A sockaddr_in: two bytes of port, then the address.
    for (to, from) in sockaddr.sa_data[2..].iter_mut().zip(address.octets()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    sockaddr
}

fn interface_ioctl(operation: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: the interface ioctls used here read or write one ifreq, which `request` is.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), operation, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
