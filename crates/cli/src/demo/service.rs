//! What the guest's TCP ports do, without any socket: the guest in a namespace and the guest in
//! this process serve the same conversations.
//!
//! Owns the ports' numbers and the bytes on them. A service is asked what it has to say and where
//! to put what it hears; whoever holds the connection moves the bytes, and says everything before
//! it listens again.
//!
//! | port | the client says | the service answers |
//! |---|---|---|
//! | [`ECHO`] | anything | the same, piece by piece |
//! | [`SINK`] | `n`, then `n` bytes, then one byte | `n` when all are there; then their SHA-256 |
//! | [`SOURCE`] | `n` and a seed, then one byte | one byte when ready; then `n` bytes and their SHA-256 |
//! | [`HALF_CLOSE`] | anything, then ends its side | all of it, and nothing before |
//!
//! Numbers are 64-bit, little-endian.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::payload::{DIGEST_LEN, digest, fill};

/// Echoes, over UDP too.
pub(super) const ECHO: u16 = 7007;
/// Takes bytes.
pub(super) const SINK: u16 = 7009;
/// Gives bytes.
pub(super) const SOURCE: u16 = 7019;
/// Answers when the client has ended its side.
pub(super) const HALF_CLOSE: u16 = 7029;
/// Nobody listens here.
pub(super) const NOBODY: u16 = 7999;

/// Ports that a guest listens on.
pub(super) const PORTS: [u16; 4] = [ECHO, SINK, SOURCE, HALF_CLOSE];

/// The most that [`HALF_CLOSE`] keeps for its answer.
const HALF_CLOSE_LIMIT: usize = 16 << 20;
/// Bytes that [`ECHO`] takes before it gives them back.
const ECHO_PIECE: usize = 16 << 10;
/// Bytes that [`HALF_CLOSE`] takes at a time.
const HALF_CLOSE_PIECE: usize = 64 << 10;
/// The most that [`SINK`] and [`SOURCE`] move, whatever they are asked for.
const LARGEST: usize = 1 << 30;

/// The guest's end of one connection.
pub(super) trait Service: Send {
    /// What it has to say now. Nothing is to be read before all of it is sent.
    fn pending(&self) -> &[u8];

    /// So many bytes of [`pending`](Self::pending) were sent.
    fn sent(&mut self, count: usize);

    /// Where to put what the client says next. Never empty, unless the service is done.
    fn space(&mut self) -> &mut [u8];

    /// So many bytes were put into [`space`](Self::space).
    fn received(&mut self, count: usize);

    /// The client ended its side. With nothing pending after that, the connection is over.
    fn ended(&mut self) {}

    /// Whether the service ends its side itself, once nothing is pending.
    fn is_done(&self) -> bool {
        false
    }
}

/// The service on a port; `None` where nobody listens.
pub(super) fn start(port: u16, storage: &Storage) -> Option<Box<dyn Service>> {
    match port {
        ECHO => Some(Box::new(Echo { buffer: vec![0; ECHO_PIECE], from: 0, to: 0 })),
        SINK => Some(Box::new(Sink::new(storage))),
        SOURCE => Some(Box::new(Source::new(storage))),
        HALF_CLOSE => Some(Box::new(HalfClose::new())),
        _ => None,
    }
}

/// Memory for one bulk transfer, touched beforehand: a page fault for each 4 KiB would be measured
/// as if it were the network's.
#[derive(Clone)]
pub(super) struct Storage {
    buffer: Arc<Mutex<Vec<u8>>>,
}

impl Storage {
    pub(super) fn new(length: usize) -> Self {
        Self { buffer: Arc::new(Mutex::new(touched(length))) }
    }

    /// Memory of this length, made ready by `fill`, until what is returned is dropped.
    pub(super) fn borrow(&self, length: usize, fill: impl FnOnce(&mut [u8])) -> Borrowed {
        let length = length.min(LARGEST);
        let mut buffer = self.take(length);
        fill(&mut buffer[..length]);
        Borrowed { storage: self.clone(), buffer, length }
    }

