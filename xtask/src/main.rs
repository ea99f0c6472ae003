//! `cargo xtask`: the project's own checks and tasks. This file parses the command line and
//! routes; each task has a file of its own.
//!
//! It never changes a source file and never talks to the network.

#![forbid(unsafe_code)]

mod bench;
mod dist;
mod layers;
mod size;
mod source;
mod violation;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Checks and tasks of the Portreeve workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check that dependencies point down and that each crate keeps its promises.
    Layers,
    /// Check the length of files and functions.
    Size {
        /// Print every file and function above the aim, and totals per crate.
        #[arg(long)]
        verbose: bool,
    },
    /// Make what a package has beside the command, in target/dist: manual pages and completions.
    Dist {
        /// The command to run for them; by default the release build.
        #[arg(long, value_name = "PATH")]
        program: Option<PathBuf>,
        /// The directory, which is made anew.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Measure published and outbound traffic against other engines; all arguments go to the bench program.
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of `portreeve-bench compare`; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let root = workspace_root();
    let outcome = match arguments.task {
        Task::Layers => layers::run(&root),
        Task::Size { verbose } => size::run(&root, verbose),
        Task::Dist { program, out } => dist::run(&root, program, out),
        Task::Bench { arguments } => bench::run(&root, &arguments),
    };
    match outcome {
        Ok(report) => finish(&report, ExitCode::SUCCESS, &mut io::stdout().lock()),
        Err(report) => finish(&report, ExitCode::FAILURE, &mut io::stderr().lock()),
    }
}

/// A reader that went away (`| head`) is not a failure of the check.
fn finish(report: &str, code: ExitCode, out: &mut dyn Write) -> ExitCode {
    let _ = writeln!(out, "{}", report.trim_end());
    code
}

/// The directory above this crate, fixed when xtask is compiled.
fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
