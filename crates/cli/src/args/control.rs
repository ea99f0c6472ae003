//! The options of the control API: where it listens.
//!
//! Owns their names and texts; what they mean is done in `serving/control.rs`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Control")]
pub(crate) struct ControlArgs {
    /// Where `portreeve ps`, `publish`, `flows` and the like reach this engine: another socket
    /// than NAME/control.sock in the user's runtime directory, or `none`
    #[arg(long, value_name = "PATH|none")]
    pub(crate) control: Option<ControlPath>,
    /// Serve the engine's page on this loopback address; port 0 lets the kernel choose
    ///
    /// Its address, with a token in it, is printed on standard error. Whoever has the token can do
    /// all that the control API can.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) ui: Option<SocketAddr>,
    /// Take the page's token from this file's first line, instead of a new one
    #[arg(long, value_name = "FILE", requires = "ui")]
    pub(crate) ui_token_file: Option<PathBuf>,
}

/// Where the control socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlPath {
    /// Nowhere.
    None,
    /// Here.
    At(PathBuf),
}

impl FromStr for ControlPath {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "none" { Self::None } else { Self::At(text.into()) })
    }
}
