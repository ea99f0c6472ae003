//! Facts into the table, actions out of it: how a flow ends, and everything on the way there.
//!
//! Owns the only place that changes a TCP flow's phase. What is observed of the guest's socket
//! becomes an event only when it is complete (see `../state.rs`), and every action is carried out
//! at once.

use std::time::Duration;

use super::Tcp;
use super::relay::Wake;
use super::stack::EndpointStatus;
use super::time_wait::TimeWait;
use crate::drop_reason::DropReason;
use crate::engine::Engine;
use crate::engine::event::{CloseReason, EgressRefusal, Event, RefuseReason};
use crate::engine::host::HostOp;
use crate::flow::state::{Action, Phase, PhaseEvent, transition};
use crate::flow::{Body, Flow, FlowId};
use crate::limits::{
    GUEST_SILENT, NAMES_IDLE_SECS, RESET_LINGER, RING_IDLE, TIME_WAIT, TIME_WAIT_ENTRIES,
};

impl Engine {
    /// Turns what the guest's socket shows into events until it shows nothing new.
    pub(super) fn tcp_settle(&mut self, id: FlowId) {
        if let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) {
            tcp.finish_guest();
        }
        // Every event moves the flow at least one phase on, so this ends.
        for _ in 0..Phase::ALL.len() {
            let Some(tcp) = self.flows.get(id).and_then(Flow::tcp) else { return };
            let Some(endpoint) = &tcp.endpoint else { return };
            match observed(tcp, &endpoint.status()) {
                Some(PhaseEvent::GuestRefused) => return self.tcp_attempt_refused(id),
                Some(event) => self.tcp_event(id, event),
                None => break,
            }
        }
        self.tcp_reap(id);
    }

    /// One event: the table says what becomes of the flow.
    pub(crate) fn tcp_event(&mut self, id: FlowId, event: PhaseEvent) {
        let now = self.now;
        let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) else { return };
        let before = tcp.phase;
        let Some((after, actions)) = transition(before, event) else { return };
        tcp.phase_deadline = None;
        tcp.last_moved = now;
        self.flows.set_phase(id, after);
        for &action in actions {
            self.tcp_act(id, action);
        }
        match (before, after) {
            (Phase::DialingGuest | Phase::DialingHost, Phase::Relaying) => self.tcp_opened(id),
            (Phase::DialingGuest, Phase::Closed) => self.note_refused(id, refusal(event)),
            (Phase::DialingHost, Phase::Closed) => self.tcp_note_dial_refused(id),
            (_, Phase::Closed) => self.tcp_closed(id, event),
            _ => {}
        }
        self.mark_relay(id);
        self.mark_egress(id);
        if after == Phase::Closed {
            self.tcp_reap(id);
        } else {
            self.tcp_rearm(id, Wake::Phase);
        }
    }

    fn tcp_act(&mut self, id: FlowId, action: Action) {
        let endpoint =
            self.flows.get_mut(id).and_then(Flow::tcp_mut).and_then(|tcp| tcp.endpoint.as_mut());
        match action {
            Action::FinishGuest => {
                if let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) {
                    tcp.last_heard = self.now;
                    tcp.finish_waits = true;
                    tcp.finish_guest();
                }
            }
            Action::ResetGuest => {
                if let Some(endpoint) = endpoint {
                    endpoint.abort();
                }
            }
            Action::AnswerGuest => self.tcp_answer_guest(id),
            Action::RefuseGuest => self.tcp_refuse_guest(id),
            Action::FinishHost => self.tcp_host_op(id, HostOp::Shutdown(id)),
            Action::CloseHost => self.tcp_host_op(id, HostOp::Close(id)),
            Action::ResetHost => self.tcp_host_op(id, HostOp::Reset(id)),
        }
    }

    /// An order about the host's side of a flow: to the shell, unless the host's side is the name
    /// server in here.
    fn tcp_host_op(&mut self, id: FlowId, op: HostOp) {
        let tcp = self.flows.get(id).and_then(Flow::tcp);
        if tcp.is_none_or(|tcp| tcp.names.is_none()) {
            self.ops.push_back(op);
        } else if op == HostOp::Shutdown(id) {
            self.names_finished(id);
        } else {
            self.names_closed(id);
        }
    }

    fn tcp_opened(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        if let Some(tcp) = flow.tcp_mut() {
            let preamble = std::mem::take(&mut tcp.preamble);
            if let Some(endpoint) = tcp.endpoint.as_mut() {
                // The ring is empty and larger than any preamble (`Limits` sees to it).
                endpoint.send(|space| {
                    let length = preamble.len().min(space.len());
                    space[..length].copy_from_slice(&preamble[..length]);
                    length
                });
            }
        }
        self.counters.flows_opened += 1;
        if let Some(publish) = flow.publish {
            self.published.opened(publish);
        }
        if let Some(info) = self.flow_info(id) {
            self.events.push(Event::FlowOpened(info));
        }
    }

    fn tcp_closed(&mut self, id: FlowId, event: PhaseEvent) {
        self.counters.flows_closed += 1;
        if let Some(info) = self.flow_info(id) {
            self.events.push(Event::FlowClosed { flow: info, reason: closed_by(event) });
        }
    }

    /// The host's connection was reset. While the guest is being dialled nobody is left to answer.
    pub(crate) fn tcp_host_reset(&mut self, id: FlowId) {
        self.tcp_event(id, PhaseEvent::HostReset);
        self.tcp_settle(id);
    }

    /// The guest answered our SYN with an ICMP error.
    pub(crate) fn tcp_refused_by_icmp(&mut self, id: FlowId) {
        self.tcp_attempt_refused(id);
    }

    /// The flow's deadline has come.
    pub(crate) fn tcp_deadline(&mut self, id: FlowId) {
        let now = self.now;
        let limits = &self.config.limits;
        let grace = Duration::from_millis(limits.close_grace_ms);
        let (idle, half) = (limits.tcp_idle_secs, limits.half_close_idle_secs);
        let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) else { return };
        let (idle, half) = tcp.idle_limits(idle, half);
        let moved = |after: Duration| now >= tcp.last_moved + after;
        let silent = |tcp: &Tcp| now >= tcp.last_heard + GUEST_SILENT;
        let waiting = tcp.endpoint.as_ref().is_some_and(|e| e.status().is_waiting());
        let over = tcp.phase_deadline.is_some_and(|at| now >= at)
            || match tcp.phase {
                Phase::GuestGone => moved(RESET_LINGER),
                Phase::HostGone => moved(grace),
                Phase::BothFinished => silent(tcp),
                Phase::HostFinished | Phase::GuestFinished => {
                    (half != 0 && moved(Duration::from_secs(half))) || (waiting && silent(tcp))
                }
                Phase::Relaying => {
                    (idle != 0 && moved(Duration::from_secs(idle))) || (waiting && silent(tcp))
                }
                Phase::DialingGuest | Phase::DialingHost | Phase::Closed => false,
            };
        if over && tcp.phase == Phase::DialingHost {
            return self.tcp_dial_timed_out(id);
        } else if over {
            self.tcp_event(id, PhaseEvent::Deadline);
        } else if self.tcp_attempt_silence(id).is_some_and(|at| now >= at) {
            self.tcp_attempt_silent(id);
        } else if let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut)
            && now >= tcp.last_moved + RING_IDLE
            && let Some(endpoint) = tcp.endpoint.as_mut()
        {
            self.stack.release_idle(endpoint);
        }
        self.tcp_revive(id);
        // smoltcp's own timers run when it is asked for a frame, which is when the link has room;
        // the flow's own deadlines must not wait for that.
        self.mark_egress(id);
        self.tcp_rearm(id, Wake::Phase);
    }

    /// smoltcp failed within this flow: it ends here, and no other does.
    pub(super) fn tcp_fault(&mut self, id: FlowId) {
        self.drop(DropReason::StackFault);
        let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) else { return };
        if let Some(endpoint) = tcp.endpoint.take() {
            self.stack.discard(endpoint);
        }
        let host_open = !matches!(tcp.phase, Phase::BothFinished | Phase::HostGone | Phase::Closed);
        self.flows.set_phase(id, Phase::Closed);
        if host_open {
            self.tcp_host_op(id, HostOp::Reset(id));
        }
        self.counters.flows_closed += 1;
        if let Some(info) = self.flow_info(id) {
            self.events.push(Event::FlowClosed { flow: info, reason: CloseReason::StackFault });
        }
        self.tcp_remove(id);
    }

    /// Forgets a flow that is over and has nothing left to tell the guest.
    pub(crate) fn tcp_reap(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get(id) else { return };
        let Some(tcp) = flow.tcp().filter(|tcp| tcp.phase == Phase::Closed) else { return };
        // A guest that was never spoken to, for its address is unknown or the link was full all
        // the time, is owed nothing, unless it has asked.
        let spoken = tcp.last_sent != (0, 0) || flow.publish.is_none();
        let pending = tcp.endpoint.as_ref().filter(|_| spoken).is_some_and(|endpoint| {
            // The guest's FIN is acknowledged by the socket: what remains as TIME-WAIT repeats
            // that acknowledgement and could not make it up.
            endpoint.has_reset_to_send()
                || (tcp.time_wait_since.is_some() && self.stack.has_work(endpoint, self.now))
        });
        if !pending {
            self.tcp_remove(id);
        }
    }

    /// The guest is no longer there: the flow leaves nothing behind, not even TIME-WAIT, which
    /// guards against segments that nobody has under way any more.
    pub(crate) fn tcp_guest_vanished(&mut self, id: FlowId) {
        if let Some(tcp) = self.flows.get_mut(id).and_then(Flow::tcp_mut) {
            tcp.time_wait_since = None;
            tcp.held_refused(EgressRefusal::GuestGone);
        }
        self.tcp_event(id, PhaseEvent::GuestVanished);
        self.tcp_remove(id);
    }

    fn tcp_remove(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get(id) else { return };
        let (publish, bytes) = (flow.publish, (flow.bytes_to_guest, flow.bytes_from_guest));
        let ended = flow.tcp().and_then(|tcp| {
            tcp.time_wait_since?;
            let (sequence, acknowledgement) = tcp.last_sent;
            Some(TimeWait { sequence, acknowledgement })
        });
        let keep = ended.filter(|_| self.flows.time_wait() < TIME_WAIT_ENTRIES);
        let body = match keep {
            Some(ended) => self.flows.retire(id, Body::TimeWait(ended)),
            None => self.flows.remove(id).map(|flow| flow.body),
        };
        if let Some(Body::Tcp(mut tcp)) = body
            && let Some(endpoint) = tcp.endpoint.take()
        {
            self.stack.recycle(endpoint, self.now);
        }
        if keep.is_some() {
            self.arm(id, self.now + TIME_WAIT);
        }
        if let Some(publish) = publish {
            self.published.flow_removed(publish, bytes);
        }
    }
}

