//! Flows: what there is, page by page, and the end of one.

use axum::extract::State;
use hyper::StatusCode;
use portreeve::{FlowId, Phase, PublishId};
use portreeve_types::api::{FlowInfo, FlowList, FlowOrigin, ProblemType};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, ok};
use crate::convert::flow;
use crate::endpoint::{Endpoint, delete, get};
use crate::extract::{Nothing, Params, Segment};
use crate::fault::Fault;
use crate::state::Api;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let id = "The flow's name, as in `12.3`.";
    vec![
        get("/v1/flows", list)
            .named("list_flows", "Flows alive now")
            .about(
                "In pages: give `next` of one as `after` of the following, until it is missing. A \
                 filter that matches little may leave a page empty although there are more. Flows \
                 that open or end meanwhile may be missing or not; one that lives all the while is \
                 there once.",
            )
            .query::<ListParams>()
            .answers::<FlowList>(200, "A page of them.")
            .may(&[ProblemType::OutOfRange]),
        get("/v1/flows/{id}", show)
            .named("get_flow", "One flow")
            .at::<String>("id", id)
            .answers::<FlowInfo>(200, "The flow.")
            .may(&[ProblemType::UnknownFlow]),
        delete("/v1/flows/{id}", kill)
            .named("kill_flow", "End a flow now")
            .about("Both its sides see a reset.")
            .at::<String>("id", id)
            .may(&[ProblemType::UnknownFlow]),
    ]
}

/// Which flows.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// `tcp`, `udp` or `echo` only.
    protocol: Option<Protocol>,
    /// Only those opened by clients of published ports, or by the guest.
    origin: Option<Origin>,
    /// Only TCP flows in this phase, as in `relaying`.
    phase: Option<String>,
    /// Only those of this published port.
    port: Option<u32>,
    /// Only those with this text in an address or in the name, whatever its case.
    #[schemars(length(max = 253))]
    contains: Option<String>,
    /// Flows looked at for one page; 500 if missing.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u64>,
    /// Where the page begins: `next` of the one before.
    #[schemars(range(min = 0, max = 4_294_967_295_u64))]
    after: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Protocol {
    Tcp,
    Udp,
    Echo,
}

/// As [`FlowOrigin`], inline in the document.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Origin {
    Host,
    Guest,
}

async fn list(State(api): State<Api>, Params(params): Params<ListParams>) -> Answer<FlowList> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Fault::out_of_range(format!("limit={limit}: must be 1 to {MAX_LIMIT}")));
    }
    let after = params.after.map(u32::try_from).transpose();
    let after = after.map_err(|_| Fault::out_of_range("after: no page begins there"))?;
    if params.contains.as_ref().is_some_and(|text| text.len() > MAX_CONTAINS) {
        return Err(Fault::out_of_range(format!("contains: at most {MAX_CONTAINS} bytes")));
    }
    if let Some(phase) = &params.phase {
        let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.label()).collect();
        if !phases.contains(&phase.as_str()) {
            let (shown, phases) = (phase.chars().take(80).collect::<String>(), phases.join(", "));
            return Err(Fault::invalid(format!("phase={shown:?}: must be one of {phases}")));
        }
    }
    // Converted and sifted where the engine was asked: away from the server's thread.
    let page = api.tell(move |engine| {
        let page = engine.flows_page(after, usize::try_from(limit).unwrap_or(usize::MAX))?;
        let flows = page.flows.iter().map(|summary| flow::info(engine, summary));
        Some(FlowList {
            flows: flows.filter(|flow| params.matches(flow)).collect(),
            next: page.next.map(u64::from),
            total: page.total as u64,
        })
    });
    ok(page.await?)
}

async fn show(
    State(api): State<Api>,
    Segment(FlowName(id)): Segment<FlowName>,
    _: Nothing,
) -> Answer<FlowInfo> {
    let found = api.ask(move |engine| Some(flow::info(engine, &engine.flow(id)?))).await?;
    ok(found.ok_or_else(|| Fault::new(ProblemType::UnknownFlow, format!("no flow {id}")))?)
}

async fn kill(
    State(api): State<Api>,
    Segment(FlowName(id)): Segment<FlowName>,
    _: Nothing,
) -> Result<StatusCode, Fault> {
    api.ask(move |engine| engine.kill(id)).await??;
    Ok(StatusCode::NO_CONTENT)
}

impl ListParams {
    fn matches(&self, flow: &FlowInfo) -> bool {
        let protocol = self.protocol.map(|protocol| match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Echo => "echo",
        });
        let origin = self.origin.map(|origin| match origin {
            Origin::Host => FlowOrigin::Host,
            Origin::Guest => FlowOrigin::Guest,
        });
        protocol.is_none_or(|protocol| flow.protocol == protocol)
            && origin.is_none_or(|origin| flow.origin == origin)
            && (self.phase.is_none() || flow.phase == self.phase)
            && self.port.is_none_or(|port| flow.port == Some(PublishId(port)))
            && self.contains.as_ref().is_none_or(|text| contains(flow, &text.to_lowercase()))
    }
}

fn contains(flow: &FlowInfo, text: &str) -> bool {
    let addresses = [flow.client, Some(flow.guest), flow.remote, flow.target];
    let mut addresses = addresses.into_iter().flatten().map(|address| address.to_string());
    addresses.any(|address| address.contains(text))
        || flow.name.as_ref().is_some_and(|name| name.to_lowercase().contains(text))
}

/// A flow's name in a path.
#[derive(Clone, Copy)]
struct FlowName(FlowId);

impl std::str::FromStr for FlowName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "a flow's name is two numbers, as in 12.3")
    }
}

const DEFAULT_LIMIT: u64 = 500;
const MAX_LIMIT: u64 = 1000;
/// The longest name that DNS has.
const MAX_CONTAINS: usize = 253;
