//! Namespace guests end to end: real namespaces, a real TAP, real terminals, as root and as an
//! ordinary user.
//!
//! This program is three things, told apart by its first argument: the tests (each a function
//! below `CASES`, run one after the other, filtered by name like any Rust test), a supervisor such
//! as a command-line tool would be (`--supervise`, in `supervise`), and what is run inside a guest
//! to look around (`--inspect`, in `inspect`). It has a `main` of its own because the supervisor
//! must be a process with one thread and signals of its own.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program of its own: printing is how it reports"
)]

mod inspect;
mod isolation;
mod lifecycle;
mod machine;
mod network;
mod ping;
mod supervise;
mod terminal;
mod tty;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

type Case = (&'static str, fn());

const CASES: &[&[Case]] = &[network::CASES, isolation::CASES, lifecycle::CASES, terminal::CASES];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--supervise") => supervise::main(&arguments[1..]),
        Some("--inspect") => inspect::main(&arguments[1..]),
        _ => run(&arguments),
    }
}

fn run(arguments: &[String]) -> ExitCode {
    let filters: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let exact = arguments.iter().any(|word| word == "--exact");
    let cases: Vec<&Case> = CASES
        .iter()
        .copied()
        .flatten()
        .filter(|(name, _)| {
            let matches = |filter: &&String| {
                if exact { *filter == name } else { name.contains(filter.as_str()) }
            };
            filters.is_empty() || filters.iter().any(matches)
        })
        .collect();
    if arguments.iter().any(|word| word == "--list") {
        for (name, _) in cases {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", cases.len());
    let started = Instant::now();
    let mut failed = Vec::new();
    for (name, case) in &cases {
        let ok = catch_unwind(case).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if !ok {
            failed.push(*name);
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; \
         finished in {:.2}s\n",
        cases.len() - failed.len(),
        failed.len(),
        CASES.iter().map(|group| group.len()).sum::<usize>() - cases.len(),
        started.elapsed().as_secs_f64(),
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
