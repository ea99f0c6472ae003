//! Checks the source text: what a dependency graph cannot show.

use super::rules::{
    FORBID_UNSAFE, SANS_IO_DIRS, SANS_IO_PATHS, STACK_HOMES, STACK_MODULES, STACK_REASON,
};
use crate::{
    source::{SourceFile, paths},
    violation::Violation,
};

/// Every broken source rule.
pub(super) fn check(files: &[SourceFile]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files {
        head_comment(file, &mut violations);
        unsafe_word(file, &mut violations);
        forbid_attribute(file, &mut violations);
        used_paths(file, &mut violations);
    }
    violations
}

fn head_comment(file: &SourceFile, violations: &mut Vec<Violation>) {
    if !file.text.starts_with("//!") {
        violations.push(violation(
            file,
            1,
            "does not open with `//!`",
            "a file says first what it owns, what it never does, and its spec",
        ));
    }
}

fn unsafe_word(file: &SourceFile, violations: &mut Vec<Violation>) {
    if in_sys(&file.path) {
        return;
    }
    for (index, line) in file.code.lines().enumerate() {
        let is_word = |c: char| c == '_' || c.is_alphanumeric();
        if line.split(|c| !is_word(c)).any(|word| word == "unsafe") {
            violations.push(violation(
                file,
                index + 1,
                "`unsafe` outside src/sys/",
                "unsafe code and raw system calls sit in */src/sys/ (tests: tests/sys/), each \
                 with its SAFETY argument, so that a reviewer finds all of them",
            ));
        }
    }
}

/// `…/src/sys/…`, `…/tests/sys/…`, and the same as a single `sys.rs`.
fn in_sys(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    parts
        .windows(2)
        .any(|pair| matches!(pair[0], "src" | "tests") && matches!(pair[1], "sys" | "sys.rs"))
}

fn forbid_attribute(file: &SourceFile, violations: &mut Vec<Violation>) {
    let dir = file.crate_dir();
    let name = &file.path[dir.len()..];
    let is_root = matches!(name, "/src/lib.rs" | "/src/main.rs");
    if is_root && FORBID_UNSAFE.contains(&dir) && !file.code.contains("#![forbid(unsafe_code)]") {
        violations.push(violation(
            file,
            1,
            "lacks `#![forbid(unsafe_code)]`",
            "this crate needs no unsafe code; the attribute keeps it that way",
        ));
    }
}

fn used_paths(file: &SourceFile, violations: &mut Vec<Violation>) {
    let sans_io = SANS_IO_DIRS.contains(&file.crate_dir());
    let stack_home = STACK_HOMES.iter().any(|home| file.path.starts_with(home));
    let stack_ruled = file.path.starts_with("crates/") && !stack_home;
    if !sans_io && !stack_ruled {
        return;
    }
    for used in paths(&file.code) {
        if file.is_test_line(used.line) {
            continue;
        }
        for (banned, reason) in SANS_IO_PATHS.iter().filter(|_| sans_io) {
            if ends_in(&used.path, banned) {
                let message = format!("uses `{banned}`");
                violations.push(violation(file, used.line, &message, reason));
            }
        }
        for module in STACK_MODULES.iter().filter(|_| stack_ruled) {
            if used
                .path
                .strip_prefix(module)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            {
                let message = format!("uses `{module}`");
                violations.push(violation(file, used.line, &message, STACK_REASON));
            }
        }
    }
}

/// True when `path` ends in the segments of `tail`, or goes on below them.
fn ends_in(path: &str, tail: &str) -> bool {
    let path = format!("::{path}::");
    path.contains(&format!("::{tail}::"))
}

fn violation(file: &SourceFile, line: usize, message: &str, reason: &str) -> Violation {
    Violation {
        file: file.path.clone(),
        line,
        message: message.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&[SourceFile::new(path, text.to_owned())])
            .into_iter()
            .map(|violation| format!("{} {}", violation.line, violation.message))
            .collect()
    }

    #[test]
    fn core_reads_no_clock_outside_tests() {
        let text = "//! x\nfn f() { std::time::Instant::now(); }\n\
                    #[cfg(test)]\nmod tests { fn g() { Instant::now(); } }\n";
        assert_eq!(messages("crates/core/src/flow.rs", text), ["2 uses `Instant::now`"]);
        assert!(messages("crates/host/src/dial.rs", text).is_empty());
    }

    #[test]
    fn sockets_in_use_trees_are_found() {
        let text = "//! x\nuse std::{net::{IpAddr, UdpSocket}, fmt};\n";
        assert_eq!(messages("crates/wire/src/a.rs", text), ["2 uses `std::net::UdpSocket`"]);
        assert!(messages("crates/wire/src/a.rs", "//! std::net::UdpSocket\n").is_empty());
    }

    #[test]
    fn unsafe_has_its_place() {
        let text = "//! unsafe in words is fine: \"unsafe\"\nfn f() { unsafe { g() } }\n";
        assert_eq!(messages("crates/link/src/tap.rs", text), ["2 `unsafe` outside src/sys/"]);
        assert!(messages("crates/link/src/sys/tap.rs", text).is_empty());
        assert!(messages("crates/link/src/a.rs", "//! x\n#![deny(unsafe_code)]\n").is_empty());
    }

    #[test]
    fn smoltcp_sockets_have_one_home() {
        let text = "//! x\nuse smoltcp::{socket::tcp, wire};\n";
        assert_eq!(messages("crates/core/src/engine.rs", text), ["2 uses `smoltcp::socket`"]);
        for home in ["crates/core/src/flow/tcp/stack.rs", "crates/testkit/src/guest.rs"] {
            assert!(
                messages(home, text.replace("x\n", "x\n#![forbid(unsafe_code)]\n").as_str())
                    .is_empty()
            );
        }
    }

    #[test]
    fn roots_forbid_unsafe_code() {
        assert_eq!(
            messages("crates/core/src/lib.rs", "//! x\n"),
            ["1 lacks `#![forbid(unsafe_code)]`"]
        );
        assert_eq!(messages("crates/host/src/lib.rs", ""), ["1 does not open with `//!`"]);
    }
}
