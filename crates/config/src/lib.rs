//! Reading Portreeve's configuration files, and comparing what they say.
//!
//! [`load`] and [`parse`] turn TOML, YAML or JSON into a [`Configuration`], or into a
//! [`ConfigError`] that points at every place that is wrong. [`Plan`] is what a running engine has
//! to change to get from one configuration to another.
//!
//! ```
//! use portreeve_config::{Format, parse};
//!
//! let configuration = parse("publish = ['8080:80']", Format::Toml).unwrap();
//! assert_eq!(configuration.publish.len(), 1);
//!
//! let error = parse("publsh = ['8080:80']", Format::Toml).unwrap_err();
//! assert_eq!(error.faults()[0].line, 1);
//! assert!(error.to_string().contains("unknown setting `publsh`; did you mean `publish`?"));
//! ```
//!
//! Never starts or changes anything, and knows no engine. One file, each format: `toml`, `yaml`
//! and `json` make a tree of values that know where they stand (`tree`); `read` makes the
//! configuration of any of them.

#![forbid(unsafe_code)]

mod error;
mod json;
mod plan;
mod read;
mod toml;
mod tree;
mod words;
mod yaml;

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

pub use error::{ConfigDiagnostic, ConfigError, Fault};
pub use plan::Plan;
pub use portreeve_types::Configuration;

/// How a configuration file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2.
    Yaml,
    /// JSON, RFC 8259.
    Json,
}

/// The text names no format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFormatError(String);

impl Format {
    /// The format that a file's name ends in: `.toml`, `.yaml`, `.yml` or `.json`.
    pub fn of_path(path: &Path) -> Option<Self> {
        path.extension()?.to_str()?.parse().ok()
    }

    /// The name: `toml`, `yaml` or `json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "toml" => Ok(Self::Toml),
            "yaml" | "yml" => Ok(Self::Yaml),
            "json" => Ok(Self::Json),
            _ => Err(ParseFormatError(text.to_owned())),
        }
    }
}

impl fmt::Display for ParseFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no format: choose toml, yaml or json", self.0.escape_debug())
    }
}

impl std::error::Error for ParseFormatError {}

/// Reads a configuration file, in the format that its name ends in.
///
/// # Errors
/// When the file cannot be read, its name says no format, or something in it is wrong.
pub fn load(path: &Path) -> Result<Configuration, ConfigError> {
    let format = Format::of_path(path).ok_or_else(|| ConfigError::format_unknown(path))?;
    load_as(path, format)
}

/// Reads a configuration file in this format, whatever its name.
///
/// # Errors
/// When the file cannot be read, or something in it is wrong.
pub fn load_as(path: &Path, format: Format) -> Result<Configuration, ConfigError> {
    let text = std::fs::File::open(path).and_then(read_to_string);
    let text = text.map_err(|error| ConfigError::unreadable(path, &error))?;
    parse_named(&text, format, &path.display().to_string())
}

/// Reads a configuration.
///
/// # Errors
/// When something in it is wrong.
pub fn parse(text: &str, format: Format) -> Result<Configuration, ConfigError> {
    parse_named(text, format, format.as_str())
}

/// Reads a configuration that errors are to call by this name.
///
/// # Errors
/// When something in it is wrong.
pub fn parse_named(text: &str, format: Format, name: &str) -> Result<Configuration, ConfigError> {
    let tree = match format {
        Format::Toml => toml::tree(text),
        Format::Yaml => yaml::tree(text),
        Format::Json => json::tree(text),
    };
    tree.and_then(|tree| read::configuration(text, tree))
        .map_err(|marks| ConfigError::new(name, text, marks))
}

/// The JSON Schema of a configuration file, as text that ends in a newline.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(Configuration);
    schema.insert("title".to_owned(), "Portreeve's configuration".into());
    format!("{:#}\n", schema.as_value())
}

/// A configuration as TOML, which reads as the same.
///
/// # Errors
/// When a path in it is no text.
pub fn to_toml(configuration: &Configuration) -> Result<String, ::toml::ser::Error> {
    ::toml::to_string(configuration)
}

/// A device or a pipe may have no end.
fn read_to_string(file: std::fs::File) -> std::io::Result<String> {
    let mut text = String::new();
    file.take(MAX_LEN + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_LEN {
        let what = format!("it has more than {} MiB", MAX_LEN >> 20);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

/// Bytes of the largest file that is read.
const MAX_LEN: u64 = 4 << 20;

#[cfg(test)]
mod error_test;
