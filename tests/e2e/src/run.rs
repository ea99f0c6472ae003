//! `portreeve run`, started by one of the machine's users and watched.
//!
//! Owns the process: it is waited for with a deadline, and killed with the test that started it.
//! Never leaves a file.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::calls::{Caller, Calls};
use crate::etc::Etc;
use crate::lines::Lines;
use crate::machine::{DEADLINE, ORDINARY_UID, User, eventually};
use crate::network::Family;
use crate::program;

/// What `portreeve run` is to be given.
#[derive(Clone, Debug)]
pub struct Run {
    user: User,
    options: Vec<String>,
    command: Vec<String>,
    /// Options of the launcher.
    launch: Vec<String>,
}

/// What came of one.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; none if a signal killed it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// How long it ran.
    pub took: Duration,
}

/// Where the launcher puts the programs for a user who may not enter their directory.
const OPEN_PLACE: &str = "/mnt";

impl Run {
    /// By this user, without options.
    pub fn by(user: User) -> Self {
        Self { user, options: Vec::new(), command: Vec::new(), launch: Vec::new() }
    }

    /// By whoever has the fewest rights.
    pub fn usual() -> Self {
        Self::by(User::usual())
    }

    /// One more option, or several.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// Publishes this.
    #[must_use]
    pub fn publish(self, spec: &str) -> Self {
        self.with(&["-p", spec])
    }

    /// The command.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The guest's program with these services; see `src/guest/main.rs`.
    #[must_use]
    pub fn serve(self, services: &[&str]) -> Self {
        let guest = self.guest_program();
        let mut words = vec![guest.as_str(), "serve"];
        words.extend(services);
        self.command(&words)
    }

    /// In a session of its own with this terminal.
    #[must_use]
    pub fn terminal(mut self, path: &Path) -> Self {
        self.launch.extend(["--tty".into(), path.to_str().expect("UTF-8").into()]);
        self
    }

    /// With another `/etc`; only root may do that.
    #[must_use]
    pub fn etc(mut self, etc: &Etc) -> Self {
        self.launch.extend(["--etc".into(), etc.path().to_str().expect("UTF-8").into()]);
        self
    }

    /// Where the command finds the guest's program.
    pub fn guest_program(&self) -> String {
        self.place(&program::guest())
    }

    /// Starts it, and waits for nothing.
    pub fn start(&self) -> Running {
        let mut launcher = self.launcher();
        launcher.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = launcher.spawn().expect("the launcher starts");
        let out = Lines::of(child.stdout.take().expect("piped"));
        let err = Lines::of(child.stderr.take().expect("piped"));
        let stdin = child.stdin.take();
        Running { child, stdin, out, err, started, calls: Calls::default() }
    }

    /// The whole command, for who wants its pipes.
    pub fn launcher(&self) -> Command {
        let mut launcher = Command::new(program::guest());
        launcher.arg("launch").args(&self.launch);
        let portreeve = program::portreeve();
        if self.user.is_other() {
            launcher.args(["--user", &ORDINARY_UID.to_string(), "--place", OPEN_PLACE]);
            launcher.arg("--open").arg(portreeve).arg("--open").arg(program::guest());
        }
        launcher.arg("--").arg(self.place(portreeve)).arg("run").args(&self.options);
        launcher.arg("--").args(&self.command).current_dir("/");
        launcher
    }

    /// Starts it, and waits until the guest's services listen.
    pub fn up(&self) -> Running {
        let running = self.start();
        let listening = running.out.find_within(DEADLINE, |line| line == "listening");
        assert!(listening.is_ok(), "{self:?}: {}", running.said());
        running
    }

    /// Runs it to its end, with nothing on standard input.
    pub fn outcome(&self) -> Outcome {
        let mut running = self.start();
        drop(running.stdin.take());
        running.end()
    }

    fn place(&self, program: &Path) -> String {
        let open = Path::new(OPEN_PLACE).join(program.file_name().expect("a file"));
        let place = if self.user.is_other() { &open } else { program };
        place.to_str().expect("UTF-8").to_owned()
    }
}

