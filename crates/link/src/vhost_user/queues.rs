//! The device behind a front end: its rings, and frames in and out of them.
//!
//! Owns which ring is next, what is done for a guest that does not take a frame as it is, and how
//! often the guest is told of progress; knows nothing of messages.

use std::io;

use portreeve_wire::{VIRTIO_NET_HDR_LEN, VirtioNetHdr};

use super::fault::{RingFault, VhostUserFault};
use super::features::Features;
use super::from_guest::{self, Took};
use super::memory::Memory;
use super::message::RingAddresses;
use super::segment::{Segments, is_ipv6};
use super::steering::Steering;
use super::to_guest::{self, Put, Room};
use super::vring::Vring;
use crate::finish::{Finished, invalid};
use crate::framing::LONGEST_FRAME;
use crate::link::Capabilities;

#[derive(Debug)]
pub(crate) struct Queues {
    features: Features,
    memory: Memory,
    /// Two for each pair: to the guest, from the guest.
    vrings: Vec<Vring>,
    /// The pair that is asked for the next frame, and how many it has given in a row.
    turn: usize,
    in_a_row: u16,
    steering: Steering,
    /// A frame that is cut, and was taken in part.
    cut: Option<(usize, Segments)>,
    room: Room,
    /// Frames may wait until they are flushed.
    gathers: bool,
    discarded: u64,
    discarded_now: bool,
}

impl Queues {
    pub(crate) fn new(pairs: u16) -> Self {
        Self {
            features: Features::default(),
            memory: Memory::default(),
            vrings: (0..2 * pairs).map(|_| Vring::default()).collect(),
            turn: 0,
            in_a_row: 0,
            steering: Steering::default(),
            cut: None,
            room: Room::default(),
            gathers: false,
            discarded: 0,
            discarded_now: false,
        }
    }

    pub(crate) fn set_features(&mut self, features: Features) {
        self.features = features;
        for vring in &mut self.vrings {
            vring.set_features(features);
        }
    }

    /// Takes one frame, from each pair in turn. None is there only when kicks were asked for.
    pub(crate) fn receive(&mut self, buf: &mut [u8]) -> Result<Option<usize>, VhostUserFault> {
        self.discarded_now = false;
        if self.cut.is_some() {
            self.continue_cut()?;
            // Nobody may have more to send, and so to flush.
            self.flush(false);
        }
        let pairs = self.pairs();
        for _ in 0..pairs {
            let pair = self.turn;
            let received = self.receive_of(pair, buf)?;
            self.in_a_row += 1;
            if received.is_none() || self.in_a_row >= BATCH {
                self.turn = (pair + 1) % usize::from(pairs);
                self.in_a_row = 0;
            }
            if received.is_some() {
                return Ok(received);
            }
        }
        Ok(None)
    }

    /// Hands over one frame; the outer error is the ring's, the inner one the frame's.
    pub(crate) fn send(&mut self, frame: &[u8]) -> Result<io::Result<()>, VhostUserFault> {
        let Some(header) = VirtioNetHdr::parse(frame) else {
            return Ok(Err(invalid("a virtio-net header of an unknown kind")));
        };
        let content = &frame[VIRTIO_NET_HDR_LEN..];
        if content.is_empty() || content.len() > LONGEST_FRAME {
            return Ok(Err(invalid("a frame without content or longer than the link carries")));
        }
        let pair = self.pair_for(content);
        if self.vrings[2 * pair].active(self.features).is_none() {
            return Ok(Err(io::ErrorKind::NotConnected.into()));
        }
        if !self.continue_cut()? {
            return Ok(Err(io::ErrorKind::WouldBlock.into()));
        }
        if self.features.takes(header.gso, is_ipv6(content) == Some(true)) {
            return self.put(pair, frame);
        }
        let Some(segments) = Segments::new(frame) else {
            return Ok(Err(invalid("a super-segment that is none")));
        };
        self.cut = Some((pair, segments));
        self.continue_cut()?;
        Ok(Ok(()))
    }

    /// Shows the guest what it was sent.
    pub(crate) fn flush(&mut self, gathers: bool) {
        self.gathers |= gathers;
        for vring in self.vrings.iter_mut().step_by(2) {
            vring.publish();
        }
    }

    /// Lets a ring run, if all is known that it takes.
    pub(crate) fn start(&mut self, index: u32) -> Result<(), RingFault> {
        let vring = self.vrings.get_mut(index as usize).ok_or(RingFault::Missing)?;
        vring.start(&self.memory, self.features)
    }

    pub(crate) fn place(&mut self, index: u32, addresses: RingAddresses) -> Result<(), RingFault> {
        let vring = self.vrings.get_mut(index as usize).ok_or(RingFault::Missing)?;
        vring.set_addresses(addresses, &self.memory)?;
        vring.start(&self.memory, self.features)
    }

    /// Finds the rings in the memory that is there now.
    pub(crate) fn relocate(&mut self) -> Result<(), VhostUserFault> {
        for (index, vring) in self.vrings.iter_mut().enumerate() {
            vring.relocate(&self.memory).map_err(|fault| of_ring(index, fault))?;
        }
        Ok(())
    }

    pub(crate) fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    pub(crate) fn vring(&mut self, index: u32) -> Option<&mut Vring> {
        self.vrings.get_mut(index as usize)
    }

