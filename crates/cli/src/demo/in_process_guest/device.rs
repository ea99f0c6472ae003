//! What the guest's stack sees of its link: one packet in, or one packet out.
//!
//! Owns nothing: packets stand in the caller's buffers, which frames them.

use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant as StackInstant;

use super::MTU;

/// One packet in, or one packet out.
pub(super) struct Device<'a> {
    /// The packet that arrived.
    pub(super) received: Option<&'a [u8]>,
    /// Where a packet that leaves is written.
    pub(super) space: &'a mut [u8],
    /// Its length; 0 as long as there is none.
    pub(super) sent: usize,
}

impl phy::Device for Device<'_> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Space<'b>
    where
        Self: 'b;

    fn receive(&mut self, _now: StackInstant) -> Option<(Received<'_>, Space<'_>)> {
        let packet = Received(self.received.take()?);
        Some((packet, Space { out: &mut *self.space, sent: &mut self.sent }))
    }

    fn transmit(&mut self, _now: StackInstant) -> Option<Space<'_>> {
        (self.sent == 0).then_some(Space { out: &mut *self.space, sent: &mut self.sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU.into();
        capabilities
    }
}

pub(super) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Space<'a> {
    out: &'a mut [u8],
    sent: &'a mut usize,
}

impl phy::TxToken for Space<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        *self.sent = length;
        f(&mut self.out[..length])
    }
}
