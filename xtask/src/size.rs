//! `cargo xtask size`: files and functions that have grown too long to be read at once.
//!
//! Aims are reported, limits fail. Test code does not count. A file or function that must be
//! longer is listed in `xtask/size-exceptions.toml` with its reason.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use serde::Deserialize;

use crate::{
    source::{self, SourceFile},
    violation::{self, Violation},
};

/// Lines of a file outside its tests.
const FILE: Bounds = Bounds { aim: 400, limit: 600 };
/// Lines of a function from its `fn` to its closing brace.
const FUNCTION: Bounds = Bounds { aim: 60, limit: 120 };
const EXCEPTIONS: &str = "xtask/size-exceptions.toml";

struct Bounds {
    aim: usize,
    limit: usize,
}

/// `[[exception]]` tables of the exceptions file.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    #[serde(default)]
    exception: Vec<Exception>,
}

/// One file, or one function of it, that may exceed the limit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    file: String,
    function: Option<String>,
    reason: String,
}

/// A file or function and its length.
struct Measured {
    file: String,
    function: Option<(String, usize)>,
    lines: usize,
}

impl Measured {
    fn bounds(&self) -> &'static Bounds {
        if self.function.is_some() { &FUNCTION } else { &FILE }
    }

    fn label(&self) -> String {
        match &self.function {
            Some((name, line)) => format!("{}:{line} fn {name}", self.file),
            None => self.file.clone(),
        }
    }
}

/// Checks the sources below `root`.
pub(crate) fn run(root: &Path, verbose: bool) -> Result<String, String> {
    let exceptions = exceptions(root)?;
    let files = source::files(root)?;
    let measured: Vec<Measured> =
        files.iter().filter(|file| !file.is_test).flat_map(measure).collect();

    let mut violations = unused(&exceptions, &measured);
    for item in measured.iter().filter(|item| item.lines > item.bounds().limit) {
        if !exceptions.iter().any(|exception| covers(exception, item)) {
            violations.push(Violation {
                file: item.file.clone(),
                line: item.function.as_ref().map_or(0, |(_, line)| *line),
                message: match &item.function {
                    Some((name, _)) => format!("function {name} has {} lines", item.lines),
                    None => format!("{} lines outside tests", item.lines),
                },
                reason: format!(
                    "the limit is {} (aim {}): one concern per file, one step per function; \
                     or give a reason in {EXCEPTIONS}",
                    item.bounds().limit,
                    item.bounds().aim
                ),
            });
        }
    }
    let summary = violation::report("size", violations)?;
    Ok(table(&measured, verbose) + &summary)
}

fn exceptions(root: &Path) -> Result<Vec<Exception>, String> {
    let text = match fs::read_to_string(root.join(EXCEPTIONS)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{EXCEPTIONS}: {error}")),
    };
    let parsed: Exceptions =
        toml::from_str(&text).map_err(|error| format!("{EXCEPTIONS}: {error}"))?;
    match parsed.exception.iter().find(|exception| exception.reason.trim().is_empty()) {
        Some(exception) => Err(format!("{EXCEPTIONS}: {} has no reason", exception.file)),
        None => Ok(parsed.exception),
    }
}

fn covers(exception: &Exception, item: &Measured) -> bool {
    exception.file == item.file
        && exception.function.as_deref() == item.function.as_ref().map(|(name, _)| name.as_str())
}

/// An exception that nothing needs any more is removed.
fn unused(exceptions: &[Exception], measured: &[Measured]) -> Vec<Violation> {
    let needed = |exception: &&Exception| {
        !measured.iter().any(|item| covers(exception, item) && item.lines > item.bounds().limit)
    };
    exceptions
        .iter()
        .filter(needed)
        .map(|exception| Violation {
            file: EXCEPTIONS.to_owned(),
            line: 0,
            message: format!("{} needs no exception", exception.file),
            reason: "a list of exceptions stays short only if it is cleared".to_owned(),
        })
        .collect()
}

