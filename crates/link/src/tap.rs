//! The kernel's TAP devices as a link.
//!
//! Owns one queue of a TAP: opening or taking it over, its header and offloads, and moving
//! frames. Never sets the interface up or gives it addresses, an MTU or a queue length (whoever
//! made the namespace does, by netlink), never makes it persistent, and changes no namespace.
//!
//! Spec: `Documentation/networking/tuntap.rst` of the Linux kernel; Virtual I/O Device (VIRTIO)
//! version 1.2 §5.1.6 for the header.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use portreeve_wire::{GsoType, VIRTIO_NET_HDR_LEN, VirtioNetHdr};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::link::{Capabilities, Link};
use crate::sys::tun;

mod error;

#[cfg(test)]
mod tests;

pub use error::{TapCause, TapError};

/// How to make a TAP.
#[derive(Clone, Debug)]
pub struct TapOptions {
    /// Make or join an interface with several queues; each [`Tap`] is one of them.
    pub multi_queue: bool,
    /// Exchange super-segments and partial checksums with the kernel.
    pub offloads: bool,
    /// The MTU the interface has been or will be given. The device itself cannot tell it.
    pub mtu: u16,
}

impl Default for TapOptions {
    fn default() -> Self {
        Self { multi_queue: false, offloads: true, mtu: DEFAULT_MTU }
    }
}

/// One queue of a TAP device.
///
/// The guest is the kernel on the other side: what is sent arrives in its stack, what it sends
/// is received. Closing the descriptor removes the interface unless someone made it persistent.
///
/// The open descriptor keeps the network namespace it was opened in alive: that the last process
/// there has ended does not show on this link, only that the interface was deleted does.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    name: String,
    header: bool,
    capabilities: Capabilities,
}

impl Tap {
    /// Makes a TAP in the calling thread's network namespace, or attaches to a persistent one of
    /// that name; without a name the kernel chooses.
    ///
    /// # Errors
    /// [`TapError`] names the call that failed and which right or device is missing.
    pub fn create(name: Option<&str>, options: &TapOptions) -> Result<Self, TapError> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(DEVICE, flags, Mode::empty())
            .map_err(|errno| TapError::open(errno.into()))?;
        let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if options.multi_queue {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        let name = tun::set_interface(fd.as_fd(), name.unwrap_or_default(), flags)
            .map_err(TapError::set_interface)?;
        let capabilities = negotiate(fd.as_fd(), options)?;
        Ok(Self { fd, name, header: true, capabilities })
    }

    /// Takes over a TAP queue that is already open and attached, whatever namespace it is in.
    ///
    /// One without `IFF_VNET_HDR` works too, without offloads. The MTU is taken to be 1500:
    /// [`with_mtu`](Self::with_mtu) says otherwise.
    ///
    /// # Errors
    /// [`TapError`] when `fd` is not a TAP, not attached, or has the packet-information header.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, TapError> {
        let interface = tun::interface(fd.as_fd()).map_err(TapError::get_interface)?;
        if interface.flags & libc::IFF_TAP == 0 {
            return Err(TapError::unsuitable(TapCause::NotATap));
        }
        if interface.flags & libc::IFF_NO_PI == 0 {
            return Err(TapError::unsuitable(TapCause::PacketInformation));
        }
        rustix::io::ioctl_fionbio(&fd, true)
            .map_err(|errno| TapError::other("FIONBIO", errno.into()))?;
        let header = interface.flags & libc::IFF_VNET_HDR != 0;
        let options = TapOptions { offloads: header, ..TapOptions::default() };
        let capabilities = if header {
            negotiate(fd.as_fd(), &options)?
        } else {
            // Without a header to say what is unfinished, frames must come finished.
            tun::set_offload(fd.as_fd(), 0)
                .map_err(|error| TapError::other("TUNSETOFFLOAD", error))?;
            finished_only(options.mtu)
        };
        Ok(Self { fd, name: interface.name, header, capabilities })
    }

    /// The same TAP, of an interface that has this MTU.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u16) -> Self {
        self.capabilities.mtu = mtu;
        self
    }

    /// The interface's name when this queue was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the queue's descriptor away.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Refuses what the link does not finish, before the kernel makes sense of it in its own way.
    fn check(&self, frame: &[u8]) -> io::Result<()> {
        if frame.len() < VIRTIO_NET_HDR_LEN + ETHERNET_HEADER_LEN {
            return Err(invalid("a frame shorter than its headers"));
        }
        let Some(header) = VirtioNetHdr::parse(frame) else {
            return Err(invalid("a virtio-net header of an unknown kind"));
        };
        let offered = match header.gso {
            GsoType::None => true,
            GsoType::Tcp4 => self.capabilities.tso4,
            GsoType::Tcp6 => self.capabilities.tso6,
            GsoType::UdpL4 => self.capabilities.uso,
        };
        if !offered || (header.needs_csum && !self.capabilities.checksum_offload) {
            return Err(invalid("an offload this TAP does not have"));
        }
        Ok(())
    }
}