    fn take(&self, length: usize) -> Vec<u8> {
        let mut buffer = mem::take(&mut *self.lock());
        if buffer.len() < length {
            buffer = touched(length);
        }
        buffer
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut kept = self.lock();
        if kept.len() < buffer.len() {
            *kept = buffer;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        // Whoever panicked with it left a vector of some length, which is all that is asked of it.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory of a [`Storage`], which gets it back.
pub(super) struct Borrowed {
    storage: Storage,
    buffer: Vec<u8>,
    length: usize,
}

impl std::ops::Deref for Borrowed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.storage.give_back(mem::take(&mut self.buffer));
    }
}

/// Memory that is there, not only promised.
pub(super) fn touched(length: usize) -> Vec<u8> {
    vec![0xa5; length]
}

struct Echo {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Service for Echo {
    fn pending(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    fn sent(&mut self, count: usize) {
        self.from += count;
    }

    fn space(&mut self) -> &mut [u8] {
        (self.from, self.to) = (0, 0);
        &mut self.buffer
    }

    fn received(&mut self, count: usize) {
        self.to = count;
    }
}

/// [`SINK`].
struct Sink {
    storage: Storage,
    request: [u8; 8],
    /// How much is to come, once the client has said so.
    length: Option<usize>,
    body: Vec<u8>,
    heard: usize,
    answer: Vec<u8>,
    said: usize,
    done: bool,
}

impl Sink {
    fn new(storage: &Storage) -> Self {
        Self {
            storage: storage.clone(),
            request: [0; 8],
            length: None,
            body: Vec::new(),
            heard: 0,
            answer: Vec::new(),
            said: 0,
            done: false,
        }
    }

    fn say(&mut self, answer: impl Into<Vec<u8>>) {
        (self.answer, self.said) = (answer.into(), 0);
    }
}

impl Service for Sink {
    fn pending(&self) -> &[u8] {
        &self.answer[self.said..]
    }

    fn sent(&mut self, count: usize) {
        self.said += count;
    }

    fn space(&mut self) -> &mut [u8] {
        match self.length {
            None => &mut self.request[self.heard..],
            Some(length) if self.heard < length => &mut self.body[self.heard..length],
            // The client's word that it wants the digest: any byte.
            Some(_) => &mut self.request[..1],
        }
    }

