//! Words for people: failures with help, published ports, warnings.
//!
//! Owns standard error. Standard output belongs to the command that runs.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use portreeve_types::api::{Change, ReloadReport};
use portreeve_types::{Configuration, LogFormat, PublishedPort};
use tracing_subscriber::EnvFilter;

use crate::args::OUR_FAILURE;

/// Why the command failed, and with which exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit_code: u8,
    message: Message,
}

#[derive(Debug)]
enum Message {
    Plain { what: String, help: Option<String> },
    Diagnostic(Box<dyn miette::Diagnostic + Send + Sync>),
}

impl Failure {
    /// A failure of ours.
    pub(crate) fn ours(what: impl fmt::Display) -> Self {
        Self {
            exit_code: OUR_FAILURE,
            message: Message::Plain { what: what.to_string(), help: None },
        }
    }

    /// A failure of ours, and what would help.
    pub(crate) fn with_help(what: impl fmt::Display, help: Option<impl Into<String>>) -> Self {
        let (what, help) = (what.to_string(), help.map(Into::into));
        Self { exit_code: OUR_FAILURE, message: Message::Plain { what, help } }
    }

    /// A failure of ours that points into what the user wrote.
    pub(crate) fn diagnostic(error: impl miette::Diagnostic + Send + Sync + 'static) -> Self {
        Self { exit_code: OUR_FAILURE, message: Message::Diagnostic(Box::new(error)) }
    }

    /// The same, with another exit code.
    pub(crate) fn exit(self, exit_code: u8) -> Self {
        Self { exit_code, ..self }
    }
}

impl From<portreeve::LinkError> for Failure {
    fn from(error: portreeve::LinkError) -> Self {
        Self::with_help(&error, error.help())
    }
}

impl From<portreeve_sandbox::Error> for Failure {
    fn from(error: portreeve_sandbox::Error) -> Self {
        Self {
            exit_code: error.exit_code(),
            message: Message::Plain { what: error.to_string(), help: error.help() },
        }
    }
}

/// Sets up logging.
pub(crate) fn set_up(configuration: &Configuration) {
    let log = &configuration.log;
    let filter = EnvFilter::try_new(log).unwrap_or_else(|error| {
        warning(format_args!("--log {log}: {error}; logging warnings"));
        EnvFilter::new("warn")
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match configuration.log_format {
        LogFormat::Text => {
            let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            log.with_ansi(color).with_target(false).init();
        }
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Message::Plain { what, .. } => f.write_str(what),
            Message::Diagnostic(error) => fmt::Display::fmt(error, f),
        }
    }
}

/// Says why nothing came of it.
pub(crate) fn failure(failure: &Failure) {
    match &failure.message {
        Message::Plain { what, help } => {
            line(format_args!("portreeve: {what}"));
            if let Some(help) = help {
                line(format_args!("  help: {help}"));
            }
        }
        Message::Diagnostic(error) => line(format_args!("{:?}", Report(&**error))),
    }
}

/// Says what is less than wanted.
pub(crate) fn warning(what: impl fmt::Display) {
    line(format_args!("portreeve: warning: {what}"));
}

/// Says what has happened and is no fault.
pub(crate) fn note(what: impl fmt::Display) {
    line(format_args!("portreeve: {what}"));
}

/// Says what was published.
pub(crate) fn published(ports: &[PublishedPort]) {
    for port in ports {
        line(format_args!("{port}"));
    }
}

/// Says what a reload has done. What is in force is a note; what is not, and why, a warning.
pub(crate) fn reloaded(report: &ReloadReport, quiet: bool) {
    if !quiet {
        for Change { setting, what } in &report.applied {
            note(format_args!("reloaded {setting}: {what}"));
        }
        if report.is_empty() {
            note("reloaded: nothing has changed");
        }
    }
    for Change { setting, what } in &report.needs_restart {
        warning(format_args!("{setting} needs a restart: {what}"));
    }
    for Change { setting, what } in &report.failed {
        warning(format_args!("{setting}: {what}"));
    }
}

/// Writes to standard output what a program or a file is to have.
pub(crate) fn print(text: &[u8]) -> Result<u8, Failure> {
    match io::stdout().lock().write_all(text) {
        // Whoever reads the beginning only, `head` say, has what they wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        written => written.map(|()| 0).map_err(Failure::ours),
    }
}

/// The file that lists the published ports for programs; removed when dropped.
pub(crate) struct PortsFile {
    path: PathBuf,
    regular: bool,
}

impl PortsFile {
    /// Writes the file whole: a reader sees the old list or the new one.
    pub(crate) fn write(path: &Path, ports: &[PublishedPort]) -> io::Result<Self> {
        let json = path.extension().is_some_and(|extension| extension == "json");
        let text = if json {
            serde_json::to_string_pretty(ports)? + "\n"
        } else {
            ports.iter().map(|port| format!("{port}\n")).collect()
        };
        // A pipe or a device is written to; a file is replaced.
        let regular = fs::metadata(path).map_or(true, |metadata| metadata.is_file());
        if regular {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let mut file =
                tempfile::NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")))?;
            file.write_all(text.as_bytes())?;
            file.persist(path)?;
        } else {
            fs::OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())?;
        }
        Ok(Self { path: path.to_owned(), regular })
    }

    /// Leaves the file where it is: somebody else removes it.
    pub(crate) fn keep(mut self) {
        self.regular = false;
    }
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        if self.regular {
            // Somebody else may have removed it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renders a diagnostic. Lines are not wrapped: a suggestion must stay in one piece to be copied.
struct Report<'a>(&'a (dyn miette::Diagnostic + Send + Sync));

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use miette::ReportHandler;
        miette::MietteHandlerOpts::new().wrap_lines(false).build().debug(self.0, f)
    }
}

fn line(text: fmt::Arguments<'_>) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
