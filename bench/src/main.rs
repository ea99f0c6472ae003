//! `portreeve-bench`: a deterministic load generator (`server`, `client`) and the comparison of
//! engines that uses it (`compare`). This file parses the command line and routes.
//!
//! Every engine, ours too, is a command to this program: it links none of them.

mod client;
mod compare;
mod control;
mod enter;
mod protocol;
mod server;
mod socket;
mod sys;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Load generator for user-space networks, and the comparison of engines.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Serve all modes on one TCP and UDP port; runs in the guest, or where the guest connects to.
    Server {
        /// The port to listen on, on every IPv4 address.
        #[arg(long)]
        port: u16,
        /// Answer questions about names on this UDP port.
        #[arg(long)]
        names: Option<u16>,
    },
    /// Put load on a server and print one JSON line.
    Client(client::Options),
    /// Measure published ports and the guest's own connections through several engines.
    Compare(compare::Options),
    /// Measure what portreeve's control API costs the data path, and how fast it answers.
    Control(control::Options),
    /// The comparison itself, inside its private namespaces.
    #[command(hide = true)]
    CompareIsolated(compare::Options),
    /// Start a command in given or fresh namespaces, or as another user.
    #[command(hide = true)]
    Enter(enter::Options),
    /// Make a network namespace and hold it until stdin closes.
    #[command(hide = true)]
    HoldNetns,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Server { port, names } => serve(port, names),
        Task::Client(options) => client::run(&options),
        Task::Compare(options) => compare::run(&options),
        Task::Control(options) => control::run(&options),
        Task::CompareIsolated(options) => compare::run_isolated(&options),
        Task::Enter(options) => enter::run(&options),
        Task::HoldNetns => enter::hold_netns(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody left to read it is no reason to fail differently.
            let _ = writeln!(io::stderr().lock(), "portreeve-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16, names: Option<u16>) -> io::Result<()> {
    let server = server::Server::bind(port)?;
    match names {
        Some(port) => server.with_names(port)?.run(),
        None => server.run(),
    }
}
