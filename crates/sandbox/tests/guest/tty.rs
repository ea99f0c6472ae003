//! A terminal with an interactive shell on it, and somebody who types.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::machine::{self, User};

/// bash on a pseudo-terminal, as the leader of a session of its own.
pub(crate) struct Terminal {
    screen: OwnedFd,
    shell: Child,
    seen: String,
    files: Vec<machine::TemporaryDirectory>,
}

impl Terminal {
    /// `None`, with the reason said, if the tools are missing.
    pub(crate) fn open() -> Option<Self> {
        if !machine::in_path("bash") || !machine::in_path("setsid") {
            machine::skip("no bash or no setsid");
            return None;
        }
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = rustix::pty::openpt(flags).expect("a pseudo-terminal");
        rustix::pty::grantpt(&screen).expect("ours");
        rustix::pty::unlockpt(&screen).expect("ours");
        let name = rustix::pty::ptsname(&screen, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let side = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("its other side");
        let stdio = || Stdio::from(side.try_clone().expect("a descriptor"));
        let shell = Command::new("setsid")
            .args(["--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"])
            .env("PS1", "$ ")
            .env("TERM", "dumb")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("a shell");
        let mut terminal = Self { screen, shell, seen: String::new(), files: Vec::new() };
        terminal.resize(24, 80);
        terminal.expect("$ ");
        Some(terminal)
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.screen, size).expect("a terminal");
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        let mut screen = std::fs::File::from(self.screen.try_clone().expect("a descriptor"));
        screen.write_all(text.as_bytes()).expect("a terminal");
    }

    /// Types a command line that runs a supervisor with `arguments`, quoted for the shell.
    pub(crate) fn supervise(&mut self, user: User, arguments: &[&str], rest: &str) {
        let (program, words) = user.supervisor_words();
        let line: Vec<String> = std::iter::once(program)
            .chain(words)
            .chain(arguments.iter().map(|&word| word.to_owned()))
            .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
            .collect();
        // Through a file: a terminal takes lines of 4096 bytes at most.
        let directory = machine::TemporaryDirectory::new();
        let file = directory.file("line", &format!("{} {rest}\n", line.join(" ")));
        self.type_in(&format!(". {file}\n"));
        self.expect(&file);
        self.files.push(directory);
    }

    /// Reads until `text` shows up, and forgets everything up to its end.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            assert!(started.elapsed() < Duration::from_secs(10), "no {text:?} in {:?}", self.seen);
            self.read();
        }
    }

    fn read(&mut self) {
        let mut waiting = [PollFd::new(&self.screen, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if rustix::event::poll(&mut waiting, Some(&timeout)).expect("a terminal") == 0 {
            return;
        }
        let mut bytes = [0; 4096];
        match rustix::io::read(self.screen.as_fd(), &mut bytes) {
            Ok(length) => self.seen += &String::from_utf8_lossy(&bytes[..length]),
            Err(error) => panic!("{error}; on the screen: {:?}", self.seen),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
