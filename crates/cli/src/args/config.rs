//! The options that say where the configuration comes from.
//!
//! Owns their names and texts; files are read by `configuration.rs`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portreeve_config::Format;

/// Where the configuration comes from, and whether it is only to be shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    /// Read the configuration from this file, or with `-` from standard input
    ///
    /// What the command line says as well takes its place; `-p` and `--add-host` add to it. SIGHUP
    /// rereads the file and changes what can change while the guest runs. See
    /// docs/manual/configuration.md.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What the file is written in; by default what its name ends in
    #[arg(long, value_name = "FORMAT", requires = "config")]
    pub(crate) format: Option<FileFormat>,
    /// Print the whole configuration as it would be used, and start nothing
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true,
          default_missing_value = "toml")]
    pub(crate) dry_run: Option<ShownFormat>,
}

/// What a configuration is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    Toml,
    #[value(alias = "yml")]
    Yaml,
    Json,
}

/// What a configuration is shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShownFormat {
    Toml,
    Json,
}

/// The arguments of `portreeve check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The file, or `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    pub(crate) file: Option<PathBuf>,
    /// What the file is written in; by default what its name ends in
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<FileFormat>,
    /// Print the JSON Schema of a configuration file, for editors and programs
    #[arg(long, conflicts_with_all = ["file", "format"])]
    pub(crate) schema: bool,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Toml => Self::Toml,
            FileFormat::Yaml => Self::Yaml,
            FileFormat::Json => Self::Json,
        }
    }
}
