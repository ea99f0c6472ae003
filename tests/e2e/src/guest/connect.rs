//! Connects to sockets for somebody in another network, and hands the connections over.
//!
//! Standard input is a `SOCK_SEQPACKET` socket: a message is a path, the answer the connection, or
//! the kernel's error. Ends when the other end does.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg,
    sendmsg,
};

/// Serves until the end.
pub(crate) fn connect() -> ExitCode {
    let orders = std::io::stdin();
    let mut path = [0; 128];
    loop {
        let into = &mut [IoSliceMut::new(&mut path)];
        let nothing = &mut RecvAncillaryBuffer::default();
        let length = recvmsg(&orders, into, nothing, RecvFlags::empty()).unwrap().bytes;
        if length == 0 {
            return ExitCode::SUCCESS;
        }
        let path = std::str::from_utf8(&path[..length]).unwrap();
        let connected = UnixStream::connect(path);
        let errno = connected.as_ref().err().and_then(std::io::Error::raw_os_error).unwrap_or(0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = connected.iter().map(UnixStream::as_fd).collect();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let errno = errno.to_ne_bytes();
        sendmsg(&orders, &[IoSlice::new(&errno)], &mut control, SendFlags::empty()).unwrap();
    }
}
