//! A server on a Unix socket that answers as a test says, in this process.
//!
//! Two kinds: one that speaks HTTP and notes what it was asked, and one that says bytes.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// What was asked: `METHOD target`, and the body.
pub(crate) type Asked = (String, String);

/// A server that lives as long as the test's process.
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Answers with a status, a media type and a body.
    pub(crate) fn http(
        answer: impl Fn(&str) -> (u16, &'static str, String) + Send + Sync + 'static,
    ) -> Self {
        let (folder, socket) = place();
        let listener = UnixListener::bind(&socket).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, notes) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || serve(listener, &answer, &notes));
        Self { socket, asked, _folder: folder }
    }

    /// Has the nth connection (from 0) handled by `talk`, once its request has been read.
    pub(crate) fn raw(talk: impl Fn(usize, &mut UnixStream) + Send + 'static) -> Self {
        let (folder, socket) = place();
        let listener = UnixListener::bind(&socket).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        thread::spawn(move || {
            for (nth, stream) in listener.incoming().enumerate() {
                let mut stream = stream.expect("a connection");
                if let Some(line) = read_head(&mut stream) {
                    notes.lock().expect("no panic").push((line, String::new()));
                    talk(nth, &mut stream);
                }
            }
        });
        Self { socket, asked, _folder: folder }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

/// Writes; a client that has gone does not matter.
pub(crate) fn say(stream: &mut UnixStream, text: &str) {
    let _ = stream.write_all(text.as_bytes());
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("control.sock");
    (folder, socket)
}

fn serve<A>(listener: UnixListener, answer: &Arc<A>, asked: &Arc<Mutex<Vec<Asked>>>)
where
    A: Fn(&str) -> (u16, &'static str, String) + Send + Sync + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::UnixListener::from_std(listener).expect("a socket");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = service_fn(|request: Request<Incoming>| async {
                let line = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect().await.map(|body| body.to_bytes());
                let body = String::from_utf8(body.unwrap_or_default().to_vec()).expect("UTF-8");
                let (status, media_type, text) = answer(&line);
                asked.lock().expect("no panic").push((line, body));
                let answer = Response::builder().status(status).header("content-type", media_type);
                Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(text))).expect("an answer"))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        }
    });
}

fn read_head(stream: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        // Whoever only looks whether somebody listens asks nothing.
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("UTF-8");
    let line = head.lines().next().unwrap_or_default();
    Some(line.trim_end_matches(" HTTP/1.1").to_owned())
}
