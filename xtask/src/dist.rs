//! `cargo xtask dist`: what a package has beside the command.
//!
//! Owns where it goes; the words are the command's own, which is run for them. Builds no package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the command for its manual pages and completions.
pub(crate) fn run(
    root: &Path,
    program: Option<PathBuf>,
    out: Option<PathBuf>,
) -> Result<String, String> {
    let program = program.unwrap_or_else(|| root.join("target/release/portreeve"));
    let out = out.unwrap_or_else(|| root.join("target/dist"));
    let (man, completions) = (out.join("man"), out.join("completions"));
    for folder in [&man, &completions] {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|error| at(folder, &error))?;
        }
        fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
    }
    let man_text = man.to_str().ok_or("the directory's name is no text")?;
    said_by(&program, &["man", "--out", man_text])?;
    for (shell, name) in COMPLETIONS {
        let script = said_by(&program, &["completions", shell])?;
        let path = completions.join(name);
        fs::write(&path, script).map_err(|error| at(&path, &error))?;
    }
    let pages = fs::read_dir(&man).map_err(|error| at(&man, &error))?.count();
    let shells = COMPLETIONS.len();
    Ok(format!("dist: {pages} manual pages, completions for {shells} shells in {}", out.display()))
}

fn said_by(program: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| {
        format!("{} (cargo build --release -p portreeve-cli makes it)", at(program, &error))
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} {}: {}: {said}", program.display(), arguments.join(" "), output.status))
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Shells, and what each calls the file.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "portreeve.bash"), ("zsh", "_portreeve"), ("fish", "portreeve.fish")];
