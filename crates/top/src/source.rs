//! Where the view gets its data: the engine, as far as the view needs it.
//!
//! The seam between the view and the control API. Never keeps anything: each call is one question
//! to the engine. Tests implement it with canned data.

use portreeve_client::{Client, Connections, Error, EventFilter, FlowFilter};
use portreeve_types::api::ProblemType;
use portreeve_types::{PublishId, api};

/// An engine that can be asked.
///
/// Every call may block, for as long as the engine takes to answer; it is made from a thread of
/// its own and never from the one that draws.
pub trait Source: Send {
    /// Which engine it is, since when it runs, and whether it has a guest.
    fn health(&self) -> Result<api::Health, SourceError>;

    /// Everything that is counted.
    fn stats(&self) -> Result<api::Stats, SourceError>;

    /// Every published port.
    fn ports(&self) -> Result<Vec<api::PortStatus>, SourceError>;

    /// A page of at most `limit` flows; `after` is the `next` of the page before.
    fn flows(&self, after: Option<u64>, limit: usize) -> Result<api::FlowList, SourceError>;

    /// The name server; `None` where the engine has none.
    fn dns(&self) -> Result<Option<api::DnsStatus>, SourceError>;

    /// Events behind the one numbered `since` that are there by now, oldest first; 0 is before
    /// all of them. Does not wait for more.
    fn events(&self, since: u64) -> Result<Vec<api::EventRecord>, SourceError>;

    /// Ends a flow; both ends see a reset.
    fn kill(&self, flow: &str) -> Result<(), SourceError>;

    /// Takes a published port back.
    fn unpublish(&self, port: PublishId, connections: Connections) -> Result<(), SourceError>;
}

/// A question without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The engine does not answer: it has stopped, or it hangs.
    #[error("{0}")]
    Gone(String),
    /// The engine answered that it will not.
    #[error("{0}")]
    Refused(String),
}

impl Source for Client {
    fn health(&self) -> Result<api::Health, SourceError> {
        Ok(self.health()?)
    }

    fn stats(&self) -> Result<api::Stats, SourceError> {
        Ok(self.stats()?)
    }

    fn ports(&self) -> Result<Vec<api::PortStatus>, SourceError> {
        Ok(self.ports()?.ports)
    }

    fn flows(&self, after: Option<u64>, limit: usize) -> Result<api::FlowList, SourceError> {
        let limit = Some(limit as u64);
        Ok(self.flows(&FlowFilter { limit, after, ..FlowFilter::default() })?)
    }

    fn dns(&self) -> Result<Option<api::DnsStatus>, SourceError> {
        match self.dns() {
            Err(error) if error.problem() == Some(ProblemType::Unavailable) => Ok(None),
            answer => Ok(Some(answer?)),
        }
    }

    fn events(&self, since: u64) -> Result<Vec<api::EventRecord>, SourceError> {
        let filter = EventFilter { since: Some(since), follow: false, ..EventFilter::default() };
        Ok(self.events(filter)?.collect::<Result<_, _>>()?)
    }

    fn kill(&self, flow: &str) -> Result<(), SourceError> {
        Ok(self.kill_flow(flow)?)
    }

    fn unpublish(&self, port: PublishId, connections: Connections) -> Result<(), SourceError> {
        Ok(self.unpublish(port, connections)?)
    }
}

impl From<Error> for SourceError {
    fn from(error: Error) -> Self {
        match error.problem() {
            Some(ProblemType::EngineStopped) | None => Self::Gone(error.to_string()),
            Some(_) => Self::Refused(error.to_string()),
        }
    }
}
