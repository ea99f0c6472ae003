//! Frames on the guest's link, as a stream of pcapng.
//!
//! Owns the options and the stream. A reader that does not keep up loses frames, and the file says
//! how many where.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_core::Stream;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use portreeve::{Capture, CaptureFilter, CaptureOptions, DEFAULT_SNAP_LENGTH, MAX_SNAP_LENGTH};
use portreeve_types::api::ProblemType;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::Streaming;
use crate::endpoint::{Endpoint, get};
use crate::extract::Params;
use crate::fault::Fault;
use crate::pcapng::{Packet, Recording};
use crate::rest::Rest;
use crate::state::Api;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/v1/capture", capture)
            .named("capture", "Frames on the guest's link")
            .about(
                "A pcapng file that goes on until it is closed, for tshark and Wireshark. \
                 Directions are the host's: inbound is from the guest. Frames that were lost \
                 because the reader was too slow are counted in front of the next one.",
            )
            .query::<CaptureParams>()
            .sends(200, "Ethernet frames, nanoseconds.", &[("application/x-pcapng", None)])
            .may(&[ProblemType::OutOfRange, ProblemType::TooMany]),
    ]
}

/// Which frames, and how much of each.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureParams {
    /// Bytes kept of each frame; 2048 if missing, which is more than a frame of a link with an MTU
    /// of 1500 has. What a guest leaves to be cut into segments is one frame here, and longer.
    #[schemars(range(min = 14, max = 262_144))]
    snap_length: Option<u64>,
    /// As in `tcp and port 80`, `not arp`, `host 10.0.0.2`, `from guest`, `dropped`.
    #[schemars(length(max = 512))]
    filter: Option<String>,
    /// Whether frames that were dropped say why, in a comment.
    verdicts: Option<bool>,
}

async fn capture(
    State(api): State<Api>,
    Params(params): Params<CaptureParams>,
) -> Result<Response, Fault> {
    let snap_length = params.snap_length.unwrap_or_else(|| DEFAULT_SNAP_LENGTH.into());
    if !(MIN_SNAP..=MAX_SNAP).contains(&snap_length) {
        let detail = format!("snap_length={snap_length}: must be {MIN_SNAP} to {MAX_SNAP}");
        return Err(Fault::out_of_range(detail));
    }
    let snap_length = u32::try_from(snap_length).unwrap_or(MAX_SNAP_LENGTH);
    let filter = params.filter.as_deref().map(read).transpose()?.unwrap_or_default();
    let options = CaptureOptions { snap_length, filter, ..CaptureOptions::default() };
    let verdicts = params.verdicts.unwrap_or(false);
    let permit = api.capture_stream()?;
    let recording = Recording::new(api.name(), snap_length)
        .ok_or_else(|| Fault::new(ProblemType::Internal, "the capture's head"))?;
    let capture = api.ask(move |engine| engine.capture(options)).await??;
    let rest = Rest::default();
    let frames = Frames { capture, recording, verdicts, rest, done: false, _permit: permit };
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-pcapng"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Streaming);
    Ok(response)
}

fn read(filter: &str) -> Result<CaptureFilter, Fault> {
    if filter.len() > MAX_FILTER {
        return Err(Fault::out_of_range(format!("filter: at most {MAX_FILTER} bytes")));
    }
    filter.parse().map_err(|error| Fault::invalid(format!("filter: {error}")))
}

/// Frames as pcapng.
struct Frames {
    capture: Capture,
    recording: Recording,
    verdicts: bool,
    rest: Rest,
    done: bool,
    _permit: OwnedSemaphorePermit,
}

impl Stream for Frames {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        ready!(this.rest.poll(context));
        while !this.done && this.recording.pending() < CHUNK {
            match this.capture.poll_next(context) {
                Poll::Ready(Some(frame)) => {
                    let packet = Packet {
                        time: frame.time,
                        from_guest: frame.from_guest,
                        length: frame.length,
                        data: &frame.data,
                        verdict: frame.verdict.filter(|_| this.verdicts),
                    };
                    this.recording.add(&packet, this.capture.lost());
                }
                Poll::Ready(None) => {
                    this.done = true;
                    this.recording.finish(SystemTime::now(), this.capture.lost());
                }
                Poll::Pending if this.recording.pending() == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let chunk = this.recording.take();
        if chunk.is_empty() {
            return Poll::Ready(None);
        }
        if chunk.len() < CHUNK {
            this.rest.begin();
        }
        Poll::Ready(Some(Ok(chunk.into())))
    }
}

/// An Ethernet header.
const MIN_SNAP: u64 = 14;
const MAX_SNAP: u64 = MAX_SNAP_LENGTH as u64;
const MAX_FILTER: usize = 512;
/// Bytes sent in one go, about.
const CHUNK: usize = 64 << 10;
