//! Sending datagrams: many with one call, several as one message where the kernel can split it.
//!
//! Owns the fallback when it cannot, and finding out which datagram a fault belongs to; never
//! drops one silently.
//!
//! Spec: sendmmsg(2), udp(7) for `UDP_SEGMENT`, ip(7) for `IP_MTU`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::batch::{BATCH_DATAGRAMS, SendBatch};
use super::{UdpSocket, can_be_source};
use crate::outbound::Fragmentation;
use crate::report::{self, Fault, SocketErrorReport, despite_reports};
use crate::sys::{self, Outgoing, SendControl};

impl UdpSocket {
    /// Sends the datagrams of a batch in order and returns how many the kernel took.
    ///
    /// If that is not all, the one after them could not be sent:
    /// [`skip`](SendBatch::skip) those that were and call again to learn why.
    ///
    /// # Errors
    /// The first datagram's: `WouldBlock` when there is no room, else a fault of that datagram
    /// (no route, too long), to be skipped before going on. [`explain`](Self::explain) makes a
    /// report of it.
    pub fn send_batch(&self, batch: &SendBatch) -> io::Result<usize> {
        let mut sent = 0;
        while sent < batch.len() {
            match self.send_some(batch, sent) {
                Ok(0) => break,
                Ok(taken) => sent += taken,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// Sends one datagram, from `source` if that is given.
    ///
    /// # Errors
    /// As [`send_batch`](Self::send_batch).
    pub fn send_to(
        &self,
        payload: &[u8],
        destination: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<()> {
        let source = source.filter(can_be_source);
        let destination = sys::canonical(destination);
        self.fragmentation.prepare(self.fd.as_fd(), destination.ip(), Fragmentation::Allowed)?;
        let control = SendControl { source, ..SendControl::default() };
        let outgoing = Outgoing { head: &[], payload, destination, control };
        despite_reports(&mut false, || {
            sys::send_many::<1>(self.fd.as_fd(), self.family, std::iter::once(outgoing))
        })?;
        Ok(())
    }

    /// Makes a report, as [`recv_error`](Self::recv_error) has them, of the fault that
    /// [`send_batch`](Self::send_batch) answered for the first datagram of the batch: with the
    /// path MTU if that was too small. None for `WouldBlock` and for an empty batch.
    pub fn explain(&self, batch: &SendBatch, fault: &io::Error) -> Option<SocketErrorReport> {
        let (payload, destination, options) = batch.first()?;
        let bound = Some(self.local.ip()).filter(|address| !address.is_unspecified());
        let source = options.source.or(bound);
        let fault = Fault { error: fault, destination, source, payload };
        report::of_fault(self.fd.as_fd(), &fault)
    }

    /// Sends what one call can take of the batch, from the datagram at `from` on.
    fn send_some(&self, batch: &SendBatch, from: usize) -> io::Result<usize> {
        let unsegmented = self.unsegmented.load(Ordering::Relaxed);
        let Some((first, datagrams)) = batch.messages(from, unsegmented).next() else {
            return Ok(0);
        };
        let fragmentation = if first.control.forbid_fragments {
            Fragmentation::Forbidden
        } else {
            Fragmentation::Allowed
        };
        self.fragmentation.prepare(self.fd.as_fd(), first.destination.ip(), fragmentation)?;
        match self.transmit::<BATCH_DATAGRAMS>(batch, from, unsegmented) {
            Err(error) if datagrams > 1 && refuses_segments(&error) => {
                // Segments or datagram at fault? Alone, it tells.
                let taken = self.transmit::<1>(batch, from, 0)?;
                let size = first.control.segment.map_or(0, usize::from);
                self.unsegmented.fetch_min(size, Ordering::Relaxed);
                Ok(taken)
            }
            result => result,
        }
    }

    /// One call for at most `N` messages; returns how many datagrams were in those taken.
    fn transmit<const N: usize>(
        &self,
        batch: &SendBatch,
        from: usize,
        unsegmented: usize,
    ) -> io::Result<usize> {
        let taken = despite_reports(&mut false, || {
            let messages = batch.messages(from, unsegmented).map(|(outgoing, _)| outgoing);
            sys::send_many::<N>(self.fd.as_fd(), self.family, messages)
        })?;
        Ok(batch.messages(from, unsegmented).take(taken).map(|(_, datagrams)| datagrams).sum())
    }
}

/// Whether a message of several datagrams may have been refused for being that: the segments do
/// not fit the interface (`EINVAL`, `EMSGSIZE`), or it computes no checksums (`EIO`).
fn refuses_segments(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO))
}
