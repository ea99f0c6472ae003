//! One front end: what it has said, and its device.
//!
//! Owns the front end's socket, memory and rings from its arrival to its end. Messages take effect
//! in whatever order they come: QEMU enables rings before it has chosen features, User-Mode Linux
//! and DPDK do so last.
//!
//! Spec: `docs/interop/vhost-user.rst` of QEMU.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::VhostUserOptions;
use super::channel::{Channel, Received, fault};
use super::fault::{RingFault, VhostUserFault};
use super::features::{Features, protocol};
use super::memory::Memory;
use super::message::{Header, MAX_REGIONS, Message, Region};
use super::queues::Queues;
use super::vring::Vring;
use crate::connection::Halt;
use crate::event::GoneCause;
use crate::watch::Watch;

#[derive(Debug)]
pub(crate) struct Session {
    channel: Channel,
    offered: Features,
    protocol: u64,
    mtu: u16,
    sealed: bool,
    queues: Queues,
    /// Kept open: the front end takes its end for ours.
    back_end_channel: Option<OwnedFd>,
    /// Frames since messages were last looked for.
    frames: u32,
    /// Something came up while sending: the end, told when receiving.
    broken: Option<GoneCause>,
}

impl Session {
    /// Takes over a connected socket and watches it.
    pub(crate) fn new(fd: OwnedFd, options: &VhostUserOptions, watch: &Watch) -> io::Result<Self> {
        watch.add(fd.as_fd())?;
        Ok(Self {
            channel: Channel::new(fd),
            offered: Features::offered(options.queue_pairs),
            protocol: 0,
            mtu: options.mtu,
            sealed: options.sealed_memory_only,
            queues: Queues::new(options.queue_pairs),
            back_end_channel: None,
            frames: 0,
            broken: None,
        })
    }

    /// The next frame; `Halt::Gone` when there will be none.
    pub(crate) fn receive(&mut self, watch: &Watch, buf: &mut [u8]) -> Result<usize, Halt> {
        if let Some(cause) = self.broken {
            return Err(Halt::Gone(cause));
        }
        if self.frames >= FRAMES {
            // A guest that is never out of frames does not keep its front end waiting.
            self.listen(watch)?;
        }
        for _ in 0..LOOKS {
            match self.queues.receive(buf) {
                Ok(Some(length)) => {
                    self.frames += 1;
                    return Ok(length);
                }
                Ok(None) => {}
                Err(ring) => return Err(fault(ring)),
            }
            // Kicks are asked for by now: what comes after this look is an edge.
            if !self.listen(watch)? && !self.queues.any_discarded() {
                return Err(Halt::Again);
            }
        }
        watch.wake_after(Duration::ZERO);
        Err(Halt::Again)
    }

    /// Takes a frame or says why not. `Halt::Gone` shows when receiving.
    pub(crate) fn send(&mut self, watch: &Watch, frame: &[u8]) -> io::Result<()> {
        if self.broken.is_some() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let sent = self.queues.send(frame);
        sent.unwrap_or_else(|ring| Err(self.break_off(watch, ring)))
    }

    /// Shows the guest what it was sent.
    pub(crate) fn flush(&mut self, gathers: bool) {
        self.queues.flush(gathers);
    }

    pub(crate) fn discarded(&self) -> u64 {
        self.queues.discarded()
    }

    /// Ends the connection.
    pub(crate) fn close(mut self, watch: &Watch) {
        watch.remove(self.channel.as_fd());
        for vring in self.queues.vrings() {
            vring.forget_kick(watch);
        }
    }

    fn break_off(&mut self, watch: &Watch, ring: VhostUserFault) -> io::Error {
        self.broken = Some(GoneCause::VhostUser(ring));
        watch.wake_after(Duration::ZERO);
        io::ErrorKind::NotConnected.into()
    }

    /// Does what the front end says; whether it said anything.
    fn listen(&mut self, watch: &Watch) -> Result<bool, Halt> {
        self.frames = 0;
        for said in 0..MESSAGES {
            match self.channel.receive() {
                Ok(received) => self.handle(received, watch)?,
                Err(Halt::Again) => return Ok(said > 0),
                Err(Halt::NoBuffers) => {
                    watch.wake_after(RETRY);
                    return Ok(said > 0);
                }
                Err(halt) => return Err(halt),
            }
        }
        Ok(true)
    }