fn measure(file: &SourceFile) -> Vec<Measured> {
    let whole = Measured { file: file.path.clone(), function: None, lines: file.non_test_lines() };
    let functions = functions(&file.code)
        .into_iter()
        .filter(|(_, start, _)| !file.is_test_line(*start))
        .map(|(name, start, lines)| Measured {
            file: file.path.clone(),
            function: Some((name, start)),
            lines,
        });
    std::iter::once(whole).chain(functions).collect()
}

/// Name, first line and length of every function with a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let name: String =
            code[at + 3..].trim_start().chars().take_while(|&c| is_word(c)).collect();
        // A function pointer type (`fn (…)`) has no name.
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(code, at) {
            let lines_before = code[..at].matches('\n').count();
            found.push((name, lines_before + 1, code[at..end].matches('\n').count() + 1));
        }
    }
    found
}

/// Byte position of the brace that closes the body; `None` for a declaration without one.
fn body_end(code: &str, start: usize) -> Option<usize> {
    let mut braces = 0usize;
    let mut brackets = 0usize;
    for (offset, byte) in code[start..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' if braces <= 1 => return Some(start + offset),
            b'}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// What lies above its aim, longest first; with `verbose` also totals per crate.
fn table(measured: &[Measured], verbose: bool) -> String {
    let mut above: Vec<_> = measured.iter().filter(|item| item.lines > item.bounds().aim).collect();
    above.sort_by_key(|item| std::cmp::Reverse(item.lines * 1000 / item.bounds().aim));
    let mut text = String::new();
    if !above.is_empty() {
        text.push_str(&format!(
            "above the aim (files {}, functions {} lines): {}\n",
            FILE.aim,
            FUNCTION.aim,
            above.len()
        ));
    }
    let shown = if verbose { above.len() } else { above.len().min(10) };
    for item in &above[..shown] {
        text.push_str(&format!("{:>6}  {}\n", item.lines, item.label()));
    }
    if shown < above.len() {
        text.push_str(&format!("        … and {} more (--verbose)\n", above.len() - shown));
    }
    if verbose {
        text.push_str(&totals(measured));
    }
    text
}

fn totals(measured: &[Measured]) -> String {
    let mut crates: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for item in measured.iter().filter(|item| item.function.is_none()) {
        let dir = item.file.split("/src/").next().unwrap_or(&item.file);
        crates.entry(dir).or_default().push(item.lines);
    }
    let mut text =
        format!("{:<20} {:>6} {:>7} {:>7} {:>6}\n", "crate", "files", "lines", "median", "max");
    for (name, mut lines) in crates {
        lines.sort_unstable();
        text.push_str(&format!(
            "{name:<20} {:>6} {:>7} {:>7} {:>6}\n",
            lines.len(),
            lines.iter().sum::<usize>(),
            lines[lines.len() / 2],
            lines[lines.len() - 1]
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let code = "trait T {\n    fn declared(&self);\n}\nfn long(\n    a: [u8; 2],\n) {\n    b();\n}\n\
                    type F = fn (u8);\n";
        assert_eq!(functions(code), [("long".to_owned(), 4, 5)]);
    }

    #[test]
    fn limits_fail_and_exceptions_cover() {
        let long = Measured { file: "a.rs".to_owned(), function: None, lines: FILE.limit + 1 };
        let exception =
            Exception { file: "a.rs".to_owned(), function: None, reason: "a table".to_owned() };
        assert!(covers(&exception, &long));
        let fitting = Measured { lines: FILE.limit, ..long };
        assert_eq!(unused(std::slice::from_ref(&exception), &[fitting]).len(), 1);
    }

    #[test]
    fn test_functions_do_not_count() {
        let text =
            format!("//! x\n#[cfg(test)]\nmod tests {{\nfn f() {{{}}}\n}}\n", "\n".repeat(999));
        let file = SourceFile::new("crates/x/src/a.rs", text);
        let measured = measure(&file);
        assert_eq!((measured.len(), measured[0].lines), (1, 1));
    }
}
