//! Published ports: what there is, more of them, fewer of them.

use axum::extract::State;
use hyper::StatusCode;
use portreeve::{Listen, PublishId, PublishItem, PublishSpec, Unpublish};
use portreeve_types::PublishLongForm;
use portreeve_types::api::{
    PortList, PortStatus, ProblemType, PublishBody, PublishedPorts, SpecBody,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Answer, Json, ok};
use crate::endpoint::{Endpoint, delete, get, post};
use crate::extract::{JsonBody, Nothing, Params, Segment};
use crate::fault::Fault;
use crate::state::Api;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let id = "The port's number, as in the list.";
    vec![
        get("/v1/ports", list)
            .named("list_ports", "Published ports, with what they have done")
            .answers::<PortList>(200, "In the order in which they were published."),
        post("/v1/ports", publish)
            .named("publish_port", "Publish a port")
            .about(
                "A specification as on the command line, or Compose's long form. Everything it \
                 says is bound when the answer comes; if part of it cannot be, none is. Port 0 \
                 lets the kernel choose, and the answer says what it chose. `auto` and `fd:` are \
                 for the command line only.",
            )
            .takes::<PublishBody>()
            .answers::<PublishedPorts>(201, "What was published.")
            .may(&[
                ProblemType::InvalidSpecification,
                ProblemType::BindFailed,
                ProblemType::LimitReached,
            ]),
        get("/v1/ports/{id}", show)
            .named("get_port", "One published port")
            .at::<u32>("id", id)
            .answers::<PortStatus>(200, "The port.")
            .may(&[ProblemType::UnknownPort]),
        delete("/v1/ports/{id}", unpublish)
            .named("unpublish_port", "Close a port's listener")
            .about("It takes no client from then on, and its address is free.")
            .at::<u32>("id", id)
            .query::<UnpublishParams>()
            .may(&[ProblemType::UnknownPort]),
    ]
}

/// How to unpublish.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UnpublishParams {
    /// What becomes of its connections.
    #[serde(default)]
    connections: Connections,
}

/// What becomes of a port's connections.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Connections {
    /// They go on to their own end.
    #[default]
    Drain,
    /// They are reset now.
    Reset,
}

async fn list(State(api): State<Api>, _: Nothing) -> Answer<PortList> {
    ok(PortList { ports: api.tell(|engine| engine.port_status()).await? })
}

async fn show(State(api): State<Api>, Segment(id): Segment<u32>, _: Nothing) -> Answer<PortStatus> {
    let ports = api.tell(|engine| engine.port_status()).await?;
    let port = ports.into_iter().find(|port| port.port.id == PublishId(id));
    ok(port
        .ok_or_else(|| Fault::new(ProblemType::UnknownPort, format!("no published port {id}")))?)
}

async fn publish(
    State(api): State<Api>,
    _: Nothing,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Answer<PublishedPorts> {
    let spec = read(body)?;
    refuse_what_is_not_for_the_api(&spec)?;
    let ports = api.ask(move |engine| engine.publish_spec(&spec)).await??;
    Ok(Json(StatusCode::CREATED, PublishedPorts { ports }))
}

async fn unpublish(
    State(api): State<Api>,
    Segment(id): Segment<u32>,
    Params(params): Params<UnpublishParams>,
) -> Result<StatusCode, Fault> {
    let connections = match params.connections {
        Connections::Drain => Unpublish::Drain,
        Connections::Reset => Unpublish::Reset,
    };
    api.ask(move |engine| engine.unpublish(PublishId(id), connections)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Read by hand, not as an untagged enumeration: that could only say that nothing matched.
fn read(body: Map<String, Value>) -> Result<PublishSpec, Fault> {
    let is_spec = body.contains_key("spec");
    let body = Value::Object(body);
    let malformed = |error: serde_json::Error| Fault::invalid(format!("the body: {error}"));
    if is_spec {
        let SpecBody { spec } = serde_json::from_value(body).map_err(malformed)?;
        return Ok(spec.parse::<PublishSpec>()?);
    }
    let form: PublishLongForm = serde_json::from_value(body).map_err(malformed)?;
    Ok(PublishSpec::try_from(form)?)
}

/// Descriptors are the server's, not the caller's, and what the guest listens on is watched by the
/// command or not at all.
fn refuse_what_is_not_for_the_api(spec: &PublishSpec) -> Result<(), Fault> {
    for item in spec.items() {
        let why = match item {
            PublishItem::Request(request) => match request.listen {
                Listen::Fd { .. } | Listen::Activated { .. } => {
                    "the descriptors of this process are not the caller's"
                }
                Listen::Inet { .. } | Listen::Unix { .. } => continue,
            },
            PublishItem::Auto | PublishItem::Exclude { .. } => {
                "what the guest listens on is followed from the command line only"
            }
        };
        let fault = Fault::new(ProblemType::InvalidSpecification, format!("`{spec}`: {why}"));
        return Err(fault.help("name an address and port, as in 127.0.0.1:8080:80"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Result<PublishSpec, Fault> {
        let spec = read(serde_json::from_str(json).unwrap())?;
        refuse_what_is_not_for_the_api(&spec)?;
        Ok(spec)
    }

    #[test]
    fn both_forms_are_read_and_errors_say_where() {
        assert_eq!(spec(r#"{"spec":"8080:80"}"#).unwrap(), "8080:80".parse().unwrap());
        let long = spec(r#"{"target":80,"published":8080,"protocol":"udp"}"#).unwrap();
        assert_eq!(long, "8080:80/udp".parse().unwrap());
        for (json, kind, says) in [
            (r#"{"spec":"8080:x"}"#, ProblemType::InvalidSpecification, "8080:x"),
            (r#"{"spec":"fd:3:80"}"#, ProblemType::InvalidSpecification, "descriptor"),
            (r#"{"spec":"auto"}"#, ProblemType::InvalidSpecification, "command line"),
            (r#"{"spec":"~22"}"#, ProblemType::InvalidSpecification, "command line"),
            (r#"{"spec":"80","x":1}"#, ProblemType::InvalidRequest, "unknown field `x`"),
            (r#"{"spec":80}"#, ProblemType::InvalidRequest, "invalid type"),
            (r#"{"targt":80}"#, ProblemType::InvalidRequest, "unknown field `targt`"),
            (r#"{}"#, ProblemType::InvalidRequest, "missing field `target`"),
        ] {
            let fault = spec(json).unwrap_err();
            let problem = fault.problem();
            assert_eq!(problem.kind, kind, "{json}");
            assert!(problem.to_string().contains(says), "{json}: {problem}");
        }
    }
}
