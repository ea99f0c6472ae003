//! The guest's own connections: the client runs in the guest's namespace, the server is the one in
//! the client's, and the engine between them is the one that was started for published ports.

use std::{process::Command, time::Duration};

use super::{
    engine::Running,
    metric::{Load, Metric},
    session::{Found, RATE_WARMUP, Session, connected},
    topology::Topology,
};
use crate::client::Outcome;

impl Session<'_> {
    pub(super) fn outbound(&self, load: Load, running: &Running) -> Result<Vec<Found>, String> {
        let rate = |words: &[&str]| self.rate(running, words);
        Ok(match load {
            Load::OutStreamFromGuest => {
                let metrics = [Metric::OutStreamFromGuest, Metric::OutCpuFromGuest];
                self.outbound_stream("send", running, metrics, Metric::OutStallFromGuest)?
            }
            Load::OutStreamToGuest => {
                let metrics = [Metric::OutStreamToGuest, Metric::OutCpuToGuest];
                self.outbound_stream("receive", running, metrics, Metric::OutStallToGuest)?
            }
            Load::OutConnectOne => {
                vec![(Metric::OutConnectOne, connected(&rate(&["connect"])?)?, None)]
            }
            Load::OutConnectMany => {
                let outcome = rate(&["connect", "--in-flight", "64"])?;
                vec![(Metric::OutConnectMany, connected(&outcome)?, None)]
            }
            Load::OutFloodFromGuest => counted(Metric::OutFloodFromGuest, &rate(&["flood"])?),
            Load::OutFloodToGuest => counted(Metric::OutFloodToGuest, &rate(&["flood-back"])?),
            Load::OutEcho => counted(Metric::OutEcho, &rate(&["echo"])?),
            Load::NamesCached => counted(Metric::NamesCached, &rate(&["names-cached"])?),
            Load::NamesFresh => self.names(running)?,
            other => return Err(format!("{other:?} is not a load of the guest's connections")),
        })
    }

    fn outbound_stream(
        &self,
        direction: &str,
        running: &Running,
        metrics: [Metric; 2],
        stall: Metric,
    ) -> Result<Vec<Found>, String> {
        let (mut found, outcome) =
            self.stream(self.guest(running)?, direction, running, metrics)?;
        found.push((stall, outcome.stall_nanos as f64 / 1e6, None));
        Ok(found)
    }

    /// Names that have to be asked for: through the gateway, and by the host of the server that
    /// the gateway asks.
    fn names(&self, running: &Running) -> Result<Vec<Found>, String> {
        let through = self.rate(running, &["names-fresh"])?;
        let server = Topology::name_server().to_string();
        let mut host = Command::new(&self.topology.ground().program);
        host.args(["client", "--target", &server]);
        let words = ["names-fresh", "--server", &server];
        let direct = self.client(host, &words, RATE_WARMUP, self.schedule.rate, None)?;
        Ok(vec![
            (Metric::NamesMedian, microseconds(through.p50_nanos), Some(through.lost())),
            (Metric::NamesTail, microseconds(through.p99_nanos), Some(through.lost())),
            (Metric::NamesDirectMedian, microseconds(direct.p50_nanos), Some(direct.lost())),
            (Metric::NamesDirectTail, microseconds(direct.p99_nanos), Some(direct.lost())),
        ])
    }

    fn rate(&self, running: &Running, words: &[&str]) -> Result<Outcome, String> {
        let window: Duration = self.schedule.rate;
        self.client(self.guest(running)?, words, RATE_WARMUP, window, None)
    }

    fn guest(&self, running: &Running) -> Result<Command, String> {
        let netns = running.guest_netns().ok_or("the guest has no server to find it by")?;
        Ok(self.topology.guest(&netns))
    }
}

fn counted(metric: Metric, outcome: &Outcome) -> Vec<Found> {
    vec![(metric, outcome.rate(), Some(outcome.lost()))]
}

fn microseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
