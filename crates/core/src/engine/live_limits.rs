//! Other limits for an engine that runs.
//!
//! Owns what has to be done at once when a limit changes; everything else reads its limit when it
//! comes to it. What is beyond a lower limit gives way where its kind has an order of giving way:
//! the longest idle mappings, the oldest dials, unfinished datagrams and cached answers. Flows and
//! published ports stay, and no new ones come until there is room. Times that are running end as
//! the new limits say, but a connection that is being opened keeps the time it was given.

use portreeve_types::{Instant, Limits};

use crate::engine::Engine;
use crate::flow::{Body, FlowId};

/// The names of the fields in which two sets of limits differ, in the order of the fields.
macro_rules! differing {
    ($old:expr, $new:expr; $($field:ident)+) => {{
        // All fields are listed: with one that is not this does not compile.
        let Limits { $($field: _),+ } = $new;
        let mut names = Vec::new();
        $(if $old.$field != $new.$field { names.push(stringify!($field)); })+
        names
    }};
}

impl Engine {
    /// The limits that hold now.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Other limits hold from now on; the names of those that have changed, in the order of the
    /// fields of [`Limits`].
    ///
    /// The caller has checked them ([`Limits::validate`]). Those that only the caller keeps, as
    /// `accept_batch`, are changed here in name only.
    ///
    /// # Errors
    /// The names of those that differ and only hold from an engine's start: the sizes of rings,
    /// which are cut from one piece of memory, and of the mailbox. Nothing has changed then.
    pub fn set_limits(
        &mut self,
        limits: &Limits,
        now: Instant,
    ) -> Result<Vec<&'static str>, Vec<&'static str>> {
        self.advance(now);
        let changed = changed(&self.config.limits, limits);
        let fixed: Vec<_> = changed.iter().copied().filter(|name| FIXED.contains(name)).collect();
        if !fixed.is_empty() {
            return Err(fixed);
        }
        if !changed.is_empty() {
            self.config.limits = limits.clone();
            self.limits_changed();
        }
        Ok(changed)
    }

    fn limits_changed(&mut self) {
        let limits = &self.config.limits;
        self.outbox.set_limits(limits.control_frames, limits.datagram_queue_bytes);
        self.fragments.set_limits(limits);
        self.names.set_limits(limits);
        self.events.set_capacity(limits.event_backlog);
        self.fragments_turned_away();
        self.mappings_trim();
        self.dials_trim();
        let flows: Vec<_> = self.flows.iter().map(|flow| flow.id).collect();
        for id in flows {
            self.rearm(id);
        }
        self.timers_tidy();
    }

    /// The flow's deadline is what the limits say now.
    fn rearm(&mut self, id: FlowId) {
        match self.flows.get(id).map(|flow| &flow.body) {
            Some(Body::Tcp(_)) => self.tcp_limits_changed(id),
            Some(Body::Udp(_)) => self.udp_limits_changed(id),
            Some(Body::Mapping(_)) => self.mapping_limits_changed(id),
            Some(Body::TimeWait(_)) | None => {}
        }
    }
}

fn changed(old: &Limits, new: &Limits) -> Vec<&'static str> {
    differing!(old, new;
        max_flows max_flows_per_port max_published udp_idle_secs udp_idle_one_shot_secs
        udp_idle_dns_secs echo_idle_secs max_mappings connect_timeout_ms dial_timeout_ms max_dials
        max_dials_per_destination dns_pending dns_timeout_ms dns_cache_bytes dns_names
        close_grace_ms half_close_idle_secs tcp_idle_secs to_guest_ring from_guest_ring
        datagram_queue_bytes event_backlog fragment_queues fragment_bytes fragment_timeout_secs
        control_frames mailbox accept_batch)
}

/// Limits that size something once and for all.
const FIXED: [&str; 3] = ["to_guest_ring", "from_guest_ring", "mailbox"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Config, IncomingDatagram, Reply};
    use portreeve_types::Transport;

    #[test]
    fn the_names_are_those_of_the_fields_in_their_order() {
        let old = Limits::default();
        let new = Limits {
            max_flows: 1,
            dns_names: 1,
            mailbox: 1,
            accept_batch: 1,
            from_guest_ring: 4_096,
            ..Limits::default()
        };
        assert_eq!(changed(&old, &old), [""; 0]);
        let names = ["max_flows", "dns_names", "from_guest_ring", "mailbox", "accept_batch"];
        assert_eq!(changed(&old, &new), names);
        let fields = format!("{old:?}");
        assert!(FIXED.iter().all(|name| fields.contains(&format!(" {name}: "))));
    }

    #[test]
    fn what_only_holds_from_the_start_changes_nothing() {
        let mut engine = Engine::new(Config::default());
        let wanted = Limits { max_flows: 5, to_guest_ring: 4_096, mailbox: 9, ..Limits::default() };
        let fixed = vec!["to_guest_ring", "mailbox"];
        assert_eq!(engine.set_limits(&wanted, Instant::ZERO), Err(fixed));
        assert_eq!(*engine.limits(), Limits::default());
        let wanted = Limits { max_flows: 5, ..Limits::default() };
        assert_eq!(engine.set_limits(&wanted, Instant::ZERO), Ok(vec!["max_flows"]));
        assert_eq!(engine.set_limits(&wanted, Instant::ZERO), Ok(vec![]));
        assert_eq!(*engine.limits(), wanted);
    }

    #[test]
    fn limits_that_change_all_the_time_leave_no_timers_behind() {
        let mut engine = Engine::new(Config::default());
        let publish = Command::Publish {
            transport: Transport::Udp,
            guest_port: 53,
            source: None,
            host: None,
        };
        let Ok(Reply::Published(publish, _)) = engine.handle_command(publish, Instant::ZERO) else {
            panic!("a port")
        };
        let (client, local) = (([192, 0, 2, 1], 9).into(), ([192, 0, 2, 9], 53).into());
        let hello = IncomingDatagram { publish, client, local, payload: b"hello" };
        engine.handle_datagram(&hello, Instant::ZERO);
        for round in 0..1_000 {
            let secs = if round % 2 == 0 { 20 } else { 1_000 - round };
            let limits = Limits { udp_idle_one_shot_secs: secs, ..Limits::default() };
            assert!(engine.set_limits(&limits, Instant::ZERO).is_ok());
            assert!(engine.timers.len() <= 1, "{}", engine.timers.len());
        }
        assert_eq!(engine.flow_count(), 1);
    }
}
