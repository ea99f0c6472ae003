//! Finding the programs under test: `portreeve`, and the guest's own.
//!
//! Cargo does not build the command for the tests of another package, so one that is missing or
//! older than its sources is built here, once, into the same target directory and profile.
//! `PORTREEVE_E2E_PROGRAM` names another one to test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

/// The `portreeve` command.
pub fn portreeve() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(program) = std::env::var_os("PORTREEVE_E2E_PROGRAM") {
            return program.into();
        }
        let program = profile_directory().join("portreeve");
        if !is_current(&program) {
            build(&profile_directory());
        }
        assert!(program.exists(), "{} was not built", program.display());
        program
    })
}

/// The guest's program, which Cargo builds with this package's tests.
pub fn guest() -> PathBuf {
    let program = profile_directory().join("portreeve-e2e-guest");
    assert!(program.exists(), "{}: run the tests with cargo", program.display());
    program
}

/// `target`.
pub(crate) fn target_directory() -> PathBuf {
    profile_directory().parent().expect("a target directory").to_owned()
}

/// `target/debug`, above the `deps` that this test is in.
fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("/proc");
    let directory = test.parent().expect("a directory");
    let above = directory.parent().filter(|_| directory.ends_with("deps"));
    above.unwrap_or(directory).to_owned()
}

/// Whether no source that Cargo's dependency file names is younger than the program.
fn is_current(program: &Path) -> bool {
    let Ok(built) = modified(program) else { return false };
    let Ok(dependencies) = fs::read_to_string(program.with_extension("d")) else { return false };
    // Make's format: a space in a name is escaped by a backslash.
    let dependencies = dependencies.replace("\\ ", "\u{0}");
    let sources = dependencies.lines().filter_map(|line| line.split_once(": "));
    let mut sources = sources.flat_map(|(_, sources)| sources.split_whitespace());
    sources.all(|source| {
        modified(Path::new(&source.replace('\u{0}', " "))).is_ok_and(|changed| changed <= built)
    })
}

fn modified(path: &Path) -> std::io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

fn build(profile_directory: &Path) {
    let target = profile_directory.parent().expect("a target directory");
    // Several tests may find out at once, and Cargo would have each of them wait and look again.
    let lock = File::create(target.join("portreeve-e2e.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "portreeve-cli", "--target-dir"]).arg(target);
    if profile_directory.ends_with("release") {
        cargo.arg("--release");
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let status = cargo.arg("--manifest-path").arg(manifest).status().expect("cargo");
    assert!(status.success(), "building the portreeve command: {status}");
}
