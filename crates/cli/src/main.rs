//! The `portreeve` command: arguments in, a library call, words out.
//!
//! Owns nothing but the command line. What a network does is the library's, what a guest is made of
//! is the sandbox's.

#![forbid(unsafe_code)]

mod args;
mod auto_publish;
mod control;
mod demo;
mod doctor;
mod manual;
mod report;
mod run;
mod serve;
mod serving;

use std::process::ExitCode;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    report::set_up(&cli);
    let Cli { command, .. } = cli;
    let result = match command {
        Command::Run(args) => run::run(*args),
        Command::Serve(args) => serve::serve(&args),
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
