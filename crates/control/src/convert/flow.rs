//! A flow in the API's words.

use portreeve::{FlowSummary, Handle};
use portreeve_types::api::{FlowInfo, FlowOrigin, Timestamp};

/// A flow of this engine.
pub(crate) fn info(engine: &Handle, flow: &FlowSummary) -> FlowInfo {
    let origin = if flow.publish.is_some() { FlowOrigin::Host } else { FlowOrigin::Guest };
    let many = flow.remote.ip().is_unspecified();
    let remote = (!many).then_some(flow.remote);
    FlowInfo {
        id: flow.id.to_string(),
        protocol: flow.kind.label().to_owned(),
        origin,
        phase: flow.phase.map(|phase| phase.label().to_owned()),
        port: flow.publish,
        client: flow.client,
        guest: flow.guest,
        remote,
        target: flow.target.filter(|target| Some(*target) != remote),
        name: flow.name.as_deref().map(str::to_owned),
        opened: Timestamp(engine.wall_time(flow.opened)),
        bytes_to_guest: flow.bytes_to_guest,
        bytes_from_guest: flow.bytes_from_guest,
    }
}
