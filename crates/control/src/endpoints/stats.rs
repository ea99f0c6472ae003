//! Everything that is counted, as JSON and for Prometheus.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use portreeve_types::api::{ProblemType, Stats};

use super::{Answer, ok};
use crate::endpoint::{Endpoint, get};
use crate::extract::Nothing;
use crate::fault::Fault;
use crate::metrics::{self, Format, Snapshot};
use crate::state::Api;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/v1/stats", stats)
            .named("stats", "Counters and gauges")
            .answers::<Stats>(200, "All of them, taken at one moment."),
        get("/metrics", exposition)
            .named("metrics", "Counters and gauges for Prometheus")
            .about(
                "In the text format of Prometheus, or as OpenMetrics for whoever accepts it. \
                 docs/manual/control.md has the table.",
            )
            .sends(
                200,
                "One scrape.",
                &[
                    (Format::Prometheus.media_type(), None),
                    (Format::OpenMetrics.media_type(), None),
                ],
            ),
    ]
}

async fn stats(State(api): State<Api>, _: Nothing) -> Answer<Stats> {
    ok(api.tell(|engine| engine.stats()).await?)
}

async fn exposition(
    State(api): State<Api>,
    headers: HeaderMap,
    _: Nothing,
) -> Result<Response, Fault> {
    let snapshot = api.tell(Snapshot::take).await?;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::wanted(accept.unwrap_or_default());
    let text = metrics::expose(snapshot, format)
        .map_err(|error| Fault::new(ProblemType::Internal, error.to_string()))?;
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}
