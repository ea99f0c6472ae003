//! recvmmsg(2): many datagrams with one system call, so that the load generator is not what a
//! measurement measures. Sending is safe in rustix and is not here.

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    ptr,
};

/// Datagrams of one call.
pub(crate) const BATCH: usize = 64;
/// Room for each: more than any datagram of the load generator.
const SLOT: usize = 2048;

/// Room for a batch of datagrams, with where each came from.
pub(crate) struct Inbox {
    memory: Box<[u8]>,
    lengths: [usize; BATCH],
    sources: [Option<SocketAddr>; BATCH],
    count: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; BATCH * SLOT].into(),
            lengths: [0; BATCH],
            sources: [None; BATCH],
            count: 0,
        }
    }

    /// Waits for one datagram, as long as the socket's timeout says, and takes what else is there.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.count = 0;
        // SAFETY: these are integers and nullable pointers, for which zeroes are valid.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above; zeroes are the family AF_UNSPEC.
        let mut names: [libc::sockaddr_in; BATCH] = unsafe { mem::zeroed() };
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        for (at, slot) in self.memory.chunks_exact_mut(SLOT).enumerate() {
            let vector = vectors[at]
                .write(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT });
            let header = &mut headers[at].msg_hdr;
            header.msg_name = (&raw mut names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
        }
        // SAFETY: each header points to a name, a vector and a piece of `memory` of the lengths
        // given, all alive and not otherwise used during the call; no timeout is passed.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        self.count = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        for at in 0..self.count {
            self.lengths[at] = (headers[at].msg_len as usize).min(SLOT);
            let name = &names[at];
            // The load generator speaks IPv4.
            self.sources[at] = (i32::from(name.sin_family) == libc::AF_INET).then(|| {
                let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
                SocketAddr::from((address, u16::from_be(name.sin_port)))
            });
        }
        Ok(self.count)
    }

    /// The datagrams of the last call that came from somewhere.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.memory
            .chunks_exact(SLOT)
            .zip(&self.lengths)
            .zip(&self.sources)
            .take(self.count)
            .filter_map(|((slot, &length), source)| Some(((*source)?, &slot[..length])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_taken_whole() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let to = receiver.local_addr().expect("bound");
        for text in ["one", "two", "three"] {
            sender.send_to(text.as_bytes(), to).expect("sent");
        }
        let mut inbox = Inbox::new();
        assert_eq!(inbox.receive(&receiver).expect("there"), 3);
        let from = sender.local_addr().expect("bound");
        let found: Vec<_> = inbox.datagrams().collect();
        assert_eq!(found, [(from, &b"one"[..]), (from, b"two"), (from, b"three")]);
    }
}
