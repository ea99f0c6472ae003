//! In-process links: a pair of ends that hand frames to each other.
//!
//! Owns two bounded queues of frames and their wake-ups. [`MemoryLink`] is the engine's end,
//! [`MemoryPeer`] the guest's: a test, or a VMM that links the library. Copies each frame once
//! on either side and looks at its header only; never blocks, but for [`MemoryPeer::recv`].
//!
//! The header is that of Virtual I/O Device (VIRTIO) version 1.2 §5.1.6; wake-ups are eventfd(2).

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use portreeve_wire::{GsoType, VIRTIO_NET_HDR_LEN, VirtioNetHdr};

use crate::link::{Capabilities, Link, MAX_FRAME_LEN};

mod channel;

#[cfg(test)]
mod tests;

use channel::{Channel, End};

/// How to make a pair.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Frames each direction holds before its sender sees `WouldBlock`; at least one.
    pub capacity_frames: usize,
    /// The guest's MTU.
    pub mtu: u16,
    /// Whether the peer accepts super-segments and partial checksums. If not, it is handed
    /// nothing but complete frames of at most the MTU and an Ethernet header.
    pub offloads: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { capacity_frames: 256, mtu: 1500, offloads: true }
    }
}

/// Makes a link and its peer.
///
/// # Errors
/// When the process or the system is out of descriptors.
pub fn pair(options: &MemoryOptions) -> io::Result<(MemoryLink, MemoryPeer)> {
    let channel = Arc::new(Channel::new(options.capacity_frames.max(1))?);
    let offloads = options.offloads;
    let link = MemoryLink {
        port: Port { channel: Arc::clone(&channel), end: End::Link },
        capabilities: Capabilities {
            checksum_offload: offloads,
            tso4: offloads,
            tso6: offloads,
            // Joined datagrams are for a peer whose system cuts them; who wrote this one cuts TCP.
            uso: false,
            mtu: options.mtu,
        },
    };
    let peer = MemoryPeer {
        port: Port { channel, end: End::Peer },
        // The engine reads whatever a guest sends, finished or not.
        capabilities: Capabilities {
            checksum_offload: true,
            tso4: true,
            tso6: true,
            uso: true,
            mtu: options.mtu,
        },
    };
    Ok((link, peer))
}

/// The engine's end of a pair. Dropping it breaks the peer's.
#[derive(Debug)]
pub struct MemoryLink {
    port: Port,
    capabilities: Capabilities,
}

impl Link for MemoryLink {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.port.channel.event_fd(self.port.end)
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.port.channel.receive_into(self.port.end, buf)
    }

    fn has_guest(&self) -> bool {
        true
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        check(frame, &self.capabilities)?;
        self.port.channel.send(self.port.end, &[frame])
    }
}

/// The guest's end of a pair. Dropping it breaks the link.
///
/// It is a [`Link`] itself, with the header in front of each frame; [`send_frame`] and [`recv`]
/// are the short way.
///
/// [`send_frame`]: Self::send_frame
/// [`recv`]: Self::recv
#[derive(Debug)]
pub struct MemoryPeer {
    port: Port,
    capabilities: Capabilities,
}

impl MemoryPeer {
    /// Sends a complete Ethernet frame, given without the virtio-net header.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub fn send_frame(&mut self, frame: &[u8]) -> io::Result<()> {
        let mut header = [0; VIRTIO_NET_HDR_LEN];
        VirtioNetHdr::default().emit(&mut header);
        check_len(VIRTIO_NET_HDR_LEN + frame.len())?;
        self.port.channel.send(self.port.end, &[&header, frame])
    }

    /// Waits at most `timeout` for a frame and returns it, header included; `None` when the time
    /// is over. A timeout of zero does not wait.
    ///
    /// # Errors
    /// `BrokenPipe` when the other end is gone and its last frame was taken.
    pub fn recv(&mut self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        self.port.channel.receive_within(self.port.end, timeout)
    }

    /// The descriptor to poll, as [`Link::event_fd`]; it serves level-triggered waits for
    /// reading, too, and stays readable after `WouldBlock` from sending once there is room.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.port.channel.event_fd(self.port.end)
    }
}

impl Link for MemoryPeer {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        Self::event_fd(self)
    }

    fn receive(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.port.channel.receive_into(self.port.end, buf)
    }

    fn has_guest(&self) -> bool {
        true
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        check_len(frame.len())?;
        self.port.channel.send(self.port.end, &[frame])
    }
}

/// One end's hold on the channel: the other end learns of its drop.
#[derive(Debug)]
struct Port {
    channel: Arc<Channel>,
    end: End,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.channel.close(self.end);
    }
}

/// Refuses what the other end did not offer to finish.
fn check(frame: &[u8], capabilities: &Capabilities) -> io::Result<()> {
    check_len(frame.len())?;
    let Some(header) = VirtioNetHdr::parse(frame) else {
        return Err(invalid("a virtio-net header of an unknown kind"));
    };
    let offered = match header.gso {
        GsoType::None => true,
        GsoType::Tcp4 => capabilities.tso4,
        GsoType::Tcp6 => capabilities.tso6,
        GsoType::UdpL4 => capabilities.uso,
    };
    if !offered || (header.needs_csum && !capabilities.checksum_offload) {
        return Err(invalid("an offload the peer does not have"));
    }
    let longest = VIRTIO_NET_HDR_LEN + ETHERNET_HEADER_LEN + usize::from(capabilities.mtu);
    if header.gso == GsoType::None && frame.len() > longest {
        return Err(invalid("a frame longer than the MTU"));
    }
    Ok(())
}

fn check_len(length: usize) -> io::Result<()> {
    if (VIRTIO_NET_HDR_LEN..=MAX_FRAME_LEN).contains(&length) {
        Ok(())
    } else {
        Err(invalid("a frame shorter than its header or longer than any packet"))
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

const ETHERNET_HEADER_LEN: usize = 14;
