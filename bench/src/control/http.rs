//! As much of HTTP/1.1 as a load generator needs: requests on a kept connection, answers of known
//! length or in chunks.
//!
//! Spec: RFC 9112.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// No answer takes longer on a path that works.
const PATIENCE: Duration = Duration::from_secs(10);

/// One kept connection.
pub(super) struct Connection(BufReader<UnixStream>);

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Connection {
    pub(super) fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One request, and its whole answer.
    pub(super) fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let (status, length) = self.begin(method, path, body)?;
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length, 0);
                self.0.read_exact(&mut body)?;
            }
            None => while self.chunk(&mut body)? {},
        }
        Ok(Answer { status, body })
    }

    /// One request whose answer has no end: reads it for as long as it comes, and counts bytes.
    pub(super) fn follow(mut self, path: &str, mut read: impl FnMut(usize)) -> io::Result<()> {
        let (status, _) = self.begin("GET", path, "")?;
        if status != 200 {
            return Err(io::Error::other(format!("GET {path}: {status}")));
        }
        let mut buffer = vec![0; 1 << 18];
        loop {
            match self.0.read(&mut buffer)? {
                0 => return Ok(()),
                length => read(length),
            }
        }
    }

    /// Ends a [`follow`](Self::follow) of a clone.
    pub(super) fn closer(&self) -> io::Result<UnixStream> {
        self.0.get_ref().try_clone()
    }

    /// Sends a request and reads the head of its answer: its status, and its length unless it
    /// comes in chunks.
    fn begin(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Option<usize>)> {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: portreeve\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no HTTP answer"))?;
        let mut length = Some(0);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                None => return Ok((status, length)),
                Some(("content-length", value)) => length = value.trim().parse().ok(),
                Some(("transfer-encoding", _)) => length = None,
                Some(_) => {}
            }
        }
    }

    /// Reads a chunk behind `body`; `false` at the last one.
    fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let line = self.line()?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + length, 0);
        self.0.read_exact(&mut body[start..])?;
        self.line()?;
        Ok(length != 0)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixListener, thread};

    #[test]
    fn answers_of_known_length_and_in_chunks() {
        let path = std::env::temp_dir().join(format!("portreeve-http-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("a socket");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut buffer = [0; 1024];
            for answer in [
                "HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\n",
            ] {
                let length = stream.read(&mut buffer).expect("a request");
                assert!(buffer[..length].starts_with(b"GET /x HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).expect("an answer");
            }
        });
        let mut connection = Connection::open(&path).expect("connected");
        for expected in [(201, "hello"), (200, "abcde"), (204, "")] {
            let answer = connection.ask("GET", "/x", "").expect("an answer");
            assert_eq!((answer.status, answer.body), (expected.0, expected.1.into()));
        }
        server.join().expect("the server");
        let _ = std::fs::remove_file(&path);
    }
}
