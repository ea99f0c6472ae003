//! The options of the control API: where it listens.
//!
//! Owns their names and texts; what they mean is done in `serving/control.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use portreeve_types::{ControlConfig, ControlSocket};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Control")]
pub(crate) struct ControlArgs {
    /// Where `portreeve ps`, `publish`, `flows` and the like reach this engine: another socket
    /// than NAME/control.sock in the user's runtime directory, or `none`
    #[arg(long, value_name = "PATH|none")]
    pub(crate) control: Option<ControlSocket>,
    /// Serve the engine's page on this loopback address; port 0 lets the kernel choose
    ///
    /// Its address, with a token in it, is printed on standard error. Whoever has the token can do
    /// all that the control API can.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) ui: Option<SocketAddr>,
    /// Take the page's token from this file's first line, instead of a new one
    #[arg(long, value_name = "FILE")]
    pub(crate) ui_token_file: Option<PathBuf>,
}

impl ControlArgs {
    /// Puts what was given in place of what is there.
    pub(crate) fn apply(&self, to: &mut ControlConfig) {
        if let Some(socket) = &self.control {
            to.socket = socket.clone();
        }
        if let Some(ui) = self.ui {
            to.ui = Some(ui);
        }
        if let Some(file) = &self.ui_token_file {
            to.ui_token_file = Some(file.clone());
        }
    }
}
