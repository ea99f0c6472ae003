//! The control API of an engine that a command serves: its name, its place, its page.
//!
//! Owns what is asked for and what is only usual: a place that was asked for and cannot be had ends
//! the command, the usual one is gone without, with a warning. Never prints on standard output.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve::Handle;
use portreeve_client::instance::{self, InstanceName};
use portreeve_control::{ConfigProvider, Error, Server, Token};
use portreeve_types::api::{Problem, ProblemType, ReloadReport};
use portreeve_types::{ControlConfig, ControlSocket};

use crate::reload::{ReloadError, Reloader};
use crate::report::{self, Failure};

/// The name of an engine, whether its user chose it, and which command it is of.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    name: InstanceName,
    chosen: bool,
    mode: &'static str,
}

impl Name {
    /// The one that was given, else one made of this word and the process's number.
    pub(crate) fn new(
        given: Option<&str>,
        word: &OsStr,
        mode: &'static str,
    ) -> Result<Self, Failure> {
        if let Some(given) = given {
            let unusable = |error| Failure::ours(format_args!("--name: {error}"));
            return Ok(Self { name: given.parse().map_err(unusable)?, chosen: true, mode });
        }
        let text = format!("{}-{}", plain(word), std::process::id());
        let name = text.parse().map_err(Failure::ours)?;
        Ok(Self { name, chosen: false, mode })
    }
}

/// Starts the control API, unless it is not wanted.
pub(crate) fn start(
    engine: &Handle,
    name: &Name,
    config: &ControlConfig,
    reloader: &Reloader,
) -> Result<Option<Server>, Failure> {
    let (path, asked_for) = match &config.socket {
        ControlSocket::None => (None, true),
        ControlSocket::Path(path) => (Some(path.clone()), true),
        ControlSocket::Default => {
            portreeve_control::sweep(&instance::runtime_dir(), instance::SOCKET_FILE);
            (Some(instance::socket_path(&name.name)), false)
        }
    };
    let page = match config.ui {
        Some(address) => Some((address, token(config.ui_token_file.as_deref())?)),
        None => None,
    };
    let build = |path: Option<PathBuf>| {
        let mut builder = Server::builder(engine.clone()).name(name.name.as_str()).mode(name.mode);
        builder = builder.config(Arc::new(reloader.clone()));
        if let Some(path) = path {
            builder = builder.socket(path);
        }
        if let Some((address, token)) = &page {
            builder = builder.tcp(*address, token.clone());
        }
        builder.start()
    };
    let server = match build(path) {
        Ok(server) => Some(server),
        Err(Error::Nowhere) => None,
        Err(error) if is_about_the_socket(&error) && !asked_for && !must(&error, name) => {
            report::warning(format_args!(
                "{error}; this engine goes without a control socket: see --control"
            ));
            if page.is_some() { Some(build(None).map_err(Failure::ours)?) } else { None }
        }
        Err(error) => {
            let help = match &error {
                Error::Taken { .. } if name.chosen => Some("give it another --name"),
                _ => None,
            };
            return Err(Failure::with_help(error, help));
        }
    };
    if let (Some((_, token)), Some(address)) = (&page, server.as_ref().and_then(Server::address)) {
        // Whoever gave the token has it, and it is not for logs.
        let token = match &config.ui_token_file {
            None => format!("?token={}", token.reveal()),
            Some(_) => String::new(),
        };
        report::note(format_args!("page: http://{address}/ui/{token}"));
    }
    Ok(server)
}

/// Where the sockets of this user's engines are, made if it was missing: a guest that shares the
/// file system is not to see into it.
pub(crate) fn hidden_directories() -> Vec<PathBuf> {
    let directory = instance::runtime_dir();
    // Whoever starts the server is told why it cannot be made.
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&directory);
    if directory.is_dir() { vec![directory] } else { Vec::new() }
}

impl ConfigProvider for Reloader {
    fn resolved(&self) -> serde_json::Value {
        // Of text, numbers and lists: there is nothing in it that JSON cannot say.
        serde_json::to_value(self.current()).unwrap_or_default()
    }

    fn reload(&self) -> Result<ReloadReport, Problem> {
        self.reload().map_err(|error| match error {
            ReloadError::NoFile => Problem::new(ProblemType::Unavailable, error.to_string())
                .with_help(Some("start the engine with --config FILE")),
            ReloadError::Wrong(error) => {
                Problem::new(ProblemType::InvalidConfiguration, error.to_string())
            }
        })
    }
}

fn token(file: Option<&Path>) -> Result<Token, Failure> {
    match file {
        None => Token::random().map_err(|error| Failure::ours(format_args!("a token: {error}"))),
        Some(path) => Token::from_file(path)
            .map_err(|error| Failure::ours(format_args!("{}: {error}", path.display()))),
    }
}

fn is_about_the_socket(error: &Error) -> bool {
    matches!(
        error,
        Error::Taken { .. } | Error::Exposed { .. } | Error::Socket { .. } | Error::Path { .. }
    )
}

/// A name that was chosen is relied upon.
fn must(error: &Error, name: &Name) -> bool {
    name.chosen && matches!(error, Error::Taken { .. })
}

/// What of a command's name can stand in an engine's.
fn plain(word: &OsStr) -> String {
    let file = Path::new(word).file_name().unwrap_or(word).to_string_lossy();
    let fits = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let text: String = file.chars().map(fits).take(MAX_WORD).collect();
    let text = text.trim_start_matches(['.', '-']);
    if text.is_empty() { "guest".to_owned() } else { text.to_owned() }
}

/// Room for a process's number is left.
const MAX_WORD: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_command() {
        let pid = std::process::id();
        for (word, made) in [
            ("/usr/bin/python3", "python3"),
            ("./a b", "a-b"),
            ("...", "guest"),
            ("-x", "x"),
            ("/", "guest"),
            (&"long".repeat(30), &"long".repeat(10)),
        ] {
            let name = Name::new(None, word.as_ref(), "run").unwrap();
            assert_eq!(name.name.as_str(), format!("{made}-{pid}"));
            assert!(!name.chosen);
        }
        let chosen = Name::new(Some("web"), "x".as_ref(), "run").unwrap();
        assert!(chosen.chosen && chosen.name.as_str() == "web");
        assert!(Name::new(Some("a/b"), "x".as_ref(), "run").is_err());
    }
}
