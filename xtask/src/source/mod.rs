//! The workspace's Rust sources as the checks see them: which files there are, and each file's
//! text with comments and literals blanked and its test code marked.
//!
//! It knows just enough of Rust's lexical grammar for that (reference: "Lexical structure" in
//! the Rust Reference); it never tries to understand more.

mod blank;
mod paths;
mod test_code;

use std::{
    fs,
    io::{self, ErrorKind},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

pub(crate) use paths::paths;

/// Directories that hold Rust sources of ours; nothing else is looked at.
const ROOTS: [&str; 5] = ["bench", "crates", "fuzz", "tests", "xtask"];

/// One Rust file.
pub(crate) struct SourceFile {
    /// Relative to the workspace root, with `/`.
    pub(crate) path: String,
    /// As written.
    pub(crate) text: String,
    /// Same lines and columns, comments and the inside of literals replaced by spaces.
    pub(crate) code: String,
    /// 1-based lines of items under `#[cfg(test)]`.
    test_lines: Vec<RangeInclusive<usize>>,
    /// The whole file is test code (`tests/…`, or a module declared under `#[cfg(test)]`).
    pub(crate) is_test: bool,
}

impl SourceFile {
    /// Reads one file's text as `path`.
    pub(crate) fn new(path: &str, text: String) -> Self {
        let code = blank::blank(&text);
        let test_lines = test_code::test_lines(&code);
        let is_test = path.split('/').any(|part| matches!(part, "tests" | "benches" | "tests.rs"));
        Self { path: path.to_owned(), text, code, test_lines, is_test }
    }

    /// True for a line inside a test item, or any line of a test file.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|range| range.contains(&line))
    }

    /// Lines outside test code, comments and blanks included.
    pub(crate) fn non_test_lines(&self) -> usize {
        (1..=self.text.lines().count()).filter(|&line| !self.is_test_line(line)).count()
    }

    /// The name of the directory of the crate this file belongs to: `crates/core`, `xtask`, …
    pub(crate) fn crate_dir(&self) -> &str {
        let depth = match self.path.split('/').next() {
            Some("crates") => 2,
            Some("tests") => 2,
            _ => 1,
        };
        let end = self.path.match_indices('/').nth(depth - 1).map_or(self.path.len(), |(at, _)| at);
        &self.path[..end]
    }
}

/// All Rust files of the workspace, in path order.
pub(crate) fn files(root: &Path) -> Result<Vec<SourceFile>, String> {
    let mut found = Vec::new();
    for dir in ROOTS {
        collect(&root.join(dir), &mut found).map_err(|error| format!("{dir}: {error}"))?;
    }
    found.sort();
    let mut files = Vec::new();
    for path in found {
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let name = relative.to_string_lossy().replace('\\', "/");
        files.push(SourceFile::new(&name, text));
    }
    mark_out_of_line_tests(&mut files);
    Ok(files)
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // Not every checkout has every root (`fuzz/` is outside the workspace).
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                collect(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// `#[cfg(test)] mod name;` makes `name.rs`, `name/mod.rs` and what lies below test code.
fn mark_out_of_line_tests(files: &mut [SourceFile]) {
    let mut stems = Vec::new();
    for file in files.iter() {
        let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let base = match name {
            "lib.rs" | "main.rs" | "mod.rs" => dir.to_owned(),
            _ => file.path.trim_end_matches(".rs").to_owned(),
        };
        for module in test_code::out_of_line_modules(&file.code) {
            stems.push(format!("{base}/{module}"));
        }
    }
    for file in files {
        let is_below = |stem: &String| {
            file.path
                .strip_prefix(stem.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if stems.iter().any(is_below) {
            file.is_test = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SourceFile;

    #[test]
    fn test_modules_do_not_count() {
        let text =
            "//! head\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let file = SourceFile::new("crates/x/src/lib.rs", text.to_owned());
        assert_eq!(file.non_test_lines(), 4);
        assert!(file.is_test_line(6) && !file.is_test_line(8));
    }

    #[test]
    fn crate_directories() {
        for (path, dir) in [
            ("crates/core/src/lib.rs", "crates/core"),
            ("tests/e2e/src/lib.rs", "tests/e2e"),
            ("xtask/src/main.rs", "xtask"),
        ] {
            assert_eq!(SourceFile::new(path, String::new()).crate_dir(), dir);
        }
    }
}
