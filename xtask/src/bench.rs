//! `cargo xtask bench`: builds the command and the load generator as released, then hands over
//! to the bench program. All measuring is in `bench/`.

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Builds and becomes `portreeve-bench compare`, or `control` when that is the first word;
/// returns only when that fails.
///
/// The process is replaced, so that a signal to `cargo xtask bench` reaches the program which
/// has namespaces and processes to clear away.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<String, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(&cargo);
    build.current_dir(root).args([
        "build",
        "--release",
        "--package",
        "portreeve-cli",
        "--package",
        "portreeve-bench",
    ]);
    let status = build.status().map_err(|error| format!("cargo build: {error}"))?;
    if !status.success() {
        return Err(format!("cargo build --release: {status}"));
    }
    let release = target_directory(root)?.join("release");
    let program = release.join("portreeve-bench");
    let (task, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == "control" => ("control", rest),
        _ => ("compare", arguments),
    };
    let error = Command::new(&program)
        .arg(task)
        .arg("--portreeve")
        .arg(release.join("portreeve"))
        .args(arguments)
        .exec();
    Err(format!("{}: {error}", program.display()))
}

fn target_directory(root: &Path) -> Result<PathBuf, String> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(metadata.target_directory.into_std_path_buf())
}
