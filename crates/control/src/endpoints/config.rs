//! The configuration that the engine was started with, and reading it again.

use axum::extract::State;
use portreeve_types::api::{ProblemType, ReloadReport};
use serde_json::Value;

use super::{Answer, ok};
use crate::endpoint::{Endpoint, get, post};
use crate::extract::Nothing;
use crate::fault::Fault;
use crate::state::Api;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/v1/config", show)
            .named("get_config", "The resolved configuration")
            .about("As `--dry-run` shows it: the file, the command line and the defaults.")
            .answers::<serde_json::Map<String, Value>>(200, "The configuration.")
            .may(&[ProblemType::Unavailable]),
        post("/v1/reload", reload)
            .named("reload", "Read the configuration file again")
            .about(
                "As SIGHUP does. What can change while the engine runs is in force when the answer \
                 comes; what cannot is named, and stays as it is.",
            )
            .answers::<ReloadReport>(200, "What was done.")
            .may(&[ProblemType::Unavailable, ProblemType::InvalidConfiguration]),
    ]
}

async fn show(State(api): State<Api>, _: Nothing) -> Answer<Value> {
    let config = api.config().ok_or_else(no_configuration)?;
    ok(api.ask(move |_| config.resolved()).await?)
}

async fn reload(State(api): State<Api>, _: Nothing) -> Answer<ReloadReport> {
    let config = api.config().ok_or_else(no_configuration)?;
    ok(api.change(move |_| config.reload()).await??)
}

fn no_configuration() -> Fault {
    let detail = "this engine was started without a configuration file";
    Fault::new(ProblemType::Unavailable, detail).help("start it with --config FILE")
}
