//! Why a request came to nothing, told by who is to blame, and what would help.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use portreeve_types::api::{Problem, ProblemType};

use crate::instance::{InstanceName, InvalidName};

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused, and says why.
    #[error("{0}")]
    Problem(Problem),
    /// No engine of that name runs, as far as this user can see.
    #[error("no engine called `{name}` runs")]
    NoSuchEngine {
        /// The name asked for.
        name: InstanceName,
        /// Those that run.
        known: Vec<InstanceName>,
    },
    /// No engine was named, and not exactly one runs.
    #[error("{}", if .known.is_empty() { "no engine runs" } else { "several engines run: say which" })]
    NotOne {
        /// Those that run: none, or several.
        known: Vec<InstanceName>,
    },
    /// The name can be no engine's.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The directory in which engines are cannot be used.
    #[error("{}: {source}", .path.display())]
    RuntimeDir {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket is not there or does not take connections.
    #[error("{}: connecting: {source}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The engine did not answer in time.
    #[error("{request}: no answer within {}", humantime::format_duration(*.after))]
    TimedOut {
        /// Method and path.
        request: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection ended before the answer did.
    #[error("{request}: the connection broke off: {cause}")]
    Interrupted {
        /// Method and path.
        request: String,
        /// What HTTP makes of it.
        cause: String,
    },
    /// What answers does not speak this API.
    #[error("{request}: not an answer of this API: {what}")]
    Protocol {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        what: String,
    },
    /// The answer, or one line of a stream, is longer than any should be.
    #[error("{request}: the answer is longer than {limit} bytes")]
    TooLarge {
        /// Method and path.
        request: String,
        /// The most that is read.
        limit: usize,
    },
    /// This process cannot make what a client needs (an epoll descriptor, say).
    #[error("preparing a client: {0}")]
    Local(io::Error),
}

impl Error {
    /// What would help, where that is known.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Problem(problem) => problem.help.clone(),
            Self::NoSuchEngine { known, .. } => Some(match known.as_slice() {
                [] => "no engine runs; `portreeve run --name NAME …` starts one".to_owned(),
                known => running(known),
            }),
            Self::NotOne { known } => Some(match known.as_slice() {
                [] => {
                    "start one with `portreeve run --name NAME …`, or give the socket of one with \
                       --socket PATH"
                        .to_owned()
                }
                known => running(known),
            }),
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("no engine serves its API there".to_owned()),
                io::ErrorKind::ConnectionRefused => {
                    Some("the engine that made this socket is gone".to_owned())
                }
                io::ErrorKind::PermissionDenied => {
                    Some("an engine answers its own user and root only".to_owned())
                }
                _ => None,
            },
            Self::TimedOut { .. } => Some(
                "the engine's process is stopped or overloaded; its log may say more".to_owned(),
            ),
            Self::Interrupted { .. } => Some("the engine may have ended".to_owned()),
            Self::Protocol { .. } | Self::TooLarge { .. } => {
                Some("is this the socket of an engine, and of this version?".to_owned())
            }
            Self::InvalidName(_) | Self::RuntimeDir { .. } | Self::Local(_) => None,
        }
    }

    /// The kind of problem, where the engine refused.
    pub const fn problem(&self) -> Option<ProblemType> {
        match self {
            Self::Problem(problem) => Some(problem.kind),
            _ => None,
        }
    }

    /// Whether no engine is there to ask: it never ran, or has ended.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::NoSuchEngine { .. } | Self::NotOne { .. } => true,
            Self::Connect { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
            }
            _ => self.problem() == Some(ProblemType::EngineStopped),
        }
    }
}

fn running(known: &[InstanceName]) -> String {
    // A screenful helps nobody.
    const SHOWN: usize = 20;
    let mut text = if known.len() == 1 { "running is: " } else { "running are: " }.to_owned();
    for (at, name) in known.iter().take(SHOWN).enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{name}");
    }
    if known.len() > SHOWN {
        let _ = write!(text, " and {} more", known.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<InstanceName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        let error = |known| Error::NoSuchEngine { name: "wbe".parse().unwrap(), known };
        let two = error(names(&["db", "web"]));
        assert_eq!(two.to_string(), "no engine called `wbe` runs");
        assert_eq!(two.help().unwrap(), "running are: db, web");
        assert_eq!(error(names(&["web"])).help().unwrap(), "running is: web");
        assert!(error(Vec::new()).help().unwrap().starts_with("no engine runs"));
        let many: Vec<_> = (0..25).map(|n| format!("n{n}").parse().unwrap()).collect();
        assert!(error(many).help().unwrap().ends_with("n18, n19 and 5 more"));
        assert!(two.is_gone());
    }

    #[test]
    fn several_engines_are_not_one() {
        let error = Error::NotOne { known: names(&["a", "b"]) };
        assert_eq!(error.to_string(), "several engines run: say which");
        assert_eq!(error.help().unwrap(), "running are: a, b");
        assert_eq!(Error::NotOne { known: Vec::new() }.to_string(), "no engine runs");
    }
}
