//! A client of the control API, for tests: HTTP/1.1 by hand.
//!
//! Owns no knowledge of the API. It is neither the project's client nor any library's, so that what
//! the server sends is seen as it is. Every wait has a bound.

mod connector;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connector::Connector;

use serde_json::Value;
use tempfile::TempDir;

use crate::machine::{DEADLINE, ORDINARY_UID, User, eventually};

/// A directory that only one user may enter, with room for a control socket.
#[derive(Debug)]
pub struct Place {
    /// Kept: it goes with the test.
    _directory: TempDir,
    socket: PathBuf,
}

/// Somebody who asks.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
    connector: Arc<Connector>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, line by line.
    pub head: Vec<String>,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Stream {
    /// The head, line by line.
    pub head: Vec<String>,
    reader: BufReader<UnixStream>,
    /// What has come of a line that is not complete.
    pending: Vec<u8>,
}

impl Place {
    /// One for this user.
    pub fn of(user: User) -> Self {
        let directory = tempfile::Builder::new().prefix("portreeve-e2e-").tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let inner = directory.path().join("control");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o700)).unwrap();
        if user.is_other() {
            std::os::unix::fs::chown(&inner, Some(ORDINARY_UID), Some(ORDINARY_UID)).unwrap();
        }
        Self { socket: inner.join("control.sock"), _directory: directory }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The socket's path, as an option's value.
    pub fn text(&self) -> &str {
        self.socket.to_str().expect("UTF-8")
    }

    /// Whoever asks there.
    pub fn api(&self) -> Api {
        Api::at(&self.socket)
    }
}

impl Api {
    /// At this socket, once somebody answers there.
    pub fn at(socket: &Path) -> Self {
        let connector = Arc::new(Connector::start());
        eventually("the control socket answers", || connector.connect(socket).is_ok());
        Self { socket: socket.to_owned(), connector }
    }

    /// A connection on which nothing has been said.
    pub fn connect(&self) -> UnixStream {
        let stream = self.connector.connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Asks, and reads the whole answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.ask_with(method, path, "", body)
    }

    /// The same, with more lines in the head, each with its `\r\n`.
    pub fn ask_with(&self, method: &str, path: &str, more: &str, body: Option<&str>) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        request += more;
        if let Some(body) = body {
            request += &format!(
                "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
        } else {
            request += "\r\n";
        }
        self.say(request.as_bytes())
    }

    /// Says this, whatever it is, and reads to the end.
    pub fn say(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        Answer::read(&all)
    }

    /// Gets JSON, which must go well.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Begins to read what goes on.
    pub fn open(&self, path: &str) -> Stream {
        let mut stream = self.connect();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        assert!(head[0].contains(" 200 "), "{path}: {head:?}");
        Stream { head, reader, pending: Vec::new() }
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let head: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        let status = head[0].split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Self { status: status.expect("a status"), head, body: Vec::new() };
        let mut rest = &bytes[end + 4..];
        if answer.header("transfer-encoding") != Some("chunked") {
            answer.body = rest.to_vec();
            return answer;
        }
        while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&rest[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            answer.body.extend(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 2 + size + 2..];
        }
        answer
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.iter().skip(1).filter_map(|line| line.split_once(':'));
        let (_, value) = headers.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The last word of a problem's type, which it must be.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        let kind = problem["type"].as_str().expect("a type");
        kind.strip_prefix("urn:portreeve:problem:").expect("ours").to_owned()
    }
}

impl Stream {
    /// The bytes of the next chunk; empty at the end.
    pub fn chunk(&mut self) -> Vec<u8> {
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        if size == 0 {
            return Vec::new();
        }
        self.reader.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        chunk
    }

    /// The next line, as JSON; none at the end.
    pub fn line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = self.chunk();
            if chunk.is_empty() {
                assert!(self.pending.is_empty(), "an incomplete line");
                return None;
            }
            self.pending.extend(chunk);
        }
    }

    /// The next line of a kind.
    pub fn line_of(&mut self, kind: &str) -> Value {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("the stream ended without `{kind}`"));
            if line["kind"] == kind {
                return line;
            }
        }
    }

    /// What has not been read of the connection.
    pub fn connection(&self) -> &UnixStream {
        self.reader.get_ref()
    }
}
