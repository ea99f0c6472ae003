//! The Python that the tests of the control API have in the target directory.
//!
//! Made by `tests/e2e/python/venv`, which CI runs beforehand: it needs a package index.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::machine::skip;
use crate::program::target_directory;

/// The directory that has it, made if it can be; says why not.
pub fn python() -> Option<&'static Path> {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let directory = target_directory().join("python");
        let made = Command::new(script("venv")).arg(&directory).output().expect("sh");
        made.status.success().then_some(directory)
    });
    if directory.is_none() {
        skip("Python packages: tests/e2e/python/venv target/python says what is missing");
    }
    directory.as_deref()
}

/// A file beside the requirements.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}
