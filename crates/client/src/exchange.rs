//! One request and its answer, over one connection.
//!
//! Owns HTTP: connecting, headers, how much of an answer is read and how long it is waited for.
//! Knows no endpoint. Each request has a connection of its own: over a Unix socket that costs some
//! tens of microseconds, and there is no idle connection that may have gone stale. The connection
//! is driven by whoever reads the answer, so what is dropped is closed at once.
//! Spec: RFC 9112 (HTTP/1.1), RFC 9457 (errors).

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Method, StatusCode};
use hyper_util::rt::TokioIo;
use portreeve_types::api::{Problem, ProblemType};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::error::Error;

/// The most bytes of an answer that is read whole.
pub(crate) const MAX_ANSWER: usize = 32 << 20;
/// The most bytes of a problem: more than any is, little enough to be read in passing.
const MAX_PROBLEM: usize = 64 << 10;
/// Between two tries where the server's queue of connections is full.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query, encoded.
    pub(crate) target: String,
    /// JSON.
    pub(crate) body: Option<Bytes>,
}

impl Request {
    /// As errors name it.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    fn protocol(&self, what: impl Into<String>) -> Error {
        Error::Protocol { request: self.shown(), what: what.into() }
    }

    fn interrupted(&self, cause: &hyper::Error) -> Error {
        if cause.is_parse() || cause.is_parse_too_large() {
            return self.protocol(cause.to_string());
        }
        // hyper's own text names the layer, its source the reason.
        let reason =
            std::error::Error::source(cause).map_or_else(String::new, |s| format!(": {s}"));
        Error::Interrupted { request: self.shown(), cause: format!("{cause}{reason}") }
    }
}

type Connection = http1::Connection<TokioIo<UnixStream>, Full<Bytes>>;

/// An answer whose head has been read, and whose body comes piece by piece.
pub(crate) struct Exchange {
    request: Request,
    connection: Driven,
    media_type: String,
    body: Incoming,
}

/// A connection that has to be polled for anything to happen on it.
struct Driven(Option<Pin<Box<Connection>>>);

impl Driven {
    fn drive(&mut self, cx: &mut Context<'_>) {
        // Why a connection ended is told by the request or the body that it cut off.
        if let Some(connection) = &mut self.0
            && connection.as_mut().poll(cx).is_ready()
        {
            self.0 = None;
        }
    }

    async fn with<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        poll_fn(|cx| {
            self.drive(cx);
            other.as_mut().poll(cx)
        })
        .await
    }
}

impl Exchange {
    /// Asks, and reads the answer's head. A refusal is an error.
    pub(crate) async fn begin(
        socket: &Path,
        request: Request,
        within: Duration,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + within;
        let late = |request: &Request| Error::TimedOut { request: request.shown(), after: within };
        let stream = match tokio::time::timeout_at(deadline, connect(socket)).await {
            Ok(connected) => {
                connected.map_err(|source| Error::Connect { path: socket.to_owned(), source })?
            }
            Err(_) => return Err(late(&request)),
        };
        match tokio::time::timeout_at(deadline, Self::ask(stream, &request)).await {
            Ok(asked) => {
                let (connection, status, media_type, body) = asked?;
                let mut exchange = Self { request, connection, media_type, body };
                if status.is_success() {
                    return Ok(exchange);
                }
                match tokio::time::timeout_at(deadline, exchange.whole(MAX_PROBLEM)).await {
                    Ok(text) => Err(exchange.refusal(status, &text?)),
                    Err(_) => Err(late(&exchange.request)),
                }
            }
            Err(_) => Err(late(&request)),
        }
    }

    async fn ask(
        stream: UnixStream,
        request: &Request,
    ) -> Result<(Driven, StatusCode, String, Incoming), Error> {
        let failed = |error: hyper::Error| request.interrupted(&error);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let mut connection = Driven(Some(Box::pin(connection)));
        let mut head = hyper::Request::builder()
            .method(request.method.clone())
            .uri(&request.target)
            .header(HOST, "localhost")
            .header(ACCEPT, "*/*");
        if request.body.is_some() {
            head = head.header(CONTENT_TYPE, "application/json");
        }
        let head = head
            .body(Full::new(request.body.clone().unwrap_or_default()))
            .map_err(|error| request.protocol(error.to_string()))?;
        let answer = connection.with(sender.send_request(head)).await.map_err(failed)?;
        let (parts, body) = answer.into_parts();
        Ok((connection, parts.status, media_type(&parts.headers), body))
    }

    /// The next piece of the body; `None` at its proper end.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            let Self { connection, body, .. } = self;
            let frame = poll_fn(|cx| {
                connection.drive(cx);
                Pin::new(&mut *body).poll_frame(cx)
            });
            match frame.await? {
                // Trailers say nothing here.
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Some(Ok(data)),
                    _ => {}
                },
                Err(error) => return Some(Err(self.request.interrupted(&error))),
            }
        }
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await {
            let piece = piece?;
            if piece.len() > limit - whole.len() {
                return Err(Error::TooLarge { request: self.request.shown(), limit });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Fails if the body is not of the media type.
    pub(crate) fn expect(&self, media_type: &str) -> Result<(), Error> {
        if self.media_type == media_type {
            return Ok(());
        }
        Err(self.protocol(match self.media_type.as_str() {
            "" => format!("it has no media type where {media_type} is due"),
            other => format!("it is {} where {media_type} is due", other.escape_debug()),
        }))
    }

    pub(crate) fn protocol(&self, what: impl Into<String>) -> Error {
        self.request.protocol(what)
    }

    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// What a status outside 2xx means.
    fn refusal(&self, status: StatusCode, text: &[u8]) -> Error {
        if self.media_type == "application/problem+json" {
            if let Ok(problem) = serde_json::from_slice(text) {
                return Error::Problem(problem);
            }
            // A kind that this client does not know yet: the words are there all the same.
            if let Ok(problem) = serde_json::from_slice::<ForeignProblem>(text) {
                return Error::Problem(problem.adopt(status));
            }
        }
        let beginning: String = String::from_utf8_lossy(text).chars().take(80).collect();
        self.protocol(format!("status {status}, `{}`", beginning.escape_debug()))
    }
}

/// A problem whose kind a later version has added.
#[derive(Deserialize)]
struct ForeignProblem {
    title: String,
    detail: Option<String>,
    help: Option<String>,
}

impl ForeignProblem {
    /// Under the known kind that is nearest to the status.
    fn adopt(self, status: StatusCode) -> Problem {
        let kind = match status.as_u16() {
            401 => ProblemType::Unauthorized,
            403 => ProblemType::Forbidden,
            404 => ProblemType::NotFound,
            409 => ProblemType::Unavailable,
            429 => ProblemType::TooMany,
            503 => ProblemType::EngineStopped,
            500.. => ProblemType::Internal,
            _ => ProblemType::InvalidRequest,
        };
        let Self { title, detail, help } = self;
        Problem { kind, title, status: status.as_u16(), detail, help }
    }
}

/// Connects, and waits while the server's queue is full: a Unix socket says so at once.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

/// Without its parameters, in lower case; empty if there is none.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}
