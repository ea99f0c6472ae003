//! Every endpoint of the API, one file for each thing it is about.
//!
//! Owns the list and the router made from it. Handlers read a request, ask the library and convert
//! its answer; they hold no logic of their own.

mod capture;
mod config;
mod dns;
mod events;
mod flows;
mod limits;
mod ports;
mod program;
mod stats;

use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use portreeve_types::api::ProblemType;
use serde::Serialize;

use crate::endpoint::{Endpoint, tagged};
use crate::fault::Fault;
use crate::state::Api;
use crate::ui;

pub(crate) use events::Streaming;

/// What the endpoints are about.
pub(crate) const TAGS: &[(&str, &str)] = &[
    ("program", "The process that answers."),
    ("ports", "Published ports."),
    ("flows", "Connections, UDP clients, and the guest's own ports."),
    ("dns", "The name server on the guest's gateway."),
    ("limits", "Limits of the engine, and changing them while it runs."),
    ("sight", "Counters, events and captured frames."),
    ("configuration", "The configuration that the engine was started with."),
];

/// Every endpoint.
pub(crate) fn all() -> Vec<Endpoint> {
    let mut all = tagged("program", program::endpoints());
    all.extend(tagged("ports", ports::endpoints()));
    all.extend(tagged("flows", flows::endpoints()));
    all.extend(tagged("dns", dns::endpoints()));
    all.extend(tagged("limits", limits::endpoints()));
    all.extend(tagged("sight", stats::endpoints()));
    all.extend(tagged("sight", events::endpoints()));
    all.extend(tagged("sight", capture::endpoints()));
    all.extend(tagged("configuration", config::endpoints()));
    all
}

/// All of them, the page, and what is said to everything else.
pub(crate) fn router(api: Api) -> Router {
    let mut router = Router::new();
    for endpoint in all() {
        router = router.route(endpoint.path, endpoint.route);
    }
    ui::routes(router)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(api)
}

/// An answer with a JSON body.
pub(crate) struct Json<T>(pub(crate) StatusCode, pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.1) {
            Ok(body) => {
                let mut response = Response::new(Bytes::from(body).into());
                *response.status_mut() = self.0;
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(error) => Fault::new(ProblemType::Internal, error.to_string()).into_response(),
        }
    }
}

/// What a handler returns that answers with JSON.
type Answer<T> = Result<Json<T>, Fault>;

fn ok<T>(value: T) -> Answer<T> {
    Ok(Json(StatusCode::OK, value))
}

async fn unknown_path(uri: Uri) -> Fault {
    let shown: String = uri.path().chars().take(200).collect();
    Fault::new(ProblemType::NotFound, format!("there is nothing at {shown}"))
        .help("GET /v1/openapi.json describes everything there is")
}

async fn wrong_method(method: Method, uri: Uri) -> Fault {
    let shown: String = uri.path().chars().take(200).collect();
    Fault::new(ProblemType::MethodNotAllowed, format!("{method} is not for {shown}"))
        .help("the header `allow` names the methods that are")
}