    fn received(&mut self, count: usize) {
        match self.length {
            None => {
                self.heard += count;
                if self.heard == self.request.len() {
                    let length = length(&self.request);
                    self.body = self.storage.take(length);
                    (self.length, self.heard) = (Some(length), 0);
                }
            }
            Some(length) if self.heard < length => {
                self.heard += count;
                if self.heard == length {
                    self.say(self.request);
                }
            }
            Some(length) => {
                self.say(digest(&self.body[..length]));
                self.done = true;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.storage.give_back(mem::take(&mut self.body));
    }
}

/// [`SOURCE`].
struct Source {
    storage: Storage,
    request: [u8; 16],
    heard: usize,
    body: Vec<u8>,
    length: usize,
    digest: [u8; DIGEST_LEN],
    stage: Stage,
    said: usize,
}

/// Where [`SOURCE`] stands.
#[derive(Clone, Copy)]
enum Stage {
    /// The client says how much it wants, and of what.
    Request,
    /// It is there; the client says when.
    Ready,
    /// The bytes, then their digest.
    Body,
}

impl Source {
    fn new(storage: &Storage) -> Self {
        Self {
            storage: storage.clone(),
            request: [0; 16],
            heard: 0,
            body: Vec::new(),
            length: 0,
            digest: [0; DIGEST_LEN],
            stage: Stage::Request,
            said: 0,
        }
    }
}

impl Service for Source {
    fn pending(&self) -> &[u8] {
        match self.stage {
            Stage::Request => &[],
            Stage::Ready => &[1][self.said..],
            Stage::Body if self.said < self.length => &self.body[self.said..self.length],
            Stage::Body => &self.digest[self.said - self.length..],
        }
    }

    fn sent(&mut self, count: usize) {
        self.said += count;
    }

    fn space(&mut self) -> &mut [u8] {
        match self.stage {
            Stage::Request => &mut self.request[self.heard..],
            Stage::Ready => &mut self.request[..1],
            Stage::Body => &mut [],
        }
    }

    fn received(&mut self, count: usize) {
        match self.stage {
            Stage::Request => {
                self.heard += count;
                if self.heard == self.request.len() {
                    self.length = length(&self.request);
                    self.body = self.storage.take(self.length);
                    fill(&mut self.body[..self.length], word(&self.request[8..]));
                    self.digest = digest(&self.body[..self.length]);
                    self.stage = Stage::Ready;
                }
            }
            Stage::Ready => (self.stage, self.said) = (Stage::Body, 0),
            Stage::Body => {}
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Body)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.storage.give_back(mem::take(&mut self.body));
    }
}

/// [`HALF_CLOSE`].
struct HalfClose {
    piece: Vec<u8>,
    heard: Vec<u8>,
    /// How much of what was heard is to be said now: nothing, until the client has ended.
    to_say: usize,
    said: usize,
}

impl HalfClose {
    fn new() -> Self {
        Self { piece: vec![0; HALF_CLOSE_PIECE], heard: Vec::new(), to_say: 0, said: 0 }
    }
}

impl Service for HalfClose {
    fn pending(&self) -> &[u8] {
        &self.heard[self.said..self.to_say]
    }

    fn sent(&mut self, count: usize) {
        self.said += count;
    }

    fn space(&mut self) -> &mut [u8] {
        &mut self.piece
    }

    fn received(&mut self, count: usize) {
        let room = HALF_CLOSE_LIMIT - self.heard.len();
        self.heard.extend_from_slice(&self.piece[..count.min(room)]);
    }

    fn ended(&mut self) {
        self.to_say = self.heard.len();
    }
}

/// The length that a request begins with.
fn length(request: &[u8]) -> usize {
    usize::try_from(word(request)).unwrap_or(usize::MAX).min(LARGEST)
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says `words` in pieces of `piece` bytes and returns all that was answered.
    fn converse(port: u16, words: &[&[u8]], piece: usize) -> Vec<u8> {
        let mut service = start(port, &Storage::new(100)).unwrap();
        let mut answer = Vec::new();
        let mut listen = |service: &mut dyn Service| {
            while !service.pending().is_empty() {
                let count = service.pending().len().min(piece);
                answer.extend_from_slice(&service.pending()[..count]);
                service.sent(count);
            }
        };
        for mut words in words.iter().copied() {
            while !words.is_empty() {
                let space = service.space();
                let count = space.len().min(words.len()).min(piece);
                assert_ne!(count, 0);
                space[..count].copy_from_slice(&words[..count]);
                service.received(count);
                words = &words[count..];
                listen(&mut *service);
            }
        }
        if !service.is_done() {
            service.ended();
            listen(&mut *service);
        }
        answer
    }

    fn content(length: usize, seed: u64) -> Vec<u8> {
        let mut content = vec![0; length];
        fill(&mut content, seed);
        content
    }

    #[test]
    fn each_service_keeps_its_protocol() {
        let body = content(1000, 3);
        let length = 1000_u64.to_le_bytes();
        for piece in [1, 7, 100_000] {
            assert_eq!(converse(ECHO, &[&body], piece), body);

            let answer = converse(SINK, &[&length, &body, &[0]], piece);
            assert_eq!(answer[..8], length);
            assert_eq!(answer[8..], digest(&body));

            let answer = converse(SOURCE, &[&length, &3_u64.to_le_bytes(), &[0]], piece);
            assert_eq!(answer[0], 1);
            assert_eq!(answer[1..1001], body);
            assert_eq!(answer[1001..], digest(&body));

            assert_eq!(converse(HALF_CLOSE, &[&body], piece), body);
        }
    }

    #[test]
    fn a_client_that_leaves_early_gets_nothing() {
        let length = 1000_u64.to_le_bytes();
        for port in [SINK, SOURCE] {
            assert_eq!(converse(port, &[&length[..5]], 100), b"");
        }
        assert_eq!(converse(SINK, &[&length, &[0; 999]], 100), b"");
        assert!(start(NOBODY, &Storage::new(0)).is_none());
    }

    #[test]
    fn nothing_is_said_before_the_client_has_ended() {
        let mut service = start(HALF_CLOSE, &Storage::new(0)).unwrap();
        service.space()[..3].copy_from_slice(b"abc");
        service.received(3);
        assert_eq!(service.pending(), b"");
        service.ended();
        assert_eq!(service.pending(), b"abc");
    }

    #[test]
    fn storage_is_used_again_and_never_shared() {
        let storage = Storage::new(64);
        let mut first = storage.take(64);
        first[0] = 1;
        let second = storage.take(10);
        assert_eq!(second, touched(10));
        storage.give_back(first);
        storage.give_back(second);
        assert_eq!(storage.take(64)[0], 1, "the larger one was kept");
    }
}
