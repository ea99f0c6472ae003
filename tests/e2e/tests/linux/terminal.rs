//! On a terminal: Ctrl-C is the command's, and its size and its output are the terminal's.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::Instant;

use portreeve_e2e::machine::{DEADLINE, ORDINARY_UID, User};
use portreeve_e2e::network::isolated;
use portreeve_e2e::run::Run;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The side of a terminal where a person sits.
struct Person {
    terminal: File,
    seen: String,
}

impl Person {
    fn sit_down(user: User) -> (Self, PathBuf) {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let path = PathBuf::from(name.into_string().unwrap());
        if user.is_other() {
            // A login would do as much.
            chown(&path, Some(ORDINARY_UID), None).unwrap();
        }
        (Self { terminal: terminal.into(), seen: String::new() }, path)
    }

    fn types(&mut self, keys: &[u8]) {
        self.terminal.write_all(keys).unwrap();
    }

    fn sees(&mut self, wanted: &str) {
        let started = Instant::now();
        while !self.seen.contains(wanted) {
            assert!(started.elapsed() < DEADLINE, "no `{wanted}`: {}", self.seen);
            let mut fds = [PollFd::new(&self.terminal, PollFlags::IN)];
            let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            rustix::event::poll(&mut fds, Some(&pause)).unwrap();
            if fds[0].revents().contains(PollFlags::IN) {
                let mut bytes = [0; 4096];
                let length = self.terminal.read(&mut bytes).unwrap_or(0);
                self.seen += &String::from_utf8_lossy(&bytes[..length]);
            }
        }
    }
}

#[test]
fn ctrl_c_ends_the_command_and_with_it_the_run() {
    isolated(|_| {
        for user in User::all() {
            let (mut person, path) = Person::sit_down(user);
            // Not a shell with a `sleep`: between the two, some shells lose a Ctrl-C.
            let run = Run::by(user).publish("0:80").terminal(&path).serve(&["stay"]).start();
            person.sees("80/tcp -> 127.0.0.1:");
            person.sees("listening");
            person.types(b"\x03");
            assert_eq!(run.end().code, Some(130));
        }
    });
}

#[test]
fn a_command_that_handles_ctrl_c_goes_on() {
    isolated(|_| {
        let (mut person, path) = Person::sit_down(User::usual());
        let script = "trap 'echo caught' INT; echo ready; read line; echo \"line: $line\"; exit 5";
        let run = Run::usual().terminal(&path).command(&["bash", "-c", script]).start();
        person.sees("ready");
        person.types(b"\x03");
        person.sees("caught");
        person.types(b"hello\n");
        person.sees("line: ");
        assert_eq!(run.end().code, Some(5));
    });
}
