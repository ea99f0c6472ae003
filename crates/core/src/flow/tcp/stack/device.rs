//! smoltcp's device of one flow: at most one packet in, and one packet out.
//!
//! Owns no packet: one comes as a slice, and one is written where the caller wants it.

use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::phy::{RxToken, TxToken};
use smoltcp::time::Instant as StackInstant;

/// One packet in, or one packet out.
pub(super) struct FlowDevice<'a> {
    pub(super) receive: Option<&'a [u8]>,
    pub(super) transmit: Option<&'a mut [u8]>,
    pub(super) sent: usize,
}

impl Device for FlowDevice<'_> {
    type RxToken<'b>
        = Packet<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Space<'b>
    where
        Self: 'b;

    fn receive(&mut self, _now: StackInstant) -> Option<(Packet<'_>, Space<'_>)> {
        let packet = Packet(self.receive.take()?);
        let space = Space { out: self.transmit.as_deref_mut()?, sent: &mut self.sent };
        Some((packet, space))
    }

    fn transmit(&mut self, _now: StackInstant) -> Option<Space<'_>> {
        // One packet per call: the link takes one frame at a time.
        if self.sent != 0 {
            return None;
        }
        Some(Space { out: self.transmit.as_deref_mut()?, sent: &mut self.sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        // The flow's own segment size keeps packets within the link's MTU; where the link cuts
        // super-segments itself this is what they may grow to.
        capabilities.max_transmission_unit = 65_535;
        let mut checksum = ChecksumCapabilities::ignored();
        checksum.ipv4 = Checksum::Tx;
        capabilities.checksum = checksum;
        capabilities
    }
}

pub(super) struct Packet<'a>(&'a [u8]);

impl RxToken for Packet<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Space<'a> {
    out: &'a mut [u8],
    sent: &'a mut usize,
}

impl TxToken for Space<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        *self.sent = len;
        f(&mut self.out[..len])
    }
}
