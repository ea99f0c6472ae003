//! Replays every committed fuzz input, and a bounded number of pseudo-random ones on top.
//!
//! The inputs live in `fuzz/corpus`; a target without any fails, so that a moved folder cannot
//! turn these tests into nothing.

use std::fs;
use std::path::Path;

use portreeve_testkit::{Random, fuzz};

type Target = fn(&[u8]);

/// Pseudo-random inputs per target: seconds in a debug build, not minutes.
const RANDOM_INPUTS: u64 = 300;
const LONGEST: u64 = 400;

fn replay(name: &str, target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{} has {} inputs", folder.display(), files.len());
    for file in files {
        run(target, &fs::read(&file).expect("a readable input"), &file.display().to_string());
    }
}

fn smoke(name: &str, target: Target) {
    for seed in 0..RANDOM_INPUTS {
        let mut random = Random::new(seed);
        let length = 20 + random.below(LONGEST);
        let data: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        run(target, &data, &format!("{name}, seed {seed}"));
    }
}

/// Names the input that fails: the panic itself knows only where.
#[expect(clippy::print_stderr, reason = "a failing input must be named")]
fn run(target: Target, data: &[u8], what: &str) {
    if let Err(panic) = std::panic::catch_unwind(|| target(data)) {
        eprintln!("input: {what}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn frames() {
    replay("frames", fuzz::fuzz_frames);
    smoke("frames", fuzz::fuzz_frames);
}

#[test]
fn dhcp() {
    replay("dhcp", fuzz::fuzz_dhcp);
    smoke("dhcp", fuzz::fuzz_dhcp);
}

#[test]
fn tcp_front() {
    replay("tcp_front", fuzz::fuzz_tcp_front);
    smoke("tcp_front", fuzz::fuzz_tcp_front);
}

#[test]
fn specs() {
    replay("spec", fuzz::fuzz_spec);
    smoke("spec", fuzz::fuzz_spec);
}

#[test]
fn model() {
    replay("model", fuzz::run_model);
    smoke("model", fuzz::run_model);
}
