//! The library with a TAP: a guest and an engine in this process.
//!
//! Never goes through the command line.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use portreeve::{Addressing, Engine, EngineBuilder, Limits, Tap, free_addressing};
use portreeve_sandbox::{Running, Sandbox, SandboxOptions};
use rustix::fs::Mode;

use crate::calls::{Caller, Calls};
use crate::lines::Lines;
use crate::machine::{DEADLINE, skip};
use crate::network::Family;
use crate::program;
use crate::run::open_directory;

/// A guest that runs services, and the engine that serves it.
pub struct Guest {
    /// The engine.
    pub engine: Engine,
    /// What the guest's program prints.
    pub out: Lines,
    /// The guest; dropped, it is gone.
    pub running: Running,
    orders: File,
    calls: Calls,
    _directory: tempfile::TempDir,
}

impl Caller for Guest {
    fn orders(&self) -> impl std::io::Write {
        &self.orders
    }

    fn lines(&self) -> &Lines {
        &self.out
    }

    fn calls(&self) -> &Calls {
        &self.calls
    }

    fn words(&self) -> String {
        self.out.so_far()
    }
}

impl Guest {
    /// Starts both; `None`, said aloud, where this process may not.
    pub fn serve(limits: Limits, services: &[&str]) -> Option<Self> {
        Self::serve_by(|builder| builder.limits(limits), services)
    }

    /// The same, with an engine built as wanted.
    pub fn serve_by(
        build: impl FnOnce(EngineBuilder) -> EngineBuilder,
        services: &[&str],
    ) -> Option<Self> {
        let addressing = free_addressing();
        let mut prepared = Prepared::new(&addressing, services)?;
        let tap = prepared.take_tap();
        let engine = build(Engine::builder().link(tap).addressing(addressing));
        let engine = engine.start().unwrap();
        let Started { out, running, orders, directory } = prepared.start();
        Some(Self { engine, out, running, orders, calls: Calls::default(), _directory: directory })
    }

    /// Publishes a port and returns its loopback addresses, IPv4 first.
    pub fn publish(&self, spec: &str) -> Vec<SocketAddr> {
        let ports = self.engine.publish_spec(&spec.parse().unwrap()).unwrap();
        ports.iter().filter_map(|port| port.host.socket_addr()).collect()
    }

    /// The published address of a family.
    pub fn of(ports: &[SocketAddr], family: Family) -> SocketAddr {
        *ports.iter().find(|port| family.has(port.ip())).expect("published on both")
    }
}

/// The guest's program in a namespace with a TAP, before anything serves it.
pub(crate) struct Prepared {
    sandbox: Sandbox,
    pipes: [PathBuf; 2],
    directory: tempfile::TempDir,
}

/// The same, running.
pub(crate) struct Started {
    pub(crate) out: Lines,
    pub(crate) running: Running,
    pub(crate) orders: File,
    pub(crate) directory: tempfile::TempDir,
}

impl Prepared {
    /// `None`, said aloud, where this process may not.
    pub(crate) fn new(addressing: &Addressing, services: &[&str]) -> Option<Self> {
        let missing = portreeve_sandbox::probe().into_iter().find(|finding| !finding.ok);
        if let Some(missing) = missing {
            skip(&format!("guests of this process: {}: {}", missing.what, missing.why));
            return None;
        }
        let directory = open_directory();
        let pipes = ["out", "orders"].map(|name| directory.path().join(name));
        for pipe in &pipes {
            rustix::fs::mkfifoat(rustix::fs::CWD, pipe, Mode::from_raw_mode(0o600)).unwrap();
        }
        // The guest has this process's standard output, which is not to be read.
        let words = [
            "sh".into(),
            "-c".into(),
            "exec >\"$0\" <\"$1\"; shift; exec \"$@\"".into(),
            pipes[0].clone().into_os_string(),
            pipes[1].clone().into_os_string(),
            program::guest().into_os_string(),
            "serve".into(),
            "stay".into(),
        ];
        let services = services.iter().map(Into::into);
        let mut options = SandboxOptions::new(words.into_iter().chain(services));
        options.addressing = addressing.clone();
        let sandbox = Sandbox::prepare(options).unwrap();
        Some(Self { sandbox, pipes, directory })
    }

    pub(crate) fn take_tap(&mut self) -> Tap {
        Tap::from_fd(self.sandbox.take_tap().unwrap()).unwrap()
    }

    /// Waits until the services listen.
    pub(crate) fn start(self) -> Started {
        let running = self.sandbox.start().unwrap();
        let out = Lines::of(File::open(&self.pipes[0]).unwrap());
        let orders = File::options().write(true).open(&self.pipes[1]).unwrap();
        assert!(out.find_within(DEADLINE, |line| line == "listening").is_ok(), "{out:?}");
        Started { out, running, orders, directory: self.directory }
    }
}