impl Tcp {
    /// Seconds that the flow may be idle while it is open and half open; 0 for ever.
    pub(super) fn idle_limits(&self, open: u64, half: u64) -> (u64, u64) {
        // RFC 7766 §6.2.3: a name server keeps idle streams for some seconds.
        if self.names.is_some() { (NAMES_IDLE_SECS, NAMES_IDLE_SECS) } else { (open, half) }
    }

    /// Ends the stream to the guest, once it may be ended.
    ///
    /// When the guest has ended its own before, smoltcp goes to LAST-ACK, where 0.14 hears of no
    /// window but one that comes with an acknowledgement. So what the guest may have no room for
    /// is delivered first; with room enough, and nearly always there is, the FIN goes along.
    fn finish_guest(&mut self) {
        let Some(endpoint) = self.endpoint.as_mut().filter(|_| self.finish_waits) else { return };
        let status = endpoint.status();
        // smoltcp forgets a SYN-ACK that has yet to leave or to be repeated once it is to end.
        if status.handshaking {
            return;
        }
        let waiting = status.to_guest;
        if waiting == 0 || !self.fin_seen || waiting <= self.heard.window_len() / 2 {
            self.finish_waits = false;
            endpoint.finish();
        }
    }
}

/// What the guest's socket shows that the table has not been told yet.
fn observed(tcp: &Tcp, status: &EndpointStatus) -> Option<PhaseEvent> {
    let drained = status.from_guest == 0;
    // In TIME-WAIT both streams are complete; a reset takes nothing back (RFC 1337).
    let reset = tcp.reset_seen && tcp.time_wait_since.is_none();
    let broken = status.closed && (reset || !tcp.fin_seen);
    match tcp.phase {
        Phase::DialingGuest if status.established => Some(PhaseEvent::GuestAnswered),
        Phase::DialingGuest if status.closed => Some(PhaseEvent::GuestRefused),
        Phase::Relaying | Phase::HostFinished | Phase::GuestFinished if broken => {
            Some(PhaseEvent::GuestReset)
        }
        Phase::Relaying | Phase::HostFinished if tcp.fin_seen && drained => {
            Some(PhaseEvent::GuestFin)
        }
        Phase::BothFinished if status.closed && reset => Some(PhaseEvent::GuestReset),
        Phase::BothFinished if status.closed || status.time_wait => Some(PhaseEvent::GuestClosed),
        Phase::GuestGone if drained => Some(PhaseEvent::FromGuestDelivered),
        Phase::HostGone if status.closed => Some(PhaseEvent::GuestReset),
        Phase::HostGone if status.to_guest == 0 => Some(PhaseEvent::ToGuestDelivered),
        Phase::DialingGuest
        | Phase::DialingHost
        | Phase::Relaying
        | Phase::HostFinished
        | Phase::GuestFinished
        | Phase::BothFinished
        | Phase::GuestGone
        | Phase::HostGone
        | Phase::Closed => None,
    }
}

