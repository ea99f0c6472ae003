//! What the guest's program does of its own accord: one call, one answer.
//!
//! An order `do ID KIND WHAT WORD… [KEY=VALUE]…` runs on a thread of its own and is answered by
//! `= ID RESULT`, where the result is what a program would have seen: byte counts, the order of
//! ends, the name of an errno. The kinds are `tcp`, `udp`, `icmp`, `raw` and `name`; each file
//! lists what it can do. A call may also be the whole program: `portreeve-e2e-guest call KIND …`.

mod icmp;
mod name;
mod raw;
mod tcp;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

pub(crate) use portreeve_e2e::calls::errno;
use portreeve_e2e::machine::DEADLINE;

/// The words of an order.
pub(crate) struct Words {
    plain: Vec<String>,
    named: BTreeMap<String, String>,
}

impl Words {
    fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut plain, mut named) = (Vec::new(), BTreeMap::new());
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => drop(named.insert(key.to_owned(), value.to_owned())),
                None => plain.push(word.to_owned()),
            }
        }
        Self { plain, named }
    }

    /// The word at a place, the kind being 0.
    fn text(&self, at: usize) -> &str {
        self.plain.get(at).unwrap_or_else(|| panic!("{:?}: too short", self.plain))
    }

    fn parsed<T: FromStr>(&self, at: usize) -> T {
        let text = self.text(at);
        text.parse().unwrap_or_else(|_| panic!("{text}: not what is wanted"))
    }

    /// An address and a port, or a name and a port.
    fn address(&self) -> SocketAddr {
        let text = self.text(2);
        text.parse().unwrap_or_else(|_| {
            let found = text.to_socket_addrs().map(|mut found| found.next());
            found.ok().flatten().unwrap_or_else(|| panic!("{text}: no such name"))
        })
    }

    fn number(&self, at: usize) -> u64 {
        self.parsed(at)
    }

    fn has(&self, word: &str) -> bool {
        self.plain.iter().any(|plain| plain == word)
    }

    fn named<T: FromStr>(&self, key: &str) -> Option<T> {
        let value = self.named.get(key)?;
        Some(value.parse().unwrap_or_else(|_| panic!("{key}={value}: not what is wanted")))
    }

    fn milliseconds(&self, key: &str) -> Option<Duration> {
        self.named(key).map(Duration::from_millis)
    }
}

/// Carries out an order in the background.
pub(crate) fn begin(order: &str) {
    let order = order.to_owned();
    let small = std::thread::Builder::new().stack_size(512 << 10);
    let call = move || {
        let (id, words) = order.split_once(' ').unwrap();
        // A guest that leaves takes its standard output along; whoever asked has heard enough.
        let result = call(words.split(' '));
        println!("= {id} {result}");
    };
    small.spawn(call).unwrap();
}

/// A call as the whole program.
pub(crate) fn run(words: &[String]) -> ExitCode {
    println!("{}", call(words.iter().map(String::as_str)));
    ExitCode::SUCCESS
}

fn call<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words = Words::new(words);
    let result = match words.text(0) {
        "tcp" => tcp::call(&words),
        "udp" => udp::call(&words),
        "icmp" => icmp::call(&words),
        "raw" => raw::call(&words),
        "name" => name::call(&words),
        kind => panic!("{kind}: no such kind of call"),
    };
    result.unwrap_or_else(|error| errno(&error))
}

/// An outcome, and how long it took: `OUTCOME MS`.
fn timed(started: Instant, outcome: &str) -> String {
    format!("{outcome} {}", started.elapsed().as_millis())
}

/// The address that stands for all of the same family.
fn any(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { [0_u8; 4].into() } else { [0_u16; 8].into() }
}

/// How long a call waits for anything if it does not say.
const PATIENCE: Duration = DEADLINE;
