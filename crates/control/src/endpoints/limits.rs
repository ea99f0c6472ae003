//! Limits of the engine, read and changed while it runs.

use axum::extract::State;
use portreeve::{Handle, Limits};
use portreeve_types::api::{LimitsChange, ProblemType};

use super::{Answer, ok};
use crate::endpoint::{Endpoint, get, patch};
use crate::extract::{JsonBody, Nothing};
use crate::fault::Fault;
use crate::state::Api;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/v1/limits", show)
            .named("get_limits", "Limits in force")
            .answers::<Limits>(200, "All of them."),
        patch("/v1/limits", change)
            .named("change_limits", "Change limits")
            .about(
                "Those left out stay as they are. All are changed, or none. What already exceeds \
                 a lower limit is left alone: it only gets no company.",
            )
            .takes::<Limits>()
            .answers::<Limits>(200, "All of them, as they are now.")
            .may(&[ProblemType::OutOfRange, ProblemType::NeedsRestart]),
    ]
}

async fn show(State(api): State<Api>, _: Nothing) -> Answer<Limits> {
    ok(api.tell(|engine| engine.limits()).await?)
}

async fn change(
    State(api): State<Api>,
    _: Nothing,
    JsonBody(change): JsonBody<LimitsChange>,
) -> Answer<Limits> {
    ok(api.change(move |engine| apply(engine, change)).await??)
}

fn apply(engine: &Handle, change: LimitsChange) -> Result<Limits, Fault> {
    let limits = merge(&engine.limits().ok_or_else(Fault::stopped)?, change)?;
    engine.set_limits(limits)?;
    engine.limits().ok_or_else(Fault::stopped)
}

/// The limits with some of them changed.
fn merge(limits: &Limits, change: LimitsChange) -> Result<Limits, Fault> {
    let malformed = |error: serde_json::Error| Fault::invalid(format!("the body: {error}"));
    let mut merged = serde_json::to_value(limits).map_err(malformed)?;
    for (name, value) in change {
        merged[name] = value;
    }
    serde_json::from_value(merged).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Result<Limits, Fault> {
        merge(&Limits::default(), serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_is_left_out_stays_and_what_is_unknown_is_named() {
        let limits = change(r#"{"max_flows":7}"#).unwrap();
        assert_eq!(limits, Limits { max_flows: 7, ..Limits::default() });
        for (json, says) in [
            (r#"{"max_flow":7}"#, "unknown field `max_flow`"),
            (r#"{"max_flows":-1}"#, "invalid value"),
            (r#"{"max_flows":null}"#, "invalid type: null"),
            (r#"{"max_flows":"7"}"#, "invalid type: string"),
        ] {
            let text = change(json).unwrap_err().problem().to_string();
            assert!(text.contains(says), "{json}: {text}");
        }
    }
}
