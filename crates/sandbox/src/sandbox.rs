//! A guest that is set up and waits for its command to be started.
//!
//! Connects the parts; the work is in `guest`, `init` and `running`.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::channel::Step;
use crate::error::{Error, Warning};
use crate::guest::{Guest, Made};
use crate::job_control::JobControl;
use crate::options::SandboxOptions;
use crate::plan::Plan;
use crate::running::{Forwarding, Running};

/// A guest that is set up: namespaces, TAP, addresses, routes and resolver file are in place and
/// its command waits for [`Sandbox::start`]. Dropping it takes everything away again.
#[derive(Debug)]
pub struct Sandbox {
    guest: Guest,
    tap: Option<OwnedFd>,
    job: Option<JobControl>,
    signals: Option<Forwarding>,
    warnings: Vec<Warning>,
    options: SandboxOptions,
}

impl Sandbox {
    /// Sets a guest up, and returns when it is ready.
    ///
    /// Forks: see the crate's documentation. With `terminal` or `forward_signals` it also blocks
    /// signals in the calling thread, so it should be called by the main thread before there are
    /// others.
    ///
    /// # Errors
    /// Says which step failed and, through [`Error::help`], what to do about it. Nothing
    /// half-made stays.
    pub fn prepare(options: SandboxOptions) -> Result<Self, Error> {
        let job = if options.terminal { JobControl::new() } else { None };
        let plan = Plan::new(&options, job.as_ref().and_then(JobControl::terminal))?;
        let forward = options.terminal || options.forward_signals;
        let signals = if forward { Some(Forwarding::begin()?) } else { None };
        let Made { guest, tap, warnings } = Guest::make(&plan)?;
        for warning in &warnings {
            tracing::warn!(%warning, "the guest is set up with less than wanted");
        }
        tracing::debug!(init = guest.init.as_raw_nonzero().get(), "guest ready");
        Ok(Self { guest, tap: Some(tap), job, signals, warnings, options })
    }

    /// Lets the command run.
    ///
    /// # Errors
    /// If it cannot be executed; [`Error::exit_code`] is then 126 or 127.
    pub fn start(self) -> Result<Running, Error> {
        let Self { guest, tap, job, signals, warnings: _, options } = self;
        Running::start(guest, tap, job, signals, |step, source| {
            let command = options.command.into_iter().next().unwrap_or_default();
            match step {
                Step::WorkingDirectory => {
                    Error::WorkingDirectory { path: options.cwd.unwrap_or_default(), source }
                }
                Step::Execute if source.raw_os_error() == Some(libc::ENOENT) => {
                    Error::CommandNotFound { command, source }
                }
                Step::Execute => Error::CommandNotExecutable { command, source },
                _ => Error::Setup { step, detail: String::new(), source },
            }
        })
    }

    /// The TAP's queue: Ethernet frames, each behind a virtio-net header of
    /// [`VNET_HEADER_LEN`](crate::VNET_HEADER_LEN) bytes. Blocking; offloads are as the kernel
    /// sets them, off. `None` once it was taken.
    pub fn tap_fd(&self) -> Option<BorrowedFd<'_>> {
        self.tap.as_ref().map(|tap| tap.as_fd())
    }

    /// Takes over the TAP. The device is gone when this descriptor is closed.
    pub fn take_tap(&mut self) -> Option<OwnedFd> {
        self.tap.take()
    }

    /// The guest's network namespace.
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.guest.network.as_fd()
    }

    /// The process id of the guest's init, as seen from outside.
    pub fn guest_pid(&self) -> i32 {
        self.guest.init.as_raw_nonzero().get()
    }

    /// What the guest has to do without.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}
