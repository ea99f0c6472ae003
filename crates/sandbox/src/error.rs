//! What can go wrong with a guest, in words that name the fix.
//!
//! Owns the error types and their exit codes; the causes behind a refusal are found in
//! `diagnosis`. Exit codes are Docker's: 125 for our failure, 126 for a command that cannot be
//! executed, 127 for one that is not there.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::channel::Step;
use crate::diagnosis::{TunCause, UserNamespaceCause};

/// Why there is no guest, or no command in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option that cannot work.
    #[error("{option}: {why}")]
    Invalid {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel, or whoever set it up, does not let this user make a user namespace.
    #[error("cannot make a user namespace: {cause}")]
    UserNamespace {
        /// Who refuses.
        cause: UserNamespaceCause,
        /// What the kernel answered.
        source: io::Error,
    },
    /// `/dev/net/tun` cannot be used.
    #[error("cannot open /dev/net/tun: {cause}")]
    Tun {
        /// What stands in the way.
        cause: TunCause,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Another step of making the guest failed.
    #[error("{}{} failed: {source}", step.describe(), in_brackets(detail))]
    Setup {
        /// The step.
        step: Step,
        /// On what, if that is not plain from the step.
        detail: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// There is no such command.
    #[error("{}: command not found", command.display())]
    CommandNotFound {
        /// The command as given.
        command: OsString,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The command is there but cannot be executed.
    #[error("{}: cannot be executed: {source}", command.display())]
    CommandNotExecutable {
        /// The command as given.
        command: OsString,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The working directory asked for cannot be entered.
    #[error("{}: cannot change to this directory: {source}", path.display())]
    WorkingDirectory {
        /// The directory as given.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The guest's init ended before it had done its work.
    #[error("the guest's init ended unexpectedly while {}", doing.describe())]
    InitGone {
        /// What it was doing.
        doing: Step,
    },
    /// A call of this process's own failed.
    #[error("{operation} failed: {source}")]
    Io {
        /// The call.
        operation: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl Error {
    /// The exit code a command-line tool should end with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::CommandNotFound { .. } => 127,
            Self::CommandNotExecutable { .. } | Self::WorkingDirectory { .. } => 126,
            Self::Invalid { .. }
            | Self::UserNamespace { .. }
            | Self::Tun { .. }
            | Self::Setup { .. }
            | Self::InitGone { .. }
            | Self::Io { .. } => 125,
        }
    }

    /// What the user can do about it, if that is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UserNamespace { cause, .. } => Some(cause.help()),
            Self::Tun { cause, .. } => Some(cause.help()),
            Self::Setup { step, source, .. } => setup_help(*step, source).map(str::to_owned),
            Self::CommandNotFound { source, command } => not_found_help(command, source),
            Self::CommandNotExecutable { command, source } => {
                not_executable_help(source).map(|help| format!("{help}: {}", command.display()))
            }
            Self::Invalid { .. }
            | Self::WorkingDirectory { .. }
            | Self::InitGone { .. }
            | Self::Io { .. } => None,
        }
    }

    pub(crate) fn invalid(option: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { option, why: why.into() }
    }

    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

fn setup_help(step: Step, source: &io::Error) -> Option<&'static str> {
    match (step, source.raw_os_error()?) {
        (Step::Namespaces, libc::ENOSPC) => Some(
            "a limit on namespaces is reached: look at user.max_net_namespaces, \
             user.max_mnt_namespaces and user.max_pid_namespaces (sysctl)",
        ),
        (Step::Namespaces, libc::EPERM) => Some(
            "this process may not make namespaces; in a container, start that with \
             CAP_SYS_ADMIN or with a seccomp profile that allows unshare",
        ),
        (Step::Namespaces | Step::UserNamespace, libc::EINVAL) => Some(
            "the kernel was built without one of the namespaces (CONFIG_USER_NS, CONFIG_NET_NS, \
             CONFIG_PID_NS)",
        ),
        (Step::CloseInherited, libc::ENOSYS) => Some("Linux 5.9 or newer is needed"),
        (Step::TapCreate, libc::EPERM) => {
            Some("this process may not make network devices (CAP_NET_ADMIN)")
        }
        (Step::TapCreate, libc::EINVAL) => {
            Some("the kernel's tun driver is too old, or the device name is already taken")
        }
        (Step::Address, libc::EACCES | libc::EOPNOTSUPP) => {
            Some("IPv6 is switched off for new devices; run the guest with IPv4 only")
        }
        (Step::Fork | Step::Init, libc::EAGAIN) => {
            Some("a limit on processes is reached: look at `ulimit -u` and the cgroup's pids.max")
        }
        _ => None,
    }
}

fn not_found_help(command: &OsString, source: &io::Error) -> Option<String> {
    if source.raw_os_error() != Some(libc::ENOENT) || !is_path(command) {
        return None;
    }
    std::path::Path::new(command).exists().then(|| {
        "the file is there, but the interpreter its first line names (or the program loader it \
         was linked for) is not"
            .to_owned()
    })
}

fn not_executable_help(source: &io::Error) -> Option<&'static str> {
    match source.raw_os_error()? {
        libc::EACCES => Some("no execute permission, a directory, or a file system mounted noexec"),
        libc::ENOEXEC => Some("neither a program for this machine nor a script with a #! line"),
        libc::E2BIG => Some("the arguments and the environment together are too long"),
        _ => None,
    }
}

fn is_path(command: &OsString) -> bool {
    command.as_encoded_bytes().contains(&b'/')
}

/// Something less than wanted, which the guest can live with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// The step that did not do all it should.
    pub step: Step,
    /// What happened, and what it means for the guest.
    pub detail: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step.describe(), self.detail)
    }
}

/// A failed step, on its way out of a child process.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    pub(crate) detail: String,
    pub(crate) errno: i32,
}

/// Names the step an error belongs to.
pub(crate) trait AtStep<T> {
    /// The error with its step.
    fn at(self, step: Step) -> Result<T, Fault>;
    /// The error with its step and what it was done on.
    fn at_on(self, step: Step, detail: impl fmt::Display) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> AtStep<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Fault> {
        self.at_on(step, "")
    }

    fn at_on(self, step: Step, detail: impl fmt::Display) -> Result<T, Fault> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let errno = error.raw_os_error();
            // An error without a number (a short message, say) must not lose its words.
            let detail = match errno {
                Some(_) => detail.to_string(),
                None => format!("{detail} {error}").trim_start().to_owned(),
            };
            Fault { step, detail, errno: errno.unwrap_or(libc::EIO) }
        })
    }
}