    pub(crate) fn vrings(&mut self) -> impl Iterator<Item = &mut Vring> {
        self.vrings.iter_mut()
    }

    pub(crate) fn pairs(&self) -> u16 {
        // Made of that many.
        u16::try_from(self.vrings.len() / 2).unwrap_or(u16::MAX)
    }

    pub(crate) fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Whether the last call of [`receive`](Self::receive) gave up on one that was no frame.
    pub(crate) fn any_discarded(&self) -> bool {
        self.discarded_now
    }

    fn receive_of(&mut self, pair: usize, buf: &mut [u8]) -> Result<Option<usize>, VhostUserFault> {
        let index = 2 * pair + 1;
        let features = self.features;
        let vring = &mut self.vrings[index];
        let active = vring.active(features).is_some();
        for _ in 0..DISCARDS {
            let Some(ring) = vring.running() else { return Ok(None) };
            let took = from_guest::take(ring, &self.memory, features.header_len(), buf);
            let took = took.map_err(|fault| of_ring(index, fault))?;
            if ring.unpublished() >= BATCH {
                vring.publish();
            }
            match took {
                Took::Frame(length) if active => {
                    if self.vrings.len() > 2 {
                        let pair = u8::try_from(pair).unwrap_or_default();
                        self.steering.learn(&buf[VIRTIO_NET_HDR_LEN..length], pair);
                    }
                    return Ok(Some(length));
                }
                // A ring that runs and is disabled is emptied without any effect.
                Took::Frame(_) => {}
                Took::Discarded => self.discarded += 1,
                Took::Nothing => {
                    vring.publish();
                    let Some(ring) = vring.running() else { return Ok(None) };
                    if !ring.ask_for_kicks().map_err(|fault| of_ring(index, fault))? {
                        return Ok(None);
                    }
                }
            }
        }
        self.discarded_now = true;
        Ok(None)
    }

    /// Goes on with a frame that was taken in part; whether none is left.
    fn continue_cut(&mut self) -> Result<bool, VhostUserFault> {
        while let Some((pair, mut segments)) = self.cut.take() {
            match self.put(pair, segments.piece())? {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.cut = Some((pair, segments));
                    return Ok(false);
                }
                // Its ring was stopped, or can never hold it: nothing of it is left to send.
                Err(_) => {}
                Ok(()) if segments.advance() => self.cut = Some((pair, segments)),
                Ok(()) => {}
            }
        }
        Ok(true)
    }

    /// Puts a frame that the guest takes but for its checksum.
    fn put(&mut self, pair: usize, frame: &[u8]) -> Result<io::Result<()>, VhostUserFault> {
        let features = self.features;
        let finished;
        let mut header = [0; VIRTIO_NET_HDR_LEN];
        let pieces = if features.guest_checksum() {
            header.copy_from_slice(&frame[..VIRTIO_NET_HDR_LEN]);
            [&frame[VIRTIO_NET_HDR_LEN..], &[], &[]]
        } else {
            finished = match Finished::new(frame, &CHECKSUMS_ONLY, LONGEST_FRAME) {
                Ok(finished) => finished,
                Err(error) => return Ok(Err(error)),
            };
            finished.pieces()
        };
        let header = &mut header[..features.header_len()];
        let Some(ring) = self.vrings[2 * pair].active(features) else {
            return Ok(Err(io::ErrorKind::NotConnected.into()));
        };
        loop {
            let put = to_guest::put(
                ring,
                &self.memory,
                features.mergeable(),
                header,
                pieces,
                &mut self.room,
            );
            match put.map_err(|fault| of_ring(2 * pair, fault))? {
                Put::Taken => break,
                Put::TooLong => return Ok(Err(invalid("a frame longer than the guest's buffers"))),
                Put::Full => {
                    let more = ring.ask_for_kicks().map_err(|fault| of_ring(2 * pair, fault))?;
                    if !more {
                        self.vrings[2 * pair].publish();
                        return Ok(Err(io::ErrorKind::WouldBlock.into()));
                    }
                }
            }
        }
        if !self.gathers || ring.unpublished() >= BATCH {
            self.vrings[2 * pair].publish();
        }
        Ok(Ok(()))
    }

    /// The pair of queues for this frame: one that runs, if the flow's does not.
    fn pair_for(&mut self, content: &[u8]) -> usize {
        if self.vrings.len() == 2 {
            return 0;
        }
        let pair = usize::from(self.steering.pair(content));
        match self.vrings.get_mut(2 * pair).and_then(|vring| vring.active(self.features)) {
            Some(_) => pair,
            None => 0,
        }
    }
}

fn of_ring(index: usize, fault: RingFault) -> VhostUserFault {
    VhostUserFault::Ring { index: u16::try_from(index).unwrap_or(u16::MAX), fault }
}

/// What is completed here for a guest that completes nothing; what is cut is cut before.
const CHECKSUMS_ONLY: Capabilities =
    Capabilities { checksum_offload: true, tso4: false, tso6: false, uso: false, mtu: u16::MAX };
/// Chains given back before the guest is shown them, and frames of one pair before the next.
const BATCH: u16 = 32;
/// Chains without a frame in a row.
const DISCARDS: usize = 256;
