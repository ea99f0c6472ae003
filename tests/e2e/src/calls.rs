//! Asking the guest's program to do something, and its answers.
//!
//! What can be asked is listed in `src/guest/calls`. Any number of calls may be under way.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lines::Lines;
use crate::machine::DEADLINE;

/// The calls of one guest.
#[derive(Debug, Default)]
pub struct Calls {
    last: AtomicU64,
    answered: Mutex<BTreeMap<u64, String>>,
}

/// A call under way.
#[derive(Clone, Copy, Debug)]
#[must_use = "its answer tells what came of it"]
pub struct Call(u64);

/// A guest that takes orders.
pub trait Caller {
    /// Where orders go.
    fn orders(&self) -> impl Write;
    /// What the guest's program prints.
    fn lines(&self) -> &Lines;
    /// The calls made until now.
    fn calls(&self) -> &Calls;
    /// Whatever may explain a failure.
    fn words(&self) -> String;

    /// Begins a call.
    fn begin(&self, order: &str) -> Call {
        let id = self.calls().last.fetch_add(1, Ordering::Relaxed);
        self.orders().write_all(format!("do {id} {order}\n").as_bytes()).unwrap();
        Call(id)
    }

    /// Waits for its answer.
    fn answer(&self, call: Call) -> String {
        let Call(id) = call;
        loop {
            let mut answered = self.calls().answered.lock().unwrap();
            if let Some(answer) = answered.remove(&id) {
                return answer;
            }
            let line = self.lines().find_within(2 * DEADLINE, |line| line.starts_with("= "));
            let line = line.unwrap_or_else(|_| panic!("no answer {id}: {}", self.words()));
            let mut words = line.splitn(3, ' ').skip(1);
            let other = words.next().and_then(|id| id.parse().ok()).expect("a number");
            answered.insert(other, words.next().unwrap_or_default().to_owned());
        }
    }

    /// Makes a call.
    fn ask(&self, order: &str) -> String {
        self.answer(self.begin(order))
    }

    /// Makes a call whose answer ends in milliseconds, and returns both apart.
    fn ask_timed(&self, order: &str) -> (String, u64) {
        split(&self.ask(order))
    }

    /// Makes a call, which must have this answer.
    #[track_caller]
    fn expect(&self, order: &str, wanted: &str) {
        let answer = self.ask(order);
        assert!(answer == wanted, "{order}: {answer}, not {wanted}\n{}", self.words());
    }
}

/// An outcome and its milliseconds.
pub fn split(answer: &str) -> (String, u64) {
    let parts = answer.rsplit_once(' ');
    let parts = parts.and_then(|(outcome, ms)| Some((outcome.to_owned(), ms.parse().ok()?)));
    parts.unwrap_or_else(|| panic!("{answer}: no time"))
}

/// An error by its name in errno(3), as far as a network has it.
pub fn errno(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "ECONNREFUSED",
        Some(libc::ECONNRESET) => "ECONNRESET",
        Some(libc::ECONNABORTED) => "ECONNABORTED",
        Some(libc::EHOSTUNREACH) => "EHOSTUNREACH",
        Some(libc::ENETUNREACH) => "ENETUNREACH",
        Some(libc::ETIMEDOUT) => "ETIMEDOUT",
        Some(libc::EMSGSIZE) => "EMSGSIZE",
        Some(libc::EPIPE) => "EPIPE",
        Some(libc::EAGAIN) => "timeout",
        Some(libc::EACCES) => "EACCES",
        Some(libc::EPERM) => "EPERM",
        Some(libc::EPROTO) => "EPROTO",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::EADDRNOTAVAIL) => "EADDRNOTAVAIL",
        Some(libc::ENETDOWN) => "ENETDOWN",
        _ if error.kind() == io::ErrorKind::TimedOut => "timeout",
        _ => return format!("{:?}", error.to_string()),
    };
    name.to_owned()
}
