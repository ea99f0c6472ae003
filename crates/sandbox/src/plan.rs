//! Everything a guest is made from, worked out before the first fork.
//!
//! What a forked child needs is computed here, so that the child itself allocates little and
//! reads nothing of the parent's that could be locked.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use portreeve_types::Addressing;
use rustix::process::{Gid, Uid};
use rustix::thread::UnshareFlags;

use crate::command::Command;
use crate::error::Error;
use crate::namespaces;
use crate::options::SandboxOptions;

/// What the guest's first processes work from.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) addressing: Addressing,
    pub(crate) hostname: Option<String>,
    /// The text of the guest's resolver file.
    pub(crate) resolver: Option<String>,
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) tap_name: String,
    pub(crate) tap_queue_len: u32,
    pub(crate) command: Command,
    /// Our ids, if a user namespace is needed; there they are the only ones.
    pub(crate) mapped_ids: Option<(Uid, Gid)>,
    /// Whether the thread that forks lives as long as the process, so that "parent death", which
    /// the kernel takes to be the *thread's*, means the right thing (prctl(2)).
    pub(crate) die_with_parent_thread: bool,
    /// The controlling terminal, if the command is to have it.
    pub(crate) terminal: Option<OwnedFd>,
}

impl Plan {
    pub(crate) fn new(options: &SandboxOptions, terminal: Option<OwnedFd>) -> Result<Self, Error> {
        options.validate()?;
        let ids = (rustix::process::geteuid(), rustix::process::getegid());
        Ok(Self {
            addressing: options.addressing.clone(),
            hostname: options.hostname.clone(),
            resolver: options.resolver.as_ref().map(|resolver| resolver.text()),
            hidden: options.hidden.clone(),
            tap_name: options.tap_name.clone(),
            tap_queue_len: options.tap_queue_len,
            command: Command::new(options)?,
            mapped_ids: namespaces::need_user_namespace().then_some(ids),
            die_with_parent_thread: rustix::thread::gettid() == rustix::process::getpid(),
            terminal,
        })
    }

    /// The namespaces beside the user namespace.
    pub(crate) fn namespaces(&self) -> UnshareFlags {
        let mut flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWPID;
        flags.set(UnshareFlags::NEWUTS, self.hostname.is_some());
        flags
    }
}
