//! The web page in a real browser.
//!
//! What is done and looked for on the page is in `crates/control/ui/tests/page_test.py`, which
//! drives Chromium; it does the same with a stand-in for the engine as with the engine.

use std::path::Path;
use std::process::{Command, Stdio};

use portreeve_e2e::machine::{has_tool, skip};
use portreeve_e2e::network::isolated;

/// What the script ends with where it has no browser.
const NO_BROWSER: i32 = 77;

/// Drives the page.
fn browse(arguments: &[&str]) {
    if !has_tool("python3", "python3") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = script.join("../../crates/control/ui/tests/page_test.py");
    let mut python = Command::new("python3");
    python.arg(script).args(arguments).stdin(Stdio::null());
    let outcome = python.output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    if outcome.status.code() == Some(NO_BROWSER) {
        return skip(said.trim());
    }
    assert!(outcome.status.success(), "{}: {said}", outcome.status);
}

#[test]
fn the_page_bears_a_hostile_crowded_and_vanishing_engine() {
    isolated(|_| browse(&[]));
}
