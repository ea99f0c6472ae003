//! What a front end has said of one ring, and the ring while it runs.
//!
//! Owns the ring's descriptors and when it runs: from the kick's descriptor until its base is asked
//! for. Whether it is also enabled is another matter, and front ends say it at any time.
//!
//! Spec: `docs/interop/vhost-user.rst` of QEMU, "Ring states".

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;

use super::fault::RingFault;
use super::features::Features;
use super::memory::Memory;
use super::message::RingAddresses;
use super::ring::Ring;
use crate::watch::Watch;

#[derive(Debug, Default)]
pub(crate) struct Vring {
    size: u16,
    base: u16,
    addresses: Option<RingAddresses>,
    /// What the front end last said of it.
    enabled: Option<bool>,
    kick: Option<OwnedFd>,
    call: Option<OwnedFd>,
    ring: Option<Ring>,
}

impl Vring {
    pub(crate) fn set_size(&mut self, size: u32) -> Result<(), RingFault> {
        let size = u16::try_from(size).map_err(|_| RingFault::Size)?;
        if !size.is_power_of_two() {
            return Err(RingFault::Size);
        }
        self.size = size;
        Ok(())
    }

    pub(crate) fn set_base(&mut self, base: u32) {
        // A ring's index has sixteen bits.
        self.base = base as u16;
    }

    /// Places the ring, also while it runs.
    pub(crate) fn set_addresses(
        &mut self,
        addresses: RingAddresses,
        memory: &Memory,
    ) -> Result<(), RingFault> {
        self.addresses = Some(addresses);
        self.relocate(memory)
    }

    pub(crate) fn enable(&mut self, enable: bool) {
        self.enabled = Some(enable);
    }

    /// The memory is another: a ring that runs has to be in it.
    pub(crate) fn relocate(&mut self, memory: &Memory) -> Result<(), RingFault> {
        match (&mut self.ring, &self.addresses) {
            (Some(ring), Some(addresses)) => ring.relocate(memory, addresses),
            _ => Ok(()),
        }
    }

    /// Takes its kick, with which it runs.
    pub(crate) fn set_kick(&mut self, kick: OwnedFd, watch: &Watch) -> Result<(), RingFault> {
        self.forget_kick(watch);
        watch.add(kick.as_fd()).map_err(|_| RingFault::NoKick)?;
        self.kick = Some(kick);
        Ok(())
    }

    /// Lets it run, if all is known that it takes.
    pub(crate) fn start(&mut self, memory: &Memory, features: Features) -> Result<(), RingFault> {
        let ready = self.ring.is_none() && self.kick.is_some() && self.size > 0;
        if let Some(addresses) = self.addresses.as_ref().filter(|_| ready) {
            let event_idx = features.event_idx();
            self.ring = Some(Ring::new(memory, addresses, self.size, self.base, event_idx)?);
        }
        Ok(())
    }

    /// Stops it; where it would go on.
    pub(crate) fn stop(&mut self, watch: &Watch) -> u16 {
        self.publish();
        if let Some(ring) = self.ring.take() {
            self.base = ring.base();
        }
        self.forget_kick(watch);
        self.base
    }

    pub(crate) fn set_call(&mut self, call: Option<OwnedFd>) {
        if let Some(call) = &call {
            // A full pipe must not hold this thread up. Front ends make theirs so by themselves.
            let flags = rustix::fs::fcntl_getfl(call).unwrap_or(OFlags::empty());
            if !flags.contains(OFlags::NONBLOCK) {
                let _ = rustix::fs::fcntl_setfl(call, flags | OFlags::NONBLOCK);
            }
        }
        let calls = call.is_some();
        self.call = call;
        // What was given back before the guest could be called.
        if calls && self.ring.is_some() {
            self.signal();
        }
    }

    pub(crate) fn set_features(&mut self, features: Features) {
        if let Some(ring) = &mut self.ring {
            ring.set_event_idx(features.event_idx());
        }
    }

    /// The ring, if it runs and is enabled.
    pub(crate) fn active(&mut self, features: Features) -> Option<&mut Ring> {
        let enabled = self.enabled.unwrap_or_else(|| !features.protocol_features());
        self.ring.as_mut().filter(|_| enabled)
    }

    /// The ring, if it runs.
    pub(crate) fn running(&mut self) -> Option<&mut Ring> {
        self.ring.as_mut()
    }

    /// Shows the guest what was given back, and calls it if it wants that.
    pub(crate) fn publish(&mut self) {
        if self.ring.as_mut().is_some_and(Ring::publish) {
            self.signal();
        }
    }

    /// Before it is dropped: another process may hold the same kick.
    pub(crate) fn forget_kick(&mut self, watch: &Watch) {
        if let Some(kick) = self.kick.take() {
            watch.remove(kick.as_fd());
        }
    }

    fn signal(&self) {
        if let Some(call) = &self.call {
            // Where there is no room, calls enough are waiting.
            let _ = rustix::io::write(call, &1u64.to_ne_bytes());
        }
    }
}
