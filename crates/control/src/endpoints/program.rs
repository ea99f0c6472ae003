//! The process that answers: its health, its version, what it can be asked.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use portreeve_types::api::{Health, Timestamp, Version};

use super::{Answer, ok};
use crate::endpoint::{Endpoint, get};
use crate::extract::Nothing;
use crate::openapi;
use crate::state::Api;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/v1/health", health)
            .named("health", "Whether the engine is well")
            .about("Answered only once the engine's loop has answered, so it is a real probe.")
            .answers::<Health>(200, "It is."),
        get("/v1/version", version)
            .named("version", "Which program this is, and which API it speaks")
            .answers::<Version>(200, "Program and API."),
        get("/v1/openapi.json", document)
            .named("openapi", "This document")
            .answers::<serde_json::Map<String, serde_json::Value>>(200, "OpenAPI 3.1."),
    ]
}

async fn health(State(api): State<Api>, _: Nothing) -> Answer<Health> {
    let guest = api.tell(|engine| engine.has_guest()).await?;
    ok(Health {
        status: "ok".to_owned(),
        name: api.name().to_owned(),
        pid: std::process::id(),
        mode: api.mode().to_owned(),
        started: Timestamp(api.engine().started()),
        guest,
    })
}

async fn version(_: Nothing) -> Answer<Version> {
    ok(Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: vec!["v1".to_owned()] })
}

async fn document(_: Nothing) -> Response {
    let mut response = (StatusCode::OK, openapi::text()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