impl Link for Tap {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.len() < VIRTIO_NET_HDR_LEN + ETHERNET_HEADER_LEN {
            return Err(invalid("a receive buffer shorter than a frame's headers"));
        }
        // The kernel writes the first ten bytes of the header and skips the rest.
        buf[..VIRTIO_NET_HDR_LEN].fill(0);
        let skipped = if self.header { 0 } else { VIRTIO_NET_HDR_LEN };
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&self.fd, &mut buf[skipped..]))
            .map_err(data_error)?;
        if length + skipped < VIRTIO_NET_HDR_LEN {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a TAP frame without header"));
        }
        Ok(length + skipped)
    }

    fn has_guest(&self) -> bool {
        true
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.check(frame)?;
        let bytes = if self.header { frame } else { &frame[VIRTIO_NET_HDR_LEN..] };
        // A TAP takes a frame whole or not at all: there is no short write to continue.
        rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, bytes)).map_err(data_error)?;
        Ok(())
    }
}

fn negotiate(fd: BorrowedFd<'_>, options: &TapOptions) -> Result<Capabilities, TapError> {
    let fault = |operation| move |error| TapError::other(operation, error);
    tun::set_header_len(fd, HEADER_LEN).map_err(fault("TUNSETVNETHDRSZ"))?;
    tun::set_little_endian(fd).map_err(fault("TUNSETVNETLE"))?;
    if !options.offloads {
        tun::set_offload(fd, 0).map_err(fault("TUNSETOFFLOAD"))?;
        return Ok(finished_only(options.mtu));
    }
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // Linux before 6.2 knows no USO, refuses the word as a whole, and would not cut what we send.
    let uso = tun::set_offload(fd, tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6).is_ok();
    if !uso {
        tun::set_offload(fd, tcp).map_err(fault("TUNSETOFFLOAD"))?;
    }
    Ok(Capabilities { checksum_offload: true, tso4: true, tso6: true, uso, mtu: options.mtu })
}

fn finished_only(mtu: u16) -> Capabilities {
    Capabilities { checksum_offload: false, tso4: false, tso6: false, uso: false, mtu }
}

fn data_error(errno: Errno) -> io::Error {
    match errno {
        // The interface was deleted, or its namespace died.
        Errno::BADFD => io::Error::new(io::ErrorKind::BrokenPipe, "the TAP device is gone"),
        Errno::IO => io::Error::new(io::ErrorKind::NetworkDown, "the TAP interface is down"),
        Errno::INVAL => invalid("the kernel refused the frame as malformed"),
        other => other.into(),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

const DEVICE: &str = "/dev/net/tun";
const DEFAULT_MTU: u16 = 1500;
const ETHERNET_HEADER_LEN: usize = 14;
const HEADER_LEN: libc::c_int = 12;
const _: () = assert!(HEADER_LEN as usize == VIRTIO_NET_HDR_LEN);
