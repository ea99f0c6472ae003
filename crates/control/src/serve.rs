//! Accepting connections and answering on them: HTTP/1.1, within bounds of time and size.
//!
//! Owns the listeners and one task for each connection. Everything runs on the server's own
//! thread; nothing here waits for the engine, and the engine never waits for anything here.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portreeve_types::api::ProblemType;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tower_service::Service as _;

use crate::connections::{Connections, Place};
use crate::endpoints::Streaming;
use crate::fault::Fault;
use crate::guard::{Guard, Passed};
use crate::peer::Doorkeeper;

/// What every connection is served with.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) connections: Arc<Connections>,
    /// Becomes `true` when the server ends.
    pub(crate) ending: watch::Receiver<bool>,
}

/// Serves a Unix socket until the server ends.
pub(crate) async fn unix(listener: UnixListener, doorkeeper: Doorkeeper, service: Service) {
    let mut ending = service.ending.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended(&mut ending) => return,
        };
        match accepted {
            Ok((stream, _)) => greet(stream, &doorkeeper, &service),
            Err(error) => pause(&error).await,
        }
    }
}

/// Serves a TCP socket until the server ends.
pub(crate) async fn tcp(listener: TcpListener, guard: Guard, service: Service) {
    let mut ending = service.ending.clone();
    let guard = Arc::new(guard);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended(&mut ending) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let Some(place) = service.connections.enter() else { continue };
                let door = Door::Guarded(guard.clone());
                tokio::spawn(service.clone().converse(stream, door, place));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Looks at who came over the Unix socket.
fn greet(stream: UnixStream, doorkeeper: &Doorkeeper, service: &Service) {
    let Some(place) = service.connections.enter() else {
        tracing::debug!("all connections are streams; a new one was closed");
        return;
    };
    let door = match doorkeeper.admit(&stream) {
        Ok(()) => Door::Open,
        Err(refusal) => {
            tracing::debug!(%refusal, "refused at the control socket");
            Door::Closed(refusal.to_string())
        }
    };
    tokio::spawn(service.clone().converse(stream, door, place));
}

/// How requests on a connection are met.
#[derive(Clone)]
enum Door {
    /// Its user was looked at when it connected.
    Open,
    /// Each must show the token.
    Guarded(Arc<Guard>),
    /// None is answered; this is why.
    Closed(String),
}

impl Service {
    /// Answers on one connection to its end.
    async fn converse<S>(self, stream: S, door: Door, place: Place)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut ending = self.ending.clone();
        let refused = matches!(door, Door::Closed(_));
        let place = Arc::new(place);
        let serve = service_fn(|request| {
            place.begin_request();
            let (router, door, place) = (self.router.clone(), door.clone(), place.clone());
            async move { Ok::<_, Infallible>(answer(router, door, &place, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(MAX_HEAD)
            .keep_alive(!refused)
            .serve_connection(TokioIo::new(stream), serve);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = place.dismissed() => return,
            () = ended(&mut ending) => {
                connection.as_mut().graceful_shutdown();
                // Streams end with the engine, requests with their answer; whoever does not read
                // cannot keep the server.
                match tokio::time::timeout(LAST_WORDS, connection).await {
                    Ok(result) => result,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection to the control API");
        }
    }
}

async fn answer(
    mut router: Router,
    door: Door,
    place: &Place,
    request: Request<Incoming>,
) -> Response {
    let request = request.map(Body::new);
    let passed = match &door {
        Door::Open => Passed::Plainly,
        Door::Guarded(guard) => match guard.check(&request) {
            Ok(passed) => passed,
            Err(fault) => return fault.into_response(),
        },
        Door::Closed(why) => {
            let help = "ask as the user that the engine runs as, from its own network namespace";
            let fault = Fault::new(ProblemType::Forbidden, why.clone()).help(help);
            let mut response = fault.into_response();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let Ok(mut response) = router.call(request).await;
    if response.extensions().get::<Streaming>().is_some() {
        place.begin_stream();
    }
    if let (Door::Guarded(guard), Passed::WithCookie) = (&door, passed) {
        guard.give_cookie(&mut response);
    }
    response
}

/// Waits until the server ends, or is gone.
async fn ended(ending: &mut watch::Receiver<bool>) {
    // What it answers with is a lock, which must not be held.
    drop(ending.wait_for(|ending| *ending).await);
}

/// An accept that fails does so for want of something, which comes back.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "accepting at the control API");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// How long the head of a request may take, and an idle connection may wait for its next one.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
const LAST_WORDS: Duration = Duration::from_millis(500);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