fn refusal(event: PhaseEvent) -> RefuseReason {
    match event {
        PhaseEvent::Deadline => RefuseReason::GuestSilent,
        PhaseEvent::HostReset => RefuseReason::ClientGone,
        PhaseEvent::Kill => RefuseReason::Killed,
        PhaseEvent::GuestVanished => RefuseReason::GuestGone,
        PhaseEvent::GuestAnswered
        | PhaseEvent::GuestRefused
        | PhaseEvent::HostConnected
        | PhaseEvent::HostRefused
        | PhaseEvent::HostEof
        | PhaseEvent::GuestFin
        | PhaseEvent::GuestReset
        | PhaseEvent::ToGuestDelivered
        | PhaseEvent::FromGuestDelivered
        | PhaseEvent::GuestClosed => RefuseReason::GuestRefused,
    }
}

fn closed_by(event: PhaseEvent) -> CloseReason {
    match event {
        PhaseEvent::GuestClosed => CloseReason::Finished,
        PhaseEvent::GuestReset | PhaseEvent::FromGuestDelivered => CloseReason::GuestReset,
        PhaseEvent::HostReset | PhaseEvent::ToGuestDelivered => CloseReason::HostReset,
        PhaseEvent::Kill => CloseReason::Killed,
        PhaseEvent::GuestVanished => CloseReason::GuestGone,
        PhaseEvent::GuestAnswered
        | PhaseEvent::GuestRefused
        | PhaseEvent::HostConnected
        | PhaseEvent::HostRefused
        | PhaseEvent::HostEof
        | PhaseEvent::GuestFin
        | PhaseEvent::Deadline => CloseReason::TimedOut,
    }
}
