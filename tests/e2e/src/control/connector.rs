//! A process in the test's network that connects to sockets and hands the connections over.
//!
//! A test runs on a thread in a network namespace of its own, while its process is in the
//! machine's; the control API looks at the process. So somebody has to connect who is wholly there.
//! The other half is `src/guest/connect.rs`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::program;

/// The process. It lives as long as this: whoever it connected for is its number.
#[derive(Debug)]
pub(super) struct Connector {
    child: Child,
    orders: Mutex<OwnedFd>,
}

impl Connector {
    /// In the calling thread's network.
    pub(super) fn start() -> Self {
        let pair =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.unwrap();
        let mut command = Command::new(program::guest());
        let child = command.arg("connect").stdin(Stdio::from(theirs)).spawn().expect("it starts");
        Self { child, orders: Mutex::new(ours) }
    }

    /// A connection to this socket.
    pub(super) fn connect(&self, path: &Path) -> io::Result<UnixStream> {
        let orders = self.orders.lock().unwrap();
        let path = path.to_str().expect("UTF-8");
        let nothing = &mut SendAncillaryBuffer::default();
        sendmsg(&*orders, &[IoSlice::new(path.as_bytes())], nothing, SendFlags::empty())?;
        let mut errno = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut errno)];
        recvmsg(&*orders, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message
                && let Some(fd) = fds.next()
            {
                return Ok(fd.into());
            }
        }
        Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
