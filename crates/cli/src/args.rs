//! The command line, as clap understands it.
//!
//! Owns names, defaults and help texts. Specifications are parsed here so that a wrong one is shown
//! with a caret under the wrong part before anything starts.

pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod engine;
pub(crate) mod network;
pub(crate) mod serve;
pub(crate) mod serving;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use config::{CheckArgs, ConfigArgs};
use engine::ControlCommand;
use portreeve_types::{Configuration, LogFormat};
use serve::ServeArgs;
use serving::ServingArgs;

use crate::configuration::ConfigurationError;

/// Exit code for our own failures, as Docker's.
pub(crate) const OUR_FAILURE: u8 = 125;

/// A user-space network engine for microVMs, namespaces and sandboxes.
#[derive(Debug, Parser)]
#[command(name = "portreeve", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// The program's own log.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogArgs {
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as
    /// `portreeve=debug` [default: warn]
    #[arg(long = "log", global = true, value_name = "FILTER", env = "PORTREEVE_LOG")]
    log_filter: Option<String>,
    /// How: lines for people, or one JSON object a line [default: text]
    #[arg(long = "log-format", global = true, value_name = "FORMAT", env = "PORTREEVE_LOG_FORMAT")]
    log_format: Option<LogFormatArg>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

impl LogArgs {
    /// Puts what was given in place of what is there.
    pub(crate) fn apply(&self, to: &mut Configuration) {
        if let Some(filter) = &self.log_filter {
            to.log.clone_from(filter);
        }
        match self.log_format {
            Some(LogFormatArg::Text) => to.log_format = LogFormat::Text,
            Some(LogFormatArg::Json) => to.log_format = LogFormat::Json,
            None => {}
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a network of its own, with a way out, and publish its ports on this host
    ///
    /// The command gets a new network namespace (and, for an ordinary user, a user namespace in
    /// which it keeps its own user), a network device and addresses. Exit status: the command's
    /// own, 128+n when it died of signal n, 127 when it was not found, 126 when it could not be
    /// executed, 125 when portreeve itself failed.
    Run(Box<RunArgs>),
    /// Serve a virtual machine through its VMM's socket or a TAP device, until stopped
    ///
    /// Listens where the VMM connects, or connects where it listens; publishes ports, carries the
    /// guest's own connections out, and answers its DHCP and its questions about names. The guest
    /// may be restarted or replaced: its connections are reset, the ports stay. Stays in the
    /// foreground; SIGINT or SIGTERM end it, with exit status 0 once what the guest had sent is
    /// delivered. Exit status 125 when portreeve failed.
    Serve(Box<ServeArgs>),
    /// Show on this machine what portreeve does, and how fast: no arguments, nothing else needed
    ///
    /// Starts a server in a guest and is its client: moves bytes both ways over TCP and UDP, IPv4
    /// and IPv6, and checks every one; shows a refusal, a half-close, a full-duplex echo and many
    /// clients at once; takes some seconds. Where this machine allows no network namespaces it
    /// says what would change that, and the guest is a TCP/IP stack in this process. Exit status:
    /// 0 when every check passed, 1 when one did not, 125 when there was nothing to check.
    Demo(DemoArgs),
    /// Say what this machine gives `portreeve run`, what is missing, and how to get it
    ///
    /// Tries what can be tried, changes nothing, and sends nothing but one question to each of
    /// this machine's name servers. Exit status: 0 when `portreeve run` works, perhaps with less
    /// than it could have; 1 when something is missing without which it does not.
    Doctor(DoctorArgs),
    #[command(flatten)]
    Control(Box<ControlCommand>),
    /// Check a configuration file, and say what it asks for
    ///
    /// Exit status: 0 when it can be used; 1 when it cannot, with every wrong line shown.
    Check(CheckArgs),
    /// Write a shell's completions to standard output
    ///
    /// bash: `source <(portreeve completions bash)`. zsh: write it to a file `_portreeve` in a
    /// directory of $fpath. fish: write it to ~/.config/fish/completions/portreeve.fish.
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual page to standard output, or one for each command to a directory
    Man {
        /// The directory, which is made if need be: portreeve.1, portreeve-run.1 and so on
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// The demonstration's server
    #[command(name = "__demo-guest", hide = true)]
    DemoGuest {
        /// Bytes of its largest transfer
        bytes: usize,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Use the guest in this process, even if this machine allows network namespaces
    #[arg(long)]
    pub(crate) in_process: bool,
    /// Move little: for tests
    #[arg(long, hide = true)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object, for programs: see docs/manual/doctor.md
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Publish every port that the guest listens on, on the same number where that is free
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// A name for the guest: its host name, and what `portreeve ps` and the like know it by
    ///
    /// Without one its host name is this machine's, and it is known by its command and number.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The command to run, and its arguments
    #[arg(
        required_unless_present = "config",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

impl RunArgs {
    /// Puts what was given in place of what is there.
    pub(crate) fn apply(&self, to: &mut Configuration) -> Result<(), ConfigurationError> {
        if let Some(name) = &self.name {
            to.name = Some(name.clone());
        }
        to.publish_all |= self.publish_all;
        if !self.command.is_empty() {
            // Shown, and no more: what runs is what was given.
            let words = self.command.iter().map(|word| word.to_string_lossy().into_owned());
            to.command = words.collect();
        }
        self.serving.apply(to)
    }
}

/// A shell that completes the words of a command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Reads the command line. A wrong one is our failure, so it ends with 125, not clap's 2.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        // Help and version go to standard output and are no failure.
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(OUR_FAILURE) } else { ExitCode::SUCCESS }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_behind_the_command_is_the_commands() {
        let cli = Cli::try_parse_from(["portreeve", "run", "-p", "80", "ls", "-p", "--", "x"]);
        let Command::Run(run) = cli.unwrap().command else { panic!("not `run`") };
        assert_eq!(run.command, ["ls", "-p", "--", "x"]);
        assert_eq!(run.serving.publish, ["80"]);
    }
}
