//! `enter` and `hold-netns`: small steps between fork and exec, done by a program of its own so
//! that nothing runs between the two in a process with threads.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::PathBuf,
    process::Command,
};

use clap::Args;
use rustix::{
    process::{Gid, Signal, Uid, set_parent_process_death_signal},
    thread::{
        LinkNameSpaceType, move_into_link_name_space, set_thread_gid, set_thread_groups,
        set_thread_uid,
    },
};

use crate::sys::{Fresh, unshare};

/// How to start a command.
#[derive(Args)]
pub(crate) struct Options {
    /// Join the network namespace that this file names.
    #[arg(long)]
    netns: Option<PathBuf>,
    /// Make a network namespace.
    #[arg(long, conflicts_with = "netns")]
    new_netns: bool,
    /// Become this user and group, without further groups.
    #[arg(long)]
    user: Option<u32>,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

/// Prepares the process and becomes the command; returns only when that fails.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    if let Some(path) = &options.netns {
        let namespace = File::open(path)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    if options.new_netns {
        unshare(Fresh::Network)?;
    }
    if let Some(id) = options.user {
        // There is one thread here, so the thread's credentials are the process's.
        set_thread_groups(&[])?;
        set_thread_gid(Gid::from_raw(id))?;
        set_thread_uid(Uid::from_raw(id))?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let Some((program, arguments)) = options.command.split_first() else {
        return Err(io::Error::other("no command"));
    };
    let error = Command::new(program).args(arguments).exec();
    Err(io::Error::new(error.kind(), format!("{program}: {error}")))
}

/// Makes a network namespace, says so on stdout, and keeps it until stdin closes.
pub(crate) fn hold_netns() -> io::Result<()> {
    unshare(Fresh::Network)?;
    writeln!(io::stdout().lock(), "ready")?;
    let mut rest = Vec::new();
    io::stdin().lock().read_to_end(&mut rest)?;
    Ok(())
}
