//! Namespace guests: a command in network, mount and process namespaces of its own, attached by a
//! TAP.
//!
//! ```no_run
//! use portreeve_sandbox::{Sandbox, SandboxOptions};
//!
//! # fn main() -> Result<(), portreeve_sandbox::Error> {
//! let mut sandbox = Sandbox::prepare(SandboxOptions::new(["curl", "example.com"]))?;
//! let tap = sandbox.take_tap(); // for a network engine to serve
//! let mut running = sandbox.start()?;
//! let status = running.wait()?;
//! std::process::exit(status.code().into());
//! # }
//! ```
//!
//! An ordinary user gets a user namespace as well, in which they keep their own user and group and
//! the command has no capabilities; root needs none. All set-up is done by the guest's own init
//! (process 1 in there) through netlink and mounts: no helper program, no file left behind.
//!
//! # Processes
//! `prepare` forks. The child unshares, starts init as its own sibling and ends, so that init is a
//! child of the caller's process; init forks the command. Forking was chosen over executing
//! `/proc/self/exe` again, which would ask every program that embeds this crate to cooperate in
//! its `main`. It is safe in a process with threads as far as the allocator is (glibc, musl): the
//! children keep off every other lock.
//!
//! **Nothing outlives the caller.** Init ends when the caller's end of its socket closes, and the
//! kernel kills whatever is in a process namespace without init; the TAP, addresses and mounts go
//! with their namespaces. If `prepare` is called by the main thread, the kernel kills init at the
//! caller's death as well (`PR_SET_PDEATHSIG`), even while init is stopped or frozen. (That signal
//! follows the *thread*, so it is not used where the thread may end first.)
//!
//! Needs Linux 5.9.

#![cfg(target_os = "linux")]

mod channel;
mod command;
mod diagnosis;
mod error;
mod guest;
mod init;
mod job_control;
mod mounts;
mod namespaces;
mod network;
mod options;
mod plan;
mod probe;
mod running;
mod sandbox;
mod sys;
mod sysctl;
mod tap;

pub use channel::Step;
pub use diagnosis::{TunCause, UserNamespaceCause};
pub use error::{Error, Warning};
pub use options::{ResolvConf, SandboxOptions};
pub use probe::{Finding, probe};
pub use running::{ExitStatus, Running};
pub use sandbox::Sandbox;
pub use tap::VNET_HEADER_LEN;
