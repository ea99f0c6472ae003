//! How a link over a socket is to be made.
//!
//! Owns the choices that all kinds of sockets share, and their defaults.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::sockopt;

use crate::link::Capabilities;

/// How to make a link over a socket.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// The guest's MTU.
    pub mtu: u16,
    /// Whether the guest takes TCP super-segments of up to 64 KiB in one frame. There is no header
    /// to say how they are to be cut; checksums are completed by the link.
    pub super_frames: bool,
    /// Whether checksums of the guest's frames are to be verified; by default they are where the
    /// frames come over TCP.
    ///
    /// Over unix sockets a VMM may send what its guest left to the network device to finish, with
    /// no header to say so: libkrun offers checksum and segmentation offloads to the guest and
    /// drops the header, so that a frame has up to 65,550 bytes and only the pseudo-header's sum.
    /// Not to verify is safe there: the bytes come from a process on this host by copies in
    /// memory, which a checksum does not guard, and a guest that wants to deceive computes one.
    pub verify_checksums: Option<bool>,
    /// How often a link that connects tries again once its guest has gone; without, such a guest is
    /// gone for good.
    pub reconnect: Option<Duration>,
    /// The send buffer to ask for, in bytes; the kernel grants less without `CAP_NET_ADMIN`
    /// (`net.core.wmem_max`). Without, a link of datagrams asks for 7 MiB, any other over a
    /// unix socket for 1 MiB, and one over TCP leaves it to the kernel.
    pub send_buffer: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            mtu: 1500,
            super_frames: false,
            verify_checksums: None,
            reconnect: Some(Duration::from_millis(200)),
            send_buffer: None,
        }
    }
}

impl SocketOptions {
    pub(crate) fn capabilities(&self) -> Capabilities {
        let offload = self.super_frames;
        Capabilities {
            // Completed here, for the guest gets no header to say what is missing.
            checksum_offload: offload,
            tso4: offload,
            tso6: offload,
            uso: false,
            mtu: self.mtu,
        }
    }

    pub(crate) fn grow_send_buffer(&self, fd: BorrowedFd<'_>, wish: Option<usize>) {
        if let Some(length) = self.send_buffer.or(wish)
            && sockopt::set_socket_send_buffer_size_force(fd, length).is_err()
        {
            let _ = sockopt::set_socket_send_buffer_size(fd, length);
        }
    }
}
