//! What can be asked for beyond a path: filters of flows and events, how to capture, how to close.
//!
//! Owns their spelling as parameters. Whether a value is one that the engine knows is the engine's
//! to say.

use portreeve_types::PublishId;
use portreeve_types::api::FlowOrigin;

use crate::target::Target;

/// Which flows to list. Empty: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// `tcp`, `udp` or `echo`.
    pub protocol: Option<String>,
    /// Who opened them.
    pub origin: Option<FlowOrigin>,
    /// The phase of a TCP flow, as in [`portreeve_types::api::FlowInfo::phase`].
    pub phase: Option<String>,
    /// The published port they came through.
    pub port: Option<PublishId>,
    /// A part of any of their addresses or of their name.
    pub contains: Option<String>,
    /// How many places of the engine's table one page covers, at most 1000; missing: the
    /// engine's choice.
    pub limit: Option<u64>,
    /// Where the page begins: the `next` of the one before.
    pub after: Option<u64>,
}

/// Which events to read. The default follows everything from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    /// Those behind this sequence number, first from what the engine has kept; missing: from now
    /// on.
    pub since: Option<u64>,
    /// Kinds, as in [`portreeve_types::api::EventBody::KINDS`]; none: all.
    pub kinds: Vec<String>,
    /// Whether to wait for more once what is kept has been read.
    pub follow: bool,
}

/// What to capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The most bytes of a frame; missing: whole frames.
    pub snap_length: Option<u32>,
    /// Which frames, as in `tcp and port 80`; missing: all.
    pub filter: Option<String>,
    /// Whether frames that were dropped carry the reason as a comment.
    pub verdicts: bool,
}

/// What becomes of the connections of a port that is unpublished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// They go on to their ends.
    #[default]
    Drain,
    /// They are reset.
    Reset,
}

impl Default for EventFilter {
    fn default() -> Self {
        Self { since: None, kinds: Vec::new(), follow: true }
    }
}

impl Connections {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Reset => "reset",
        }
    }
}

impl FlowFilter {
    pub(crate) fn target(&self) -> Target {
        let origin = self.origin.map(|origin| match origin {
            FlowOrigin::Host => "host",
            FlowOrigin::Guest => "guest",
        });
        Target::new("/flows")
            .maybe("protocol", self.protocol.as_deref())
            .maybe("origin", origin)
            .maybe("phase", self.phase.as_deref())
            .maybe("port", self.port)
            .maybe("contains", self.contains.as_deref())
            .maybe("limit", self.limit)
            .maybe("after", self.after)
    }
}

impl EventFilter {
    pub(crate) fn target(&self) -> Target {
        let kinds = (!self.kinds.is_empty()).then(|| self.kinds.join(","));
        Target::new("/events")
            .maybe("since", self.since)
            .maybe("kinds", kinds)
            .query("follow", self.follow)
    }
}

impl CaptureOptions {
    pub(crate) fn target(&self) -> Target {
        Target::new("/capture")
            .maybe("snap_length", self.snap_length)
            .maybe("filter", self.filter.as_deref())
            .query("verdicts", self.verdicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let filter = FlowFilter {
            protocol: Some("tcp".into()),
            origin: Some(FlowOrigin::Guest),
            port: Some(PublishId(7)),
            contains: Some("::1".into()),
            ..FlowFilter::default()
        };
        assert_eq!(
            filter.target().into_string(),
            "/v1/flows?protocol=tcp&origin=guest&port=7&contains=%3A%3A1"
        );
        assert_eq!(EventFilter::default().target().into_string(), "/v1/events?follow=true");
        let kinds = vec!["dropped".into(), "lease".into()];
        let filter = EventFilter { since: Some(9), kinds, follow: false };
        assert_eq!(
            filter.target().into_string(),
            "/v1/events?since=9&kinds=dropped%2Clease&follow=false"
        );
        let capture =
            CaptureOptions { filter: Some("tcp and port 80".into()), ..Default::default() };
        assert_eq!(
            capture.target().into_string(),
            "/v1/capture?filter=tcp%20and%20port%2080&verdicts=false"
        );
    }
}
