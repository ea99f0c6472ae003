//! The guest's side: frames in, frames out, and guests that come and go.
//!
//! Owns what is known of the link's readiness. Frames move as the link's contract says
//! ([`Link`](portreeve_link::Link)); a guest that is gone is told to the core, once the host has
//! been offered what that guest had sent.

use std::io;

use portreeve_core::{DropReason, Instant};
use portreeve_link::LinkEvent;
use portreeve_wire::{VIRTIO_NET_HDR_LEN, VirtioNetHdr};

use super::Driver;
use crate::event::Event;

/// Frames taken from the guest in one round.
const FRAMES_IN: usize = 64;
/// Frames handed to the guest in one round.
const FRAMES_OUT: usize = 256;

/// What is known of the link's readiness, and a frame it would not take yet.
#[derive(Debug)]
pub(super) struct LinkState {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Length of the frame in `frame_out` that waits for room.
    pending: usize,
    pub(super) gone: bool,
}

impl Default for LinkState {
    fn default() -> Self {
        // Whoever came before the link was watched caused no edge.
        Self { readable: true, writable: true, pending: 0, gone: false }
    }
}

impl LinkState {
    /// The kernel reports an edge. Whichever it is, both directions are worth one look: the
    /// descriptor may be an epoll descriptor, which is never reported as writable.
    pub(super) fn note(&mut self) {
        self.readable = !self.gone;
        self.writable = !self.gone;
    }
}

impl Driver {
    /// Takes frames from the guest until there is none or the round's share is used up.
    pub(super) fn take_frames(&mut self, now: Instant) {
        for _ in 0..FRAMES_IN {
            if !self.link_state.readable || self.link_state.gone {
                return;
            }
            match self.link.receive(&mut self.frame_in) {
                Ok(length) => {
                    let (header, frame) = self.frame_in[..length].split_at_mut(VIRTIO_NET_HDR_LEN);
                    // A header of a kind we did not offer: what it says does not matter then.
                    let header = VirtioNetHdr::parse(header).unwrap_or_default();
                    // The core changes the frame.
                    for capture in &mut self.captures {
                        capture.stage(frame, true);
                    }
                    self.core.handle_guest_frame(&header, frame, now);
                    if !self.captures.is_empty() {
                        let verdict = self.core.take_verdict().map(DropReason::label);
                        for capture in &mut self.captures {
                            capture.settle(verdict);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.follow_guest(now);
                }
                Err(error) => {
                    self.link_failed(&error, true);
                    if error.kind() != io::ErrorKind::Interrupted {
                        return;
                    }
                }
            }
        }
    }

    /// Hands frames to the guest until there is none, the link is full, or the round's share is
    /// used up. Returns how many it took.
    pub(super) fn hand_out_frames(&mut self) -> usize {
        let now = self.clock.now();
        let mut sent = 0;
        for _ in 0..FRAMES_OUT {
            if !self.link_state.writable || self.link_state.gone {
                break;
            }
            if self.link_state.pending == 0 {
                self.link_state.pending = self.core.poll_guest_frame(&mut self.frame_out, now);
                if self.link_state.pending == 0 {
                    break;
                }
            }
            match self.link.send(&self.frame_out[..self.link_state.pending]) {
                Ok(()) => {
                    for capture in &mut self.captures {
                        let length = self.link_state.pending;
                        capture.stage(&self.frame_out[VIRTIO_NET_HDR_LEN..length], false);
                        capture.settle(None);
                    }
                    self.link_state.pending = 0;
                    sent += 1;
                }
                Err(error) => self.not_sent(&error, now),
            }
        }
        if sent != 0 {
            self.link.flush();
        }
        sent
    }

    fn not_sent(&mut self, error: &io::Error, now: Instant) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.link_state.writable = false,
            io::ErrorKind::ConnectionReset => self.follow_guest(now),
            // Nobody is there to hear it; whoever comes is sent again what still matters.
            io::ErrorKind::NotConnected => self.link_state.pending = 0,
            _ => {
                // The frame cannot be sent now or ever; TCP sends it again if it matters.
                self.link_state.pending = 0;
                self.counters.link_errors += 1;
                self.link_failed(error, false);
            }
        }
    }

    /// Whether a guest is at the other end of the link.
    pub(crate) fn has_guest(&self) -> bool {
        !self.link_state.gone && self.link.has_guest()
    }

    /// Takes every event of the link. The link stays readable: behind them are frames.
    fn follow_guest(&mut self, now: Instant) {
        while let Some(event) = self.link.take_event() {
            match event {
                LinkEvent::GuestGone(cause) => {
                    self.guest_gone(now);
                    self.counters.guests_gone += 1;
                    tracing::info!(%cause, "the guest is gone");
                    let cause = cause.to_string();
                    self.publish_event(Event::GuestGone { cause, for_good: false });
                }
                LinkEvent::GuestArrived => {
                    self.link_state.writable = true;
                    tracing::info!("a guest has arrived");
                    self.publish_event(Event::GuestArrived);
                }
                _ => tracing::error!(?event, "an event of the link that this shell does not know"),
            }
        }
    }

    /// Ends everything that belongs to the guest.
    fn guest_gone(&mut self, now: Instant) {
        self.link_state.pending = 0;
        // Its last words first: what its frames said goes as far as the host's sockets take it.
        self.carry_out_ops(now);
        self.send_datagrams(now);
        self.core.handle_guest_gone(now);
        self.carry_out_ops(now);
        self.publish_events();
    }

    fn link_failed(&mut self, error: &io::Error, receiving: bool) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.link_state.readable &= !receiving,
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::BrokenPipe => {
                self.link_state.gone = true;
                self.link_state.readable = false;
                self.link_state.writable = false;
                tracing::info!(%error, "the link is gone");
                self.guest_gone(self.clock.now());
                self.publish_event(Event::GuestGone { cause: error.to_string(), for_good: true });
            }
            _ => {
                // The link lives; going on at once would spin.
                self.link_state.readable &= !receiving;
                tracing::debug!(%error, receiving, "the link refused a frame");
            }
        }
    }
}
