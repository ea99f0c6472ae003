//! `portreeve serve`, started and watched.
//!
//! Owns the process and a directory for its sockets; both go with the test that made them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::lines::Lines;
use crate::machine::{DEADLINE, eventually};
use crate::network::Family;
use crate::program;
use crate::run::open_directory;

/// A `portreeve serve` under way.
#[derive(Debug)]
pub struct Serve {
    child: Child,
    /// What it prints.
    pub err: Lines,
    directory: TempDir,
}

impl Serve {
    /// Starts it. `{}` in an option is a directory of its own.
    pub fn start(options: &[&str]) -> Self {
        let directory = open_directory();
        let place = directory.path().to_str().expect("UTF-8");
        let mut command = Command::new(program::portreeve());
        // Names are this test's own: others run beside it.
        command.env("PORTREEVE_RUNTIME_DIR", directory.path().join("engines"));
        command.arg("serve").args(options.iter().map(|option| option.replace("{}", place)));
        Self::spawn(command, directory)
    }

    /// Starts a whole command, whose directory is this.
    pub fn spawn(mut command: Command, directory: TempDir) -> Self {
        command.stdin(Stdio::null());
        Self::spawn_as_given(command, directory)
    }

    /// The same, with the standard input that the command has.
    pub fn spawn_as_given(mut command: Command, directory: TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let err = Lines::of(child.stderr.take().expect("piped"));
        Self { child, err, directory }
    }

    /// Starts it, and waits until it has published this port.
    pub fn up(options: &[&str], port: &str) -> Self {
        let serve = Self::start(options);
        serve.published(port, Family::V4);
        serve
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where a guest's port, as in `80/tcp`, is published on loopback.
    pub fn published(&self, port: &str, family: Family) -> SocketAddr {
        let started = Instant::now();
        let prefix = format!("{port} -> ");
        loop {
            let err = self.err.so_far();
            let of_port = err.lines().filter_map(|line| line.strip_prefix(&prefix));
            let mut addresses = of_port.filter_map(|address| address.parse().ok());
            if let Some(address) = addresses.find(|at: &SocketAddr| family.has(at.ip())) {
                return address;
            }
            assert!(started.elapsed() < DEADLINE, "{port} is not published: {err}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Waits for something that it says.
    pub fn hear(&self, wanted: &str) -> String {
        let heard = self.err.find_within(DEADLINE, |line| line.contains(wanted));
        heard.unwrap_or_else(|_| panic!("no `{wanted}`: {}", self.err.so_far()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Waits for its end: the exit code, and all that it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        eventually("portreeve ends", || {
            status = self.ended();
            status.is_some()
        });
        (status.and_then(|status| status.code()), self.err.to_end(DEADLINE))
    }

    /// Ends it in order.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        let (code, err) = self.end();
        assert_eq!(code, Some(0), "{err}");
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.err.so_far());
        }
    }
}
