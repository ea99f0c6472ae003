//! The `portreeve` command: arguments in, a library call, words out.
//!
//! Owns nothing but the command line. What a network does is the library's, what a guest is made of
//! is the sandbox's.

#![forbid(unsafe_code)]

mod args;
mod auto_publish;
mod check;
mod configuration;
mod control;
mod demo;
mod doctor;
mod manual;
mod ports;
mod reload;
mod report;
mod run;
mod serve;
mod serving;

use std::process::ExitCode;

use args::{Cli, Command};
use portreeve_types::Configuration;

fn main() -> ExitCode {
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let Cli { command, log } = cli;
    // What these two log may stand in their configuration.
    if !matches!(command, Command::Run(_) | Command::Serve(_)) {
        let mut defaults = Configuration::default();
        log.apply(&mut defaults);
        report::set_up(&defaults);
    }
    let result = match command {
        Command::Run(args) => run::run(&args, &log),
        Command::Serve(args) => serve::serve(&args, &log),
        Command::Check(args) => check::check(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Control(command) => control::run(&command),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::man(out.as_deref()),
        Command::DemoGuest { bytes } => demo::serve_as_guest(bytes),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            report::failure(&failure);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// A thread that ends by itself.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), report::Failure> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    let failed = |error| report::Failure::ours(format_args!("starting a thread: {error}"));
    thread.map(|_| ()).map_err(failed)
}
