//! A control API without an engine: a socket that answers what a test says, and notes what it was
//! asked. And the command, run against it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// What is answered.
pub(crate) enum Answer {
    Json(Value),
    Nothing,
    /// A problem of this kind and status.
    Problem(&'static str, u16, &'static str),
    Text(&'static str, String),
    /// A body of this media type in pieces; then the connection is held until the client has
    /// closed it, or closed with (`true`) or without its proper end.
    Stream(&'static str, Vec<Vec<u8>>, End),
}

/// How a stream ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Proper,
    Broken,
    /// When the client goes.
    Held,
}

/// Engines of a runtime directory.
pub(crate) struct Engines {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Engines {
    pub(crate) fn none() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        Self { folder, asked: Arc::default() }
    }

    /// One that answers each `METHOD target body`.
    pub(crate) fn one(name: &str, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let engines = Self::none();
        engines.add(name, answer);
        engines
    }

    pub(crate) fn add(&self, name: &str, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) {
        let socket = self.socket(name);
        fs::create_dir_all(socket.parent().expect("a directory")).expect("a directory");
        let listener = UnixListener::bind(socket).expect("a socket");
        let (asked, answer) = (Arc::clone(&self.asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                let mut stream = stream.expect("a connection");
                thread::spawn(move || {
                    if let Some(request) = read(&mut stream) {
                        let reply = answer(&request);
                        asked.lock().expect("no panic").push(request);
                        // A client that has gone does not matter.
                        let _ = send(&mut stream, reply);
                    }
                });
            }
        });
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("control.sock")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.args(arguments).env("PORTREEVE_RUNTIME_DIR", self.folder());
        command.stdin(Stdio::null()).env_remove("PORTREEVE_LOG");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().expect("the command starts");
        Outcome {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs what is to succeed and say nothing beside its output.
    pub(crate) fn out(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""), "{arguments:?}");
        outcome.out
    }
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn read(stream: &mut UnixStream) -> Option<String> {
    stream.set_read_timeout(Some(LONG)).ok()?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("UTF-8").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).ok()?;
    let line = head.lines().next().unwrap_or_default();
    let (method, target) = line.trim_end_matches(" http/1.1").split_once(' ').expect("a target");
    let body = String::from_utf8(body).expect("UTF-8");
    Some(format!("{} {target} {body}", method.to_ascii_uppercase()).trim_end().to_owned())
}

fn send(stream: &mut UnixStream, answer: Answer) -> std::io::Result<()> {
    let mut whole = |status: u16, media_type: &str, body: String| {
        write!(
            stream,
            "HTTP/1.1 {status} x\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    match answer {
        Answer::Json(body) => whole(200, "application/json", body.to_string()),
        Answer::Text(media_type, body) => whole(200, media_type, body),
        Answer::Nothing => write!(stream, "HTTP/1.1 204 No Content\r\n\r\n"),
        Answer::Problem(kind, status, detail) => {
            let body = json!({"type": format!("urn:portreeve:problem:{kind}"), "title": kind,
                "status": status, "detail": detail, "help": "try another"});
            whole(status, "application/problem+json", body.to_string())
        }
        Answer::Stream(media_type, pieces, end) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
            )?;
            for piece in pieces {
                write!(stream, "{:x}\r\n", piece.len())?;
                stream.write_all(&piece)?;
                write!(stream, "\r\n")?;
            }
            match end {
                End::Proper => write!(stream, "0\r\n\r\n"),
                End::Broken => Ok(()),
                End::Held => stream.read(&mut [0]).map(|_| ()),
            }
        }
    }
}
