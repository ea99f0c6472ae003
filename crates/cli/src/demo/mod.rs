//! `portreeve demo`: a server in a guest, a client outside, and everything a published port
//! promises between them, measured; then the guest calls, and is answered or shut out.
//!
//! Owns the order of it. The same executable is the guest's server (`__demo-guest`); where this
//! machine lets nobody make network namespaces, the guest is a TCP/IP stack in this process.
//!
//! - `guest_process`, `in_process_guest`: the two guests; `service`: what both serve
//! - `network`: an engine, one of the guests, the published ports
//! - `checks` and the files it names: the client's side, one kind of check a file
//! - `screen`: all that is printed

mod bulk;
mod calls;
mod checks;
mod connections;
mod datagrams;
mod guest_process;
mod in_process_guest;
mod network;
mod payload;
mod screen;
mod service;

use std::time::Instant;

use crate::args::DemoArgs;
use crate::report::Failure;
use checks::Client;
use network::{Network, loopback_families};
use screen::Screen;

pub(crate) use guest_process::serve as serve_as_guest;

/// How much is moved.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Each bulk transfer over TCP, in bytes.
    bulk: usize,
    /// The full-duplex echo, in bytes each way.
    echo: usize,
    /// What is said before a half-close, in bytes.
    half_close: usize,
    /// Datagrams each way.
    datagrams: u32,
    /// Clients at once.
    clients: u32,
    /// Questions about a name.
    questions: u32,
}

impl Sizes {
    const FULL: Self = Self {
        bulk: 64 << 20,
        echo: 16 << 20,
        half_close: 4 << 20,
        datagrams: 10_000,
        clients: 200,
        questions: 20_000,
    };
    /// Enough to go through every part of it, for tests of unoptimised builds.
    const QUICK: Self = Self {
        bulk: 4 << 20,
        echo: 1 << 20,
        half_close: 512 << 10,
        datagrams: 500,
        clients: 20,
        questions: 500,
    };
}

/// Socket buffers of the full-duplex echo, in bytes, at both ends: far less than what is under
/// way, so that each side soon has to wait for the other.
const SMALL_BUFFER: usize = 16 << 10;

/// Runs the demonstration. The exit code is 0 when every check passed, and 1 otherwise.
pub(crate) fn run(args: &DemoArgs) -> Result<u8, Failure> {
    let started = Instant::now();
    let sizes = if args.quick { Sizes::QUICK } else { Sizes::FULL };
    let families = loopback_families()?;
    let mut screen = Screen::new();
    // Before the first thread: a guest in namespaces is forked.
    let mut network = Network::set_up(args.in_process, &families, sizes.bulk, &mut screen)?;
    screen.introduce(&network, &families);
    let in_process = network.is_in_process();
    let checks = checks::all(&sizes, !in_process);
    let mut client = Client::new(sizes, &mut network);
    screen.begin(checks.len() * families.len());
    let mut failed = 0;
    for check in &checks {
        for &family in &families {
            screen.start(check, family);
            let outcome = (check.run)(&mut client, family, &screen);
            failed += usize::from(outcome.is_err());
            screen.finish(check, family, &outcome);
        }
    }
    network.take_down();
    screen.conclude(checks.len() * families.len(), failed, started.elapsed());
    if !in_process {
        // What would not work without namespaces is not proposed.
        screen.suggest();
    }
    Ok(u8::from(failed != 0))
}