/// A `portreeve run` under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// The command's standard input. Its end ends the guest's program.
    pub stdin: Option<ChildStdin>,
    /// What the command prints.
    pub out: Lines,
    /// What `portreeve` prints, and the command's standard error.
    pub err: Lines,
    started: Instant,
    calls: Calls,
}

impl Caller for Running {
    fn orders(&self) -> impl std::io::Write {
        self.stdin.as_ref().expect("not yet closed")
    }

    fn lines(&self) -> &Lines {
        &self.out
    }

    fn calls(&self) -> &Calls {
        &self.calls
    }

    fn words(&self) -> String {
        self.said()
    }
}

impl Running {
    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where a guest's TCP port is published on loopback.
    pub fn tcp(&self, guest_port: u16, family: Family) -> SocketAddr {
        self.published(&format!("{guest_port}/tcp"), family)
    }

    /// Where a guest's UDP port is published on loopback.
    pub fn udp(&self, guest_port: u16, family: Family) -> SocketAddr {
        self.published(&format!("{guest_port}/udp"), family)
    }

    /// Where a port is published, from the lines on standard error.
    pub fn published(&self, port: &str, family: Family) -> SocketAddr {
        let started = Instant::now();
        loop {
            let found = self.all_published(port).into_iter().find(|at| family.has(at.ip()));
            if let Some(address) = found {
                return address;
            }
            assert!(started.elapsed() < DEADLINE, "{port} is not published: {}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// All that a port has been published on until now.
    pub fn all_published(&self, port: &str) -> Vec<SocketAddr> {
        let err = self.err.so_far();
        let prefix = format!("{port} -> ");
        let of_port = err.lines().filter_map(|line| line.strip_prefix(&prefix));
        of_port.filter_map(|address| address.parse().ok()).collect()
    }

    /// Waits for something that the command says.
    pub fn hear(&self, wanted: &str) -> String {
        let heard = self.out.find_within(DEADLINE, |line| line.contains(wanted));
        heard.unwrap_or_else(|_| panic!("no `{wanted}`: {}", self.said()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our child");
    }

    /// Gives the guest's program an order.
    pub fn tell(&mut self, order: &str) {
        let stdin = self.stdin.as_mut().expect("not yet closed");
        stdin.write_all(format!("{order}\n").as_bytes()).unwrap();
    }

    /// Sets how many files it may have open from here on.
    pub fn limit_open_files(&self, files: usize) {
        let mut limit = Command::new(program::guest());
        limit.args(["limit", &self.id().to_string(), &files.to_string()]);
        assert!(limit.status().expect("it starts").success());
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Waits for its end.
    pub fn end(mut self) -> Outcome {
        let mut status = None;
        eventually("portreeve ends", || {
            status = self.ended();
            status.is_some()
        });
        Outcome {
            code: status.and_then(|status| status.code()),
            took: self.started.elapsed(),
            out: self.out.to_end(DEADLINE),
            err: self.err.to_end(DEADLINE),
        }
    }

    /// Ends the guest's program, which must go well.
    pub fn finish(mut self) -> Outcome {
        drop(self.stdin.take());
        let outcome = self.end();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome
    }

    /// The guest's init: the child that `portreeve` has.
    pub fn init(&self) -> u32 {
        let family = crate::machine::family(self.id());
        *family.get(1).unwrap_or_else(|| panic!("no guest: {}", self.said()))
    }

    /// Everything that was printed.
    pub fn said(&self) -> String {
        format!("out:\n{}err:\n{}", self.out.so_far(), self.err.so_far())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

/// A directory that everybody may write to, removed in the end.
pub fn open_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("portreeve-e2e-").tempdir().unwrap();
    // Afterwards, so that the umask has no say.
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    directory
}

/// A path in it.
pub fn file_in(directory: &tempfile::TempDir, name: &str) -> (PathBuf, String) {
    let path = directory.path().join(name);
    let text = path.to_str().expect("UTF-8").to_owned();
    (path, text)
}
