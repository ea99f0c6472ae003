//! One packet in, one packet out: what smoltcp sees of the guest's link.

use portreeve_core::Instant;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant as StackInstant;

/// A device for a single call.
pub(super) struct GuestDevice {
    mtu: usize,
    received: Option<Vec<u8>>,
    sent: Option<Vec<u8>>,
}

impl GuestDevice {
    pub(super) const fn new(mtu: usize) -> Self {
        Self { mtu, received: None, sent: None }
    }

    pub(super) const fn receiving(mtu: usize, packet: Vec<u8>) -> Self {
        Self { mtu, received: Some(packet), sent: None }
    }

    pub(super) fn sent(self) -> Option<Vec<u8>> {
        self.sent
    }
}

impl Device for GuestDevice {
    type RxToken<'a> = Received;
    type TxToken<'a> = Space<'a>;

    fn receive(&mut self, _now: StackInstant) -> Option<(Received, Space<'_>)> {
        Some((Received(self.received.take()?), Space(&mut self.sent)))
    }

    fn transmit(&mut self, _now: StackInstant) -> Option<Space<'_>> {
        self.sent.is_none().then_some(Space(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

pub(super) struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(super) struct Space<'a>(&'a mut Option<Vec<u8>>);

impl TxToken for Space<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        *self.0 = Some(packet);
        result
    }
}

pub(super) fn stack_time(now: Instant) -> StackInstant {
    StackInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
