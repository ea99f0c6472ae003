//! `portreeve completions` and `portreeve man` as they are run.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

fn portreeve(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_portreeve")).args(arguments).output();
    let output = output.expect("the command starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

#[test]
fn the_completions_are_scripts_that_their_shells_can_read() {
    for shell in ["bash", "zsh", "fish"] {
        let script = portreeve(&["completions", shell]);
        assert!(script.len() > 1000, "{shell}: {}", script.len());
        let options: &[&str] = if shell == "bash" { &["-n"] } else { &["--no-execute"] };
        let parse = Command::new(shell).args(options).stdin(Stdio::piped()).spawn();
        let mut parse = match parse {
            Ok(parse) => parse,
            // Few machines have the others, and CI installs neither.
            Err(error) => {
                assert_ne!(shell, "bash", "{error}");
                skip(&format!("{shell}: {error}"));
                continue;
            }
        };
        // Closed at the end of the statement: that is the script's end.
        parse.stdin.take().expect("a pipe").write_all(&script).expect("writing to a shell");
        assert!(parse.wait().expect("waiting for a shell").success(), "{shell}");
    }
}

#[test]
fn the_manual_page_begins_with_its_title() {
    let page = String::from_utf8(portreeve(&["man"])).expect("UTF-8");
    // Before it only what the apostrophe is to look like.
    let first = page.lines().find(|line| !line.contains(".ds Aq"));
    assert!(first.is_some_and(|line| line.starts_with(".TH portreeve 1")), "{page}");
}

#[test]
fn every_command_has_its_page_in_a_directory_that_is_made() {
    let folder = tempfile::tempdir().expect("a directory");
    let out = folder.path().join("share/man1");
    portreeve(&["man", "--out", out.to_str().expect("UTF-8")]);
    for name in ["portreeve", "portreeve-run", "portreeve-demo", "portreeve-man"] {
        let page = fs::read_to_string(out.join(format!("{name}.1"))).expect("a page");
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    let pages = fs::read_dir(&out).expect("a directory").map(|file| file.expect("a file"));
    let hidden = pages.filter(|file| file.file_name().to_string_lossy().contains("__"));
    assert_eq!(hidden.count(), 0);
}

/// Says what is left out, and why.
fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
