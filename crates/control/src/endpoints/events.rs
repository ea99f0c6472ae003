//! The stream of events, one JSON object a line.
//!
//! Owns the filters and the ends of a stream. A reader that does not keep up holds up its own
//! stream only: the library then loses events for it and says how many.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_core::Stream;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use portreeve::{Events, Handle};
use portreeve_types::api::{EventBody, EventRecord, ProblemType};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::convert::event;
use crate::endpoint::{Endpoint, get};
use crate::extract::Params;
use crate::fault::Fault;
use crate::rest::Rest;
use crate::state::Api;

/// Says of an answer that it goes on until one side ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streaming;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/v1/events", stream)
            .named("events", "What happens, as it happens")
            .about(
                "One JSON object a line. With `since` it begins behind that event, from a bounded \
                 backlog; if some of those are no longer kept, a line of the kind `lost` says how \
                 many. Without it, it begins now. A reader that is too slow also finds `lost` \
                 where it missed something; lines of that kind pass every filter.",
            )
            .query::<EventParams>()
            .sends(
                200,
                "The schema is that of one line.",
                &[("application/x-ndjson", Some(SchemaGenerator::subschema_for::<EventRecord>))],
            )
            .may(&[ProblemType::TooMany]),
    ]
}

/// Which events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventParams {
    /// Begin behind the event with this number; 0 for all that is kept.
    since: Option<u64>,
    /// Only these kinds, separated by commas, as in `flow_opened,dropped`.
    #[schemars(regex(pattern = "^[a-z_]+(,[a-z_]+)*$"))]
    kinds: Option<String>,
    /// Whether to go on with what happens from now on. `false` ends at the present.
    follow: Option<bool>,
}

async fn stream(
    State(api): State<Api>,
    Params(params): Params<EventParams>,
) -> Result<Response, Fault> {
    let kinds = params.kinds.as_deref().map(kinds).transpose()?;
    let permit = api.event_stream()?;
    let since = params.since;
    let events = api.ask(move |engine| match since {
        Some(seq) => engine.events_since(seq),
        None => engine.events(),
    });
    let events = events.await?;
    let lines = Lines {
        events,
        engine: api.engine().clone(),
        kinds,
        follow: params.follow.unwrap_or(true),
        rest: Rest::default(),
        done: false,
        _permit: permit,
    };
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Streaming);
    Ok(response)
}

/// The kinds of a filter, all of them known.
fn kinds(text: &str) -> Result<BTreeSet<&'static str>, Fault> {
    let mut kinds = BTreeSet::from([LOST]);
    for kind in text.split(',') {
        match EventBody::KINDS.iter().find(|known| **known == kind) {
            Some(known) => _ = kinds.insert(known),
            None => {
                let shown: String = kind.chars().take(80).collect();
                let known = EventBody::KINDS.join(", ");
                let fault = Fault::invalid(format!("kinds: {shown:?} is no kind of event"));
                return Err(fault.help(format!("kinds are {known}")));
            }
        }
    }
    Ok(kinds)
}

/// Events as lines.
struct Lines {
    events: Events,
    engine: Handle,
    kinds: Option<BTreeSet<&'static str>>,
    follow: bool,
    rest: Rest,
    done: bool,
    _permit: OwnedSemaphorePermit,
}

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        ready!(this.rest.poll(context));
        let mut chunk = Vec::new();
        // A bound on what is read in one go, too: a filter may let nothing pass of a great many.
        for _ in 0..BATCH {
            if this.done || chunk.len() >= CHUNK {
                break;
            }
            match this.events.poll_next(context) {
                Poll::Ready(Some(record)) => this.write(record, &mut chunk),
                Poll::Ready(None) => this.done = true,
                Poll::Pending if this.follow && chunk.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    this.done = !this.follow;
                    break;
                }
            }
        }
        if !chunk.is_empty() {
            if this.follow && chunk.len() < CHUNK {
                this.rest.begin();
            }
            return Poll::Ready(Some(Ok(chunk.into())));
        }
        if this.done {
            return Poll::Ready(None);
        }
        // The others' turn; there may be more.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Lines {
    fn write(&self, record: portreeve::EventRecord, chunk: &mut Vec<u8>) {
        let Some(record) = event::record(&self.engine, record) else { return };
        let passes = self.kinds.as_ref().is_none_or(|kinds| kinds.contains(record.body.kind()));
        if passes && serde_json::to_writer(&mut *chunk, &record).is_ok() {
            chunk.push(b'\n');
        }
    }
}

/// The kind that passes every filter.
const LOST: &str = "lost";
/// Events looked at in one go.
const BATCH: usize = 256;
/// Bytes sent in one go, about.
const CHUNK: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_known_kinds_and_always_lets_losses_pass() {
        let filter = kinds("dropped,flow_closed").unwrap();
        assert_eq!(filter, BTreeSet::from(["dropped", "flow_closed", "lost"]));
        for bad in ["", "dropped,", "droped", "Dropped", "dropped, lost"] {
            assert!(kinds(bad).is_err(), "{bad:?}");
        }
    }
}
