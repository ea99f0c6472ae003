//! A terminal of the test's own: a `tmux` server with one window, in which a shell runs.
//!
//! Uses nothing else of this package: the tests of `portreeve-top` include it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// One terminal; dropped, it is gone with all that runs in it.
#[derive(Debug)]
pub struct Tmux {
    directory: TempDir,
}

/// How long something may take to be seen.
const DEADLINE: Duration = Duration::from_secs(30);

impl Tmux {
    /// A terminal of this size with a shell in it; `None` where there is no `tmux`.
    pub fn start(columns: u16, lines: u16) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            let why = "skipped: no tmux here";
            let required = std::env::var_os("PORTREEVE_REQUIRE_ALL").is_some_and(|set| set == "1");
            assert!(!required, "{why}");
            eprintln!("{why}");
            return None;
        }
        let tmux = Self { directory: tempfile::tempdir().unwrap() };
        let size = [columns.to_string(), lines.to_string()];
        tmux.run(&[
            "new-session",
            "-d",
            "-x",
            &size[0],
            "-y",
            &size[1],
            "env",
            "PS1=$ ",
            "sh",
            "-i",
        ]);
        tmux.sees("$");
        Some(tmux)
    }

    /// The directory in which the shell is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Presses keys, by the names that `tmux` has for them.
    pub fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys", "-t", ":"], keys].concat());
    }

    /// Types a text and then one key.
    pub fn types(&self, text: &str, key: &str) {
        self.run(&["send-keys", "-t", ":", "-l", text]);
        self.keys(&[key]);
    }

    /// Makes the terminal another size.
    pub fn resize(&self, columns: u16, lines: u16) {
        let size = [columns.to_string(), lines.to_string()];
        self.run(&["resize-window", "-t", ":", "-x", &size[0], "-y", &size[1]]);
    }

    /// Waits until a text is on the screen.
    pub fn sees(&self, wanted: &str) {
        self.waits(wanted, |screen| screen.contains(wanted));
    }

    /// Waits until a text is no longer on the screen.
    pub fn misses(&self, unwanted: &str) {
        self.waits(unwanted, |screen| !screen.contains(unwanted));
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.run(&["capture-pane", "-p", "-t", ":"])
    }

    /// The same with its colours and modifiers.
    pub fn styled_screen(&self) -> String {
        self.run(&["capture-pane", "-p", "-e", "-t", ":"])
    }

    /// `1` if the screen for whole-screen programs is shown, else `0`.
    pub fn is_alternate(&self) -> String {
        self.run(&["display-message", "-p", "-t", ":", "#{alternate_on}"]).trim().to_owned()
    }

    fn waits(&self, text: &str, done: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if done(&screen) {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "waited in vain for `{text}`:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.socket()).args(["-f", "/dev/null"]);
        command.current_dir(self.directory());
        // The test's own environment is not the terminal's.
        for name in ["TMUX", "LC_ALL", "LC_CTYPE", "NO_COLOR", "ENV"] {
            command.env_remove(name);
        }
        command.env("LANG", "C.UTF-8");
        command
    }

    fn socket(&self) -> PathBuf {
        self.directory().join("tmux")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}
