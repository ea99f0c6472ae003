//! What a process prints, line by line, while it runs.
//!
//! Owns a thread that reads a pipe to its end, so that nobody is held up by a full one.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A pipe's lines.
#[derive(Debug)]
pub struct Lines {
    lines: Receiver<String>,
    /// Everything so far, for the words of a failure.
    said: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    /// Begins to read.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        let said = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                all.lock().unwrap().push(line.clone());
                // Nobody may wait for lines any more; the pipe is read on all the same.
                let _ = sender.send(line);
            }
        });
        Self { lines, said }
    }

    /// The first line from here on for which `wanted` holds.
    pub fn find_within(
        &self,
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, RecvTimeoutError> {
        let until = Instant::now() + timeout;
        loop {
            let line = self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))?;
            if wanted(&line) {
                return Ok(line);
            }
        }
    }

    /// Waits for the end of the pipe and returns all that was printed from the beginning.
    ///
    /// # Panics
    /// When somebody still holds the other end.
    pub fn to_end(&self, timeout: Duration) -> String {
        let end = self.find_within(timeout, |_| false);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected), "a process outlives its end");
        self.so_far()
    }

    /// All that was printed until now.
    pub fn so_far(&self) -> String {
        let said = self.said.lock().unwrap();
        said.iter().map(|line| format!("{line}\n")).collect()
    }
}
