//! Answers that go on: events and captured frames.
//!
//! Owns cutting a stream into lines, and how long a reader waits. A stream is closed when it is
//! dropped; the engine notices and stops.

use std::fmt;
use std::io::{self, Read};
use std::iter::FusedIterator;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use portreeve_types::api::{EventBody, EventRecord};
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::options::EventFilter;

/// The most bytes of one line. An event has some hundreds; a reload may name many settings.
const MAX_LINE: usize = 1 << 20;

/// Events of an engine, as they happen. Blocks until there is one; ends when the engine does, or
/// when what was kept has been read and [`EventFilter::follow`] is off. After an error it has
/// ended too, and [`resume`](Self::resume) goes on.
pub struct Events {
    client: Client,
    filter: EventFilter,
    exchange: Option<Exchange>,
    /// What has come and is no whole line yet, or is lines that nobody has taken.
    received: BytesMut,
    /// Bytes of `received` in which there is no line end.
    searched: usize,
}

/// A capture: the bytes of a pcapng file, as frames come. Reading blocks until there are some, or
/// as long as [`set_timeout`](Self::set_timeout) says.
pub struct Capture {
    client: Client,
    exchange: Exchange,
    received: Bytes,
    timeout: Option<Duration>,
    over: bool,
}

impl Events {
    pub(crate) fn begin(client: Client, filter: EventFilter) -> Result<Self, Error> {
        let mut events =
            Self { client, filter, exchange: None, received: BytesMut::new(), searched: 0 };
        events.resume()?;
        Ok(events)
    }

    /// Asks again, for what happened behind the last event that was read; where none was, for what
    /// happens from now on. What the engine no longer keeps is told by one [`EventBody::Lost`].
    ///
    /// # Errors
    /// Whatever a request can fail with; above all that the engine is gone.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.end();
        let exchange = self.client.begin_stream(self.filter.target())?;
        exchange.expect("application/x-ndjson")?;
        self.exchange = Some(exchange);
        Ok(())
    }

    /// The sequence number of the last event that was read, or that was given to read behind.
    pub const fn last_seq(&self) -> Option<u64> {
        self.filter.since
    }

    /// The next event if it comes within the time; [`Poll::Pending`] if none does.
    pub fn next_timeout(&mut self, wait: Duration) -> Poll<Option<Result<EventRecord, Error>>> {
        self.wait(Some(wait))
    }

    fn wait(&mut self, wait: Option<Duration>) -> Poll<Option<Result<EventRecord, Error>>> {
        let client = self.client.clone();
        let next = client.block_on(async {
            match wait {
                None => Poll::Ready(self.next_record().await),
                // What has been received stays where it is if the time is over.
                Some(wait) => match tokio::time::timeout(wait, self.next_record()).await {
                    Ok(next) => Poll::Ready(next),
                    Err(_) => Poll::Pending,
                },
            }
        });
        match &next {
            Poll::Ready(Some(Ok(record))) => self.filter.since = Some(record.seq),
            Poll::Ready(_) => self.end(),
            Poll::Pending => {}
        }
        next
    }

    async fn next_record(&mut self) -> Option<Result<EventRecord, Error>> {
        loop {
            let exchange = self.exchange.as_mut()?;
            if let Some(line) = take_line(&mut self.received, &mut self.searched) {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                match record(&line) {
                    Ok(Some(record)) => return Some(Ok(record)),
                    // A kind that a later version has added.
                    Ok(None) => continue,
                    Err(error) => return Some(Err(exchange.protocol(error.to_string()))),
                }
            }
            if self.received.len() > MAX_LINE {
                let request = exchange.request().shown();
                return Some(Err(Error::TooLarge { request, limit: MAX_LINE }));
            }
            match exchange.piece().await {
                Some(Ok(piece)) => self.received.extend_from_slice(&piece),
                Some(Err(error)) => return Some(Err(error)),
                None if self.received.is_empty() => return None,
                None => return Some(Err(exchange.protocol("the last line has no end"))),
            }
        }
    }

    fn end(&mut self) {
        self.exchange = None;
        self.received.clear();
        self.searched = 0;
    }
}

impl Iterator for Events {
    type Item = Result<EventRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.wait(None) {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }
}

impl FusedIterator for Events {}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Capture {
    pub(crate) fn new(client: Client, exchange: Exchange) -> Self {
        Self { client, exchange, received: Bytes::new(), timeout: None, over: false }
    }

    /// How long a read waits before it fails with [`io::ErrorKind::TimedOut`], after which it may
    /// be tried again: nothing is lost. `None`, as at first: for ever.
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }
}

impl Read for Capture {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.received.is_empty() && !self.over {
            let Self { client, exchange, timeout, .. } = self;
            let piece = client.block_on(async {
                match *timeout {
                    None => Ok(exchange.piece().await),
                    Some(wait) => tokio::time::timeout(wait, exchange.piece()).await,
                }
            });
            match piece {
                Ok(Some(Ok(piece))) => self.received = piece,
                Ok(Some(Err(error))) => {
                    self.over = true;
                    return Err(io::Error::other(error));
                }
                Ok(None) => self.over = true,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        let length = buffer.len().min(self.received.len());
        self.received.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("over", &self.over).finish_non_exhaustive()
    }
}

/// The first whole line, without its end.
fn take_line(received: &mut BytesMut, searched: &mut usize) -> Option<BytesMut> {
    let Some(at) = received[*searched..].iter().position(|&byte| byte == b'\n') else {
        *searched = received.len();
        return None;
    };
    let mut line = received.split_to(*searched + at + 1);
    line.truncate(line.len() - 1);
    *searched = 0;
    Some(line)
}

/// What a line says; `None` if it is of a kind that is not known here.
fn record(line: &[u8]) -> Result<Option<EventRecord>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    match serde_json::from_slice(line) {
        Ok(record) => Ok(Some(record)),
        Err(error) => match serde_json::from_slice::<Kind>(line) {
            Ok(Kind { kind }) if !EventBody::KINDS.contains(&kind.as_str()) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_pieces_were() {
        let (mut received, mut searched) = (BytesMut::new(), 0);
        let mut lines = Vec::new();
        for piece in ["a", "b\nc\n", "\n", "de", "f\ng"] {
            received.extend_from_slice(piece.as_bytes());
            while let Some(line) = take_line(&mut received, &mut searched) {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        assert_eq!(lines, ["ab", "c", "", "def"]);
        assert_eq!(&received[..], b"g");
    }

    #[test]
    fn a_kind_of_a_later_version_is_passed_over_and_a_broken_line_is_not() {
        let time = r#""time":"1970-01-01T00:00:00Z""#;
        let known = format!(r#"{{"seq":1,{time},"kind":"link_up","more":1}}"#);
        assert_eq!(record(known.as_bytes()).unwrap().unwrap().body, EventBody::LinkUp);
        let later = format!(r#"{{"seq":1,{time},"kind":"moon_up"}}"#);
        assert!(record(later.as_bytes()).unwrap().is_none());
        for broken in ["{", "[]", r#"{"kind":"link_up"}"#, r#"{"seq":1}"#] {
            assert!(record(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
