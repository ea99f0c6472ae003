//! The web page in a real browser.
//!
//! What is done and looked for on the page is in `crates/control/ui/tests/page_test.py`, which
//! drives Chromium; it does the same with a stand-in for the engine as with the engine.

use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use portreeve_e2e::client::connect;
use portreeve_e2e::machine::{DEADLINE, has_tool, skip};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;

/// What the script ends with where it has no browser.
const NO_BROWSER: i32 = 77;

/// Drives the page; `false` where there is nothing to drive it with.
fn browse(arguments: &[&str]) -> bool {
    if !has_tool("python3", "python3") {
        return false;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = script.join("../../crates/control/ui/tests/page_test.py");
    let mut python = Command::new("python3");
    let outcome = python.arg(script).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    if outcome.status.code() == Some(NO_BROWSER) {
        skip(said.trim());
        return false;
    }
    assert!(outcome.status.success(), "{}: {said}", outcome.status);
    true
}

#[test]
fn the_page_bears_a_hostile_crowded_and_vanishing_engine() {
    isolated(|_| {
        browse(&[]);
    });
}

#[test]
fn the_page_shows_an_engine_and_changes_it() {
    isolated(|_| {
        let run = Run::usual().with(&["--ui", "127.0.0.1:0", "--control", "none"]);
        let run = run.publish("0:83").serve(&["echo@83"]).up();
        let line = run.err.find_within(DEADLINE, |line| line.contains("page: ")).unwrap();
        let page = line.split_once("page: ").unwrap().1;
        let mut client = connect(run.tcp(83, Family::V4));
        let flow = client.local_addr().unwrap().to_string();
        if browse(&["--url", page, "--flow", &flow]) {
            // It was killed there.
            let error = client.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}
