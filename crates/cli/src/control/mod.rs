//! The commands that ask a running engine: arguments in, requests to its control API, tables out.
//!
//! Owns which exit code an answer is: 0; 1 when what was asked for is not there or was refused; 125
//! for a wrong command line and for failures on the way. Everything about an engine comes through
//! `portreeve-client`, as for any other program.
//!
//! - `words`: which engine, and what remains of the words
//! - `screen`: all that is printed; `units`, `event_line`: how things are written
//! - one module for each noun: `ps`, `ports`, `flows`, `events`, `stats`, `dns`, `limits`,
//!   `capture`, `settings`; `top` is a view of them all

mod capture;
mod dns;
mod event_line;
mod events;
mod flows;
mod limits;
mod port_selector;
mod ports;
mod ps;
mod screen;
mod settings;
mod stats;
mod top;
mod units;
mod words;

use portreeve_client::Error;
use portreeve_types::api::ProblemType;

use crate::args::engine::ControlCommand;
use crate::report::Failure;
use screen::Screen;

/// Carries out one command.
pub(crate) fn run(command: &ControlCommand) -> Result<u8, Failure> {
    let screen = &mut Screen::new();
    let done = match command {
        ControlCommand::Ps(args) => ps::ps(args, screen),
        ControlCommand::Publish(args) => ports::publish(args, screen),
        ControlCommand::Unpublish(args) => ports::unpublish(args, screen),
        ControlCommand::Port(args) => ports::port(args, screen),
        ControlCommand::Flows(args) => flows::flows(args, screen),
        ControlCommand::Kill(args) => flows::kill(args, screen),
        ControlCommand::Events(args) => events::events(args, screen),
        ControlCommand::Top(args) => top::top(args),
        ControlCommand::Stats(args) => stats::stats(args, screen),
        ControlCommand::Dns(args) => dns::dns(args, screen),
        ControlCommand::Limits(args) => limits::limits(args, screen),
        ControlCommand::Metrics(args) => settings::metrics(args, screen),
        ControlCommand::Capture(args) => capture::capture(args, screen),
        ControlCommand::Reload(args) => settings::reload(args, screen),
        ControlCommand::Config(args) => settings::config(args, screen),
    };
    match done {
        Ok(code) => Ok(code),
        Err(Stop::Unread) => Ok(0),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Why a command ends before its end.
#[derive(Debug)]
enum Stop {
    /// Nobody reads its output any more: whoever reads the beginning only, `head` say, has what
    /// they wanted.
    Unread,
    /// It failed.
    Failed(Failure),
}

/// Exit code for what is not there or was refused.
const REFUSED: u8 = 1;

impl Stop {
    /// The command line is wrong.
    fn usage(what: impl std::fmt::Display, help: impl Into<String>) -> Self {
        Self::Failed(Failure::with_help(what, Some(help)))
    }

    /// What was asked for is not there.
    fn absent(what: impl std::fmt::Display, help: Option<String>) -> Self {
        let mut failure = Failure::with_help(what, help);
        failure.exit_code = REFUSED;
        Self::Failed(failure)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        let mut failure = Failure::with_help(&error, error.help());
        if is_refusal(&error) {
            failure.exit_code = REFUSED;
        }
        Self::Failed(failure)
    }
}

/// What cannot be written, and is not simply no longer read.
impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::Failed(Failure::ours(format_args!("writing: {error}")))
    }
}

/// Whether it is the thing asked for that is missing or the engine that says no, and not the
/// question that is wrong or the way that is broken.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::NotOne { known } => known.is_empty(),
        Error::Problem(problem) => !matches!(
            problem.kind,
            ProblemType::InvalidRequest
                | ProblemType::InvalidSpecification
                | ProblemType::Internal
                | ProblemType::MethodNotAllowed
                | ProblemType::UnsupportedMediaType
        ),
        error => error.is_gone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_types::api::Problem;

    #[test]
    fn exit_codes() {
        let code = |error: Error| match Stop::from(error) {
            Stop::Failed(failure) => failure.exit_code,
            Stop::Unread => panic!("it failed"),
        };
        let problem = |kind| Error::Problem(Problem::new(kind, "no"));
        let name: portreeve_client::InstanceName = "web".parse().unwrap();
        assert_eq!(code(problem(ProblemType::UnknownPort)), 1);
        assert_eq!(code(problem(ProblemType::BindFailed)), 1);
        assert_eq!(code(problem(ProblemType::EngineStopped)), 1);
        assert_eq!(code(problem(ProblemType::InvalidRequest)), 125);
        assert_eq!(code(problem(ProblemType::Internal)), 125);
        assert_eq!(code(Error::NoSuchEngine { name: name.clone(), known: Vec::new() }), 1);
        assert_eq!(code(Error::NotOne { known: Vec::new() }), 1);
        assert_eq!(code(Error::NotOne { known: vec![name.clone(), name] }), 125);
        let after = std::time::Duration::from_secs(1);
        assert_eq!(code(Error::TimedOut { request: "GET /".into(), after }), 125);
    }
}
