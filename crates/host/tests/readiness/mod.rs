//! Waiting for non-blocking sockets in tests, each time for ten seconds at most.
//!
//! Owns the polling; checks nothing else.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

const LIMIT: Duration = Duration::from_secs(10);

/// Waits until the descriptor shows one of `flags`.
pub(crate) fn wait(fd: &impl AsFd, flags: PollFlags) {
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    let mut fds = [PollFd::new(fd, flags)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&limit)));
    assert_eq!(ready.unwrap(), 1, "nothing came");
}

pub(crate) fn wait_readable(fd: &impl AsFd) {
    wait(fd, PollFlags::IN);
}

pub(crate) fn wait_writable(fd: &impl AsFd) {
    wait(fd, PollFlags::OUT);
}

/// Repeats a call that would block until the descriptor can be read.
pub(crate) fn when_readable<T>(
    fd: &impl AsFd,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_readable(fd),
            result => return result,
        }
    }
}

/// Waits for something the kernel does in its own time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says why a test cannot run here; panics if the environment asks for every test.
pub(crate) fn skip(reason: &str) {
    let required = std::env::var_os("PORTREEVE_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "every test is required to run: {reason}");
    #[expect(clippy::print_stderr, reason = "where a test says why it did not run")]
    {
        eprintln!("skipped: {reason}");
    }
}

/// Whether the host has an IPv6 loopback.
pub(crate) fn has_ipv6() -> bool {
    let has = std::net::TcpListener::bind("[::1]:0").is_ok();
    if !has {
        skip("the host has no IPv6 loopback");
    }
    has
}
