//! What can be seen of a running engine, and the limits that can be changed while it runs.
//!
//! Owns how the counters of the core and of the loop become those of the API. Everything here is
//! of bounded cost: it runs between two turns.

use portreeve_core::{Command, Counters, DropReason, FlowId, FlowSummary, Histogram, Phase};
use portreeve_types::Limits;
use portreeve_types::api::{self, Bucket, DriverStats, DropCount, FlowGauges, Stats, Traffic};

use super::Driver;
use crate::capture::CaptureSink;
use crate::error::{KillError, LimitsChangeError};
use crate::event::Event;
use crate::handle::FlowPage;

/// The loop's own counters.
#[derive(Clone, Debug, Default)]
pub(super) struct LoopCounters {
    /// Turns of the loop.
    pub(super) turns: u64,
    /// How long the loop did not wait.
    pub(super) busy: std::time::Duration,
    /// Clients accepted.
    pub(super) accepted: u64,
    /// Failed accepts, whatever the reason; the listener goes on.
    pub(super) accept_errors: u64,
    /// Frames the link refused for another reason than being full.
    pub(super) link_errors: u64,
    /// Guests that went while the link lived on.
    pub(super) guests_gone: u64,
    /// Datagrams a host socket would not send.
    pub(super) datagram_errors: u64,
    /// Frames that captures missed because their readers were too slow.
    pub(super) capture_lost: u64,
}

impl Driver {
    /// Everything that is counted.
    pub(crate) fn stats(&mut self) -> Stats {
        let counters = self.core.counters();
        let drops = DropReason::ALL.iter().map(|&reason| DropCount {
            reason: reason.label().to_owned(),
            count: counters.drops(reason),
        });
        Stats {
            traffic: Traffic {
                frames_from_guest: counters.frames_from_guest,
                bytes_from_guest: counters.bytes_from_guest,
                frames_to_guest: counters.frames_to_guest,
                bytes_to_guest: counters.bytes_to_guest,
                datagrams_to_guest: counters.datagrams_to_guest,
                datagrams_from_guest: counters.datagrams_from_guest,
            },
            flows: self.flow_gauges(&counters),
            drops: drops.filter(|drop| drop.count != 0).collect(),
            dial_seconds: histogram(&counters.dial),
            guest_rtt_seconds: histogram(&counters.guest_rtt),
            dns: self.name_server_stats(),
            driver: self.driver_stats(),
        }
    }

    fn flow_gauges(&self, counters: &Counters) -> FlowGauges {
        let phases = Phase::ALL.iter().zip(self.core.tcp_by_phase());
        FlowGauges {
            active: self.core.flow_count() as u64,
            tcp_by_phase: phases
                .map(|(phase, count)| (phase.label().to_owned(), u64::from(count)))
                .collect(),
            udp_clients: self.core.udp_client_count() as u64,
            mappings: self.core.mapping_count() as u64,
            dials: self.core.dial_count() as u64,
            time_wait: self.core.time_wait_count() as u64,
            opened: counters.flows_opened,
            closed: counters.flows_closed,
            refused: counters.flows_refused,
            egress_refused: counters.egress_refused,
        }
    }

    fn driver_stats(&self) -> DriverStats {
        let counters = &self.counters;
        let lost: u64 = self.captures.iter().map(CaptureSink::lost).sum();
        let open_sockets =
            self.streams.open() + self.mappings.open() + self.names.open() + self.lingering.len();
        DriverStats {
            turns: counters.turns,
            busy_seconds: counters.busy.as_secs_f64(),
            accepted: counters.accepted,
            accept_errors: counters.accept_errors,
            link_errors: counters.link_errors,
            guests_gone: counters.guests_gone,
            link_discarded: self.link.discarded(),
            datagram_errors: counters.datagram_errors,
            open_sockets: open_sockets as u64,
            listeners: self.listeners.len() as u64,
            descriptor_limit: portreeve_host::fd_limit().0,
            control_queue: self.core.control_queue_len() as u64,
            datagram_queue_bytes: self.core.datagram_queue_bytes() as u64,
            events_lost: self.event_log.missed(),
            captures: self.captures.len() as u64,
            capture_lost: counters.capture_lost + lost,
        }
    }

    /// Flows in the slots behind `after`.
    pub(crate) fn flows_page(&self, after: Option<u32>, limit: usize) -> FlowPage {
        let (flows, next): (Vec<FlowSummary>, _) = self.core.flows_after(after, limit);
        FlowPage { flows, next, total: self.core.flow_count() }
    }

    pub(crate) fn flow(&self, id: FlowId) -> Option<FlowSummary> {
        self.core.flow(id)
    }

    pub(crate) fn kill(&mut self, id: FlowId) -> Result<(), KillError> {
        match self.core.handle_command(Command::Kill(id), self.clock.now()) {
            Ok(_) => Ok(()),
            Err(_) => Err(KillError::Unknown(id)),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.core.counters()
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// Changes all limits that differ, or none of them.
    pub(crate) fn set_limits(
        &mut self,
        limits: Limits,
    ) -> Result<Vec<&'static str>, LimitsChangeError> {
        limits.validate()?;
        let changed = self
            .core
            .set_limits(&limits, self.clock.now())
            .map_err(LimitsChangeError::NeedsRestart)?;
        if !changed.is_empty() {
            self.close_grace = std::time::Duration::from_millis(limits.close_grace_ms);
            self.event_log.set_capacity(limits.event_backlog);
            self.limits = limits;
            let settings = changed.iter().map(|name| format!("limits.{name}")).collect();
            self.publish_event(Event::Reconfigured { settings });
        }
        Ok(changed)
    }
}

fn histogram(histogram: &Histogram) -> api::Histogram {
    let buckets = histogram.cumulative();
    api::Histogram {
        buckets: buckets.map(|(bound, count)| Bucket { le: bound.as_secs_f64(), count }).collect(),
        count: histogram.count(),
        sum: histogram.sum().as_secs_f64(),
    }
}