    fn handle(&mut self, received: Received, watch: &Watch) -> Result<(), Halt> {
        let Received { header, message, mut descriptors } = received;
        let request = header.request;
        let unfit = || fault(VhostUserFault::Descriptors { request });
        let mut done = true;
        match message {
            Message::GetFeatures => return self.answer(&header, self.offered.0),
            Message::GetProtocolFeatures => return self.answer(&header, protocol::OFFERED),
            Message::GetQueueCount => return self.answer(&header, self.queues.pairs().into()),
            Message::GetMaxRegions => return self.answer(&header, MAX_REGIONS as u64),
            Message::GetRingBase { index } => {
                let base = self.vring(index)?.stop(watch);
                let state = [index, base.into()].map(u32::to_ne_bytes);
                return self.channel.reply(header, state.as_flattened());
            }
            Message::SetFeatures(bits) => {
                self.check(bits, self.offered.0)?;
                self.queues.set_features(Features(bits));
            }
            Message::SetProtocolFeatures(bits) => {
                self.check(bits, protocol::OFFERED)?;
                self.protocol = bits;
            }
            Message::SetMemory(regions) => self.share(&regions, descriptors)?,
            Message::AddMemory(region) => {
                let file = descriptors.pop().ok_or_else(unfit)?;
                let added = self.queues.memory().add(region, file, self.sealed);
                added.map_err(|memory| fault(memory.into()))?;
            }
            Message::RemoveMemory(region) => {
                self.queues.memory().remove(&region);
                self.queues.relocate().map_err(fault)?;
            }
            Message::SetMtu(mtu) => done = mtu >= self.mtu.into(),
            Message::SetBackEndChannel => self.back_end_channel = descriptors.pop(),
            Message::ResetOwner => {
                for vring in self.queues.vrings() {
                    vring.stop(watch);
                }
            }
            Message::Nothing => {}
            of_a_ring => self.set_ring(of_a_ring, descriptors.pop(), watch)?,
        }
        if header.wants_reply && self.protocol & protocol::REPLY_ACK != 0 {
            return self.answer(&header, u64::from(!done));
        }
        Ok(())
    }

    fn share(&mut self, regions: &[Region], files: Vec<OwnedFd>) -> Result<(), Halt> {
        // The old mappings go first: the new ones may not fit beside them.
        *self.queues.memory() = Memory::default();
        let memory = Memory::new(regions, files, self.sealed);
        *self.queues.memory() = memory.map_err(|memory| fault(memory.into()))?;
        self.queues.relocate().map_err(fault)
    }

    /// What is said of one ring, with the descriptor that came along.
    fn set_ring(
        &mut self,
        message: Message,
        descriptor: Option<OwnedFd>,
        watch: &Watch,
    ) -> Result<(), Halt> {
        match message {
            Message::SetRingSize { index, size } => {
                self.vring(index)?.set_size(size).map_err(of_ring(index))?;
                self.queues.start(index).map_err(of_ring(index))?;
            }
            Message::SetRingBase { index, base } => self.vring(index)?.set_base(base),
            Message::SetRingAddresses { index, addresses } => {
                self.queues.place(index, addresses).map_err(of_ring(index))?;
            }
            Message::EnableRing { index, enable } => self.vring(index)?.enable(enable),
            Message::SetKick { index, .. } => {
                let kick = descriptor.ok_or_else(|| of_ring(index)(RingFault::NoKick))?;
                self.vring(index)?.set_kick(kick, watch).map_err(of_ring(index))?;
                self.queues.start(index).map_err(of_ring(index))?;
            }
            Message::SetCall { index, .. } => self.vring(index)?.set_call(descriptor),
            // Faults end the connection, which tells more.
            Message::SetError { index, .. } => drop(self.vring(index)?),
            // Everything else was done by whoever calls.
            _ => {}
        }
        Ok(())
    }

    fn answer(&self, header: &Header, value: u64) -> Result<(), Halt> {
        self.channel.reply(*header, &value.to_ne_bytes())
    }

    fn check(&self, chosen: u64, offered: u64) -> Result<(), Halt> {
        match chosen & !offered {
            0 => Ok(()),
            rest => Err(fault(VhostUserFault::Features(rest))),
        }
    }

    fn vring(&mut self, index: u32) -> Result<&mut Vring, Halt> {
        self.queues.vring(index).ok_or_else(|| of_ring(index)(RingFault::Missing))
    }
}

fn of_ring(index: u32) -> impl Fn(RingFault) -> Halt {
    let index = u16::try_from(index).unwrap_or(u16::MAX);
    move |ring| fault(VhostUserFault::Ring { index, fault: ring })
}

/// Frames after which messages are looked for though there are more frames.
const FRAMES: u32 = 1024;
/// When to look again where the kernel has no memory for a message.
const RETRY: Duration = Duration::from_millis(2);
/// Messages done in a row.
const MESSAGES: usize = 64;
/// Looks at rings and messages in one call.
const LOOKS: usize = 8;
