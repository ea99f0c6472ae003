//! The guest's network device: a TAP whose other end is a file descriptor.
//!
//! Made inside the guest's network namespace and never made persistent: it is gone when the last
//! descriptor is. Offloads are the link's to set. Spec: the kernel's networking/tuntap.rst.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use crate::channel::Step;
use crate::error::{AtStep, Fault};
use crate::sys::tun;

/// The device all TAPs are made through.
pub(crate) const TUN_DEVICE: &str = "/dev/net/tun";

/// Bytes of virtio-net header before every frame: virtio 1.x's, with `num_buffers`
/// (virtio 1.3 §5.1.6).
pub const VNET_HEADER_LEN: u8 = 12;

/// Opens the device node. It remembers the network namespace it is opened in.
pub(crate) fn open() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(TUN_DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Makes the guest's device in the network namespace this process is in.
pub(crate) fn create(name: &str) -> Result<OwnedFd, Fault> {
    let queue = open().at(Step::TunOpen)?;
    tun::attach_tap(&queue, name, i32::from(VNET_HEADER_LEN)).at_on(Step::TapCreate, name)?;
    Ok(queue)
}
