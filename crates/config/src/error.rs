//! What is said about a wrong configuration: every place, why, and what would be right.
//!
//! Never decides what is wrong: the readers hand a `Mark` over for each fault.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// A configuration that cannot be used.
///
/// [`Display`](fmt::Display) is complete in one line for each fault. As a [`Diagnostic`] it shows
/// the file with a mark under every wrong part.
#[derive(Clone, Debug)]
pub struct ConfigError {
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Wrong(Vec<Fault>),
    Unreadable(String),
    FormatUnknown,
}

/// One wrong place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The wrong part, in bytes of the text; where something is missing, where it should be.
    pub span: Range<usize>,
    /// The setting, as a path: `dns.records[2].ttl`; empty where it is the whole text.
    pub setting: String,
    /// What is wrong.
    pub message: String,
    /// What should stand there.
    label: String,
    help: Option<String>,
    source: Arc<NamedSource<String>>,
}

/// One fault, as a reader found it.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    pub(crate) span: Range<usize>,
    pub(crate) setting: String,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

impl ConfigError {
    pub(crate) fn new(name: &str, text: &str, mut marks: Vec<Mark>) -> Self {
        marks.sort_by_key(|mark| mark.span.start);
        let source = Arc::new(NamedSource::new(name, text.to_owned()));
        let faults = marks.into_iter().map(|mark| Fault::new(mark, text, &source)).collect();
        Self { name: name.to_owned(), kind: Kind::Wrong(faults) }
    }

    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self { name: path.display().to_string(), kind: Kind::Unreadable(error.to_string()) }
    }

    pub(crate) fn format_unknown(path: &Path) -> Self {
        Self { name: path.display().to_string(), kind: Kind::FormatUnknown }
    }

    /// What is wrong in the text, from its beginning; empty when there was no text to read.
    pub fn faults(&self) -> &[Fault] {
        match &self.kind {
            Kind::Wrong(faults) => faults,
            Kind::Unreadable(_) | Kind::FormatUnknown => &[],
        }
    }

    fn only_fault(&self) -> Option<&Fault> {
        match self.faults() {
            [fault] => Some(fault),
            _ => None,
        }
    }

    /// One line, without the place of a fault: a diagnostic shows that.
    fn summary(&self) -> String {
        match &self.kind {
            Kind::Unreadable(why) => format!("{}: {why}", self.name),
            Kind::FormatUnknown => {
                format!("{}: its name does not say which format it is in", self.name)
            }
            Kind::Wrong(faults) => match &faults[..] {
                [fault] => fault.message.clone(),
                faults => format!("{} settings are wrong in {}", faults.len(), self.name),
            },
        }
    }

    /// As a [`Diagnostic`], whose text does not repeat what the picture shows.
    pub fn diagnostic(self) -> ConfigDiagnostic {
        ConfigDiagnostic(self)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.faults().is_empty() {
            return f.write_str(&self.summary());
        }
        for (nth, fault) in self.faults().iter().enumerate() {
            let line_end = if nth == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}:{}:{}: {fault}", self.name, fault.line, fault.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match &self.kind {
            Kind::FormatUnknown => {
                Some(Box::new("let it end in .toml, .yaml or .json, or say --format"))
            }
            Kind::Unreadable(_) => None,
            Kind::Wrong(_) => self.only_fault().and_then(Diagnostic::help),
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.only_fault().and_then(Diagnostic::source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.only_fault().and_then(Diagnostic::labels)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.only_fault().is_some() {
            return None;
        }
        Some(Box::new(self.faults().iter().map(|fault| fault as &dyn Diagnostic)))
    }
}

/// A [`ConfigError`] for whoever shows its picture: the text is a headline only.
#[derive(Clone, Debug)]
pub struct ConfigDiagnostic(ConfigError);

impl fmt::Display for ConfigDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.summary())
    }
}

impl std::error::Error for ConfigDiagnostic {}

impl Diagnostic for ConfigDiagnostic {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.0.labels()
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        self.0.related()
    }
}

impl Fault {
    fn new(mark: Mark, text: &str, source: &Arc<NamedSource<String>>) -> Self {
        let Mark { span, setting, message, label, help } = mark;
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span: start..end,
            setting,
            message,
            label,
            help,
            source: Arc::clone(source),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        // A part of many lines would fill the screen; its first line says where it is.
        let lines = &self.source.inner()[self.span.clone()];
        let length = lines.find('\n').map_or(lines.len(), |end| end.max(1));
        let label = (!self.label.is_empty()).then(|| self.label.clone());
        Some(Box::new(std::iter::once(LabeledSpan::new(label, self.span.start, length))))
    }
}
