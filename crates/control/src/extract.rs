//! Reading requests: query parameters, parts of the path, bodies.
//!
//! Owns the strictness: what is not understood is refused and named, never ignored, for a typo must
//! not change what a request means. Never decides what a value means.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use portreeve_types::api::ProblemType;
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// A part of the path, read.
pub(crate) struct Segment<T>(pub(crate) T);

/// A request that has neither.
pub(crate) struct Nothing;

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let query = parts.uri.query().unwrap_or_default();
        if !is_utf8(query) {
            return Err(Fault::invalid("the query is not UTF-8"));
        }
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => {
                let text = error.body_text();
                let text = text.strip_prefix(AXUMS_PREFIX).unwrap_or(&text);
                Err(Fault::invalid(format!("the query: {text}")))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Nothing {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(_) => Err(Fault::invalid("this request takes no query parameters")),
        }
    }
}

impl<T, S> FromRequestParts<S> for Segment<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    S: Send + Sync,
{
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let text: Result<Path<String>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|error| Fault::invalid(error.body_text()))?;
        match text.parse() {
            Ok(value) => Ok(Self(value)),
            Err(error) => {
                let shown: String = text.chars().take(80).collect();
                Err(Fault::invalid(format!("{shown:?} in the path: {error}")))
            }
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        let kind = request.headers().get(CONTENT_TYPE).map(|kind| kind.to_str());
        if !kind.is_some_and(|kind| kind.is_ok_and(is_json)) {
            let detail = "the body must be of the type application/json, and say so";
            return Err(Fault::new(ProblemType::UnsupportedMediaType, detail)
                .help("send the header content-type: application/json"));
        }
        let bytes = read(request.into_body()).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(Fault::invalid(format!("the body: {error}"))),
        }
    }
}

async fn read(body: Body) -> Result<BytesMut, Fault> {
    tokio::time::timeout(BODY_TIME, collect(body)).await.unwrap_or_else(|_| {
        let seconds = BODY_TIME.as_secs();
        Err(Fault::invalid(format!("the body did not come within {seconds} seconds")))
    })
}

/// Reads on a little where nothing more is kept: a connection that is closed on a client that still
/// sends is reset, and the answer with it.
async fn collect(mut body: Body) -> Result<BytesMut, Fault> {
    let mut kept = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::invalid(format!("the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= MAX_BODY {
            kept.extend_from_slice(&data);
        } else if length > MAX_SKIPPED {
            break;
        }
    }
    if length > MAX_BODY {
        let detail = format!("no request needs a body of more than {MAX_BODY} bytes");
        return Err(Fault::new(ProblemType::TooLarge, detail));
    }
    Ok(kept)
}

fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// Whether a query is UTF-8 once its escapes are undone.
fn is_utf8(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        let escaped = (*byte == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &after[2..];
            }
            None => bytes.push(*byte),
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// How much of a larger one is read before the connection is given up.
const MAX_SKIPPED: usize = 4 << 20;
/// The largest body: some thousand names or ports would fit.
const MAX_BODY: usize = 64 << 10;
const BODY_TIME: Duration = Duration::from_secs(10);
/// What axum puts before serde's words.
const AXUMS_PREFIX: &str = "Failed to deserialize query string: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_must_be_utf_8_once_unescaped() {
        for fine in ["", "a=b", "a=%C3%A4", "a=%", "a=%zz", "a=100%"] {
            assert!(is_utf8(fine), "{fine}");
        }
        for bad in ["a=%ff", "a=%C3", "%80"] {
            assert!(!is_utf8(bad), "{bad}");
        }
    }

    #[test]
    fn json_by_its_name() {
        assert!(is_json("application/json") && is_json("Application/JSON; charset=utf-8"));
        assert!(!is_json("text/json") && !is_json(""));
    }
}
