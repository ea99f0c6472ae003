//! Running the supervisor as root and as an ordinary user, with a deadline, and looking at what
//! it leaves behind.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Who runs the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    Ordinary,
}

/// The ordinary user's number when the tests run as root. It needs no entry in /etc/passwd.
pub(crate) const ORDINARY_UID: u32 = 61_000;

/// What a supervisor did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl User {
    /// Whom the tests can be here. Says why if somebody is missing.
    pub(crate) fn available() -> Vec<Self> {
        static USERS: OnceLock<Vec<User>> = OnceLock::new();
        USERS.get_or_init(Self::find_available).clone()
    }

    fn find_available() -> Vec<Self> {
        let mut users = Vec::new();
        if am_root() {
            match portreeve_sandbox::probe().iter().find(|finding| !finding.ok) {
                None => users.push(Self::Root),
                Some(finding) => skip(&format!("root: {}: {}", finding.what, finding.why)),
            }
        } else {
            skip("root: the tests do not run as root");
        }
        match ordinary_user_obstacle() {
            None => users.push(Self::Ordinary),
            Some(why) => skip(&format!("ordinary user: {why}")),
        }
        users
    }

    /// A supervisor with these arguments, not yet run.
    pub(crate) fn supervisor(self, arguments: &[&str]) -> Command {
        let (program, mut words) = self.supervisor_words();
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null());
        command
    }

    /// The supervisor as words of a shell command.
    pub(crate) fn supervisor_words(self) -> (String, Vec<String>) {
        if self == Self::Root || !am_root() {
            return (this_program(), vec!["--supervise".to_owned()]);
        }
        self.supervisor_words_after("")
    }

    /// The supervisor on a machine that is changed first, for itself alone, by a shell script
    /// that runs as root in a mount namespace of its own. For tests that run as root.
    pub(crate) fn supervisor_words_after(self, change: &str) -> (String, Vec<String>) {
        // A device node everybody may open over the one that is root's alone, and this program,
        // which may be below a directory only root can enter.
        let ordinary = "mknod -m 0666 /mnt/tun c 10 200
            mount --bind /mnt/tun /dev/net/tun
            exec setpriv --reuid 61000 --regid 61000 --clear-groups /mnt/guest \"$@\"";
        let last = if self == Self::Root { "exec /mnt/guest \"$@\"" } else { ordinary };
        let script = format!(
            "set -e
            mount -t tmpfs -o mode=0755 none /mnt
            cp \"$1\" /mnt/guest
            shift
            {change}
            cd /
            {last}"
        );
        let this = this_program();
        let words = ["-m", "sh", "-c", &script, "sh", &this, "--supervise"];
        ("unshare".to_owned(), words.map(str::to_owned).to_vec())
    }

    /// What a supervisor does on a machine changed so.
    pub(crate) fn run_after(self, change: &str, arguments: &[&str]) -> Outcome {
        let (program, words) = self.supervisor_words_after(change);
        let mut command = Command::new(program);
        command.args(words).args(arguments).stdin(Stdio::null());
        finish(command, DEADLINE)
    }

    pub(crate) fn run(self, arguments: &[&str]) -> Outcome {
        finish(self.supervisor(arguments), DEADLINE)
    }

    /// What this program says when it is run inside a guest.
    pub(crate) fn inspect(self, options: &[&str], what: &str) -> Outcome {
        let inside = self.program_inside();
        let mut arguments = options.to_vec();
        arguments.extend(["--", &inside, "--inspect", what]);
        self.run(&arguments)
    }

    /// Where this program is found inside.
    pub(crate) fn program_inside(self) -> String {
        if self == Self::Ordinary && am_root() { "/mnt/guest".to_owned() } else { this_program() }
    }

    pub(crate) fn uid(self) -> u32 {
        match self {
            Self::Ordinary if am_root() => ORDINARY_UID,
            Self::Root | Self::Ordinary => rustix::process::getuid().as_raw(),
        }
    }
}

/// Why the tests cannot be an ordinary user here.
fn ordinary_user_obstacle() -> Option<String> {
    if !am_root() {
        let findings = portreeve_sandbox::probe();
        let missing = findings.into_iter().find(|finding| !finding.ok)?;
        return Some(format!("{}: {}", missing.what, missing.why));
    }
    for (tool, package) in [("unshare", "util-linux"), ("setpriv", "util-linux")] {
        if !in_path(tool) {
            return Some(format!("{tool} (package {package}) is missing"));
        }
    }
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    (limit.trim() == "0").then(|| "user.max_user_namespaces is 0".to_owned())
}

pub(crate) fn in_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).exists())
}

pub(crate) fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why something is not tested here; where everything must be, that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("PORTREEVE_REQUIRE_ALL").is_none_or(|value| value != "1"), "{why}");
    eprintln!("not tested: {why}");
}

pub(crate) fn this_program() -> String {
    std::env::current_exe().expect("/proc").to_str().expect("UTF-8").to_owned()
}

/// Runs a command to its end, which must come before the deadline.
pub(crate) fn finish(mut command: Command, deadline: Duration) -> Outcome {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let out = reader(child.stdout.take().expect("piped"));
    let err = reader(child.stderr.take().expect("piped"));
    let status = wait_for(&mut child, deadline);
    Outcome {
        code: status.code(),
        out: out.join().expect("no panic"),
        err: err.join().expect("no panic"),
    }
}

fn reader(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

pub(crate) fn wait_for(child: &mut Child, deadline: Duration) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return status;
        }
        if started.elapsed() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("still running after {deadline:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A supervisor in the background, killed when dropped.
#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) child: Child,
    lines: std::io::BufReader<std::process::ChildStdout>,
    pub(crate) init: Vec<i32>,
}

impl Background {
    /// Starts a supervisor and waits until its command has printed `ready`.
    pub(crate) fn start(user: User, guests: usize, arguments: &[&str]) -> Self {
        use std::io::BufRead as _;
        let mut command = user.supervisor(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut lines = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let mut err = std::io::BufReader::new(child.stderr.take().expect("piped"));
        let mut init = Vec::new();
        let mut said = String::new();
        while init.len() < guests {
            let mut line = String::new();
            assert!(err.read_line(&mut line).expect("text") > 0, "it ended early: {said}");
            init.extend(line.trim().strip_prefix("init=").and_then(|pid| pid.parse::<i32>().ok()));
            said += &line;
        }
        // Keeps the pipe from filling or breaking.
        std::thread::spawn(move || std::io::copy(&mut err, &mut std::io::sink()));
        for _ in 0..guests {
            let mut line = String::new();
            lines.read_line(&mut line).expect("text");
            assert_eq!(line.trim(), "ready");
        }
        Self { child, lines, init }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("our child");
    }

    /// Waits for the end; the answer is the exit code and what else was printed.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        let code = wait_for(&mut self.child, DEADLINE).code();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("text");
        (code, rest)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A word that no other process has in its command line.
pub(crate) fn marker() -> String {
    let nanos = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    format!("{}.{}", 100_000 + std::process::id(), nanos % 1_000_000_000)
}

/// The processes with `marker` in their command line.
pub(crate) fn processes_with(marker: &str) -> Vec<PathBuf> {
    let me = std::process::id().to_string();
    processes()
        .filter(|process| !process.ends_with(&me))
        .filter(|process| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(marker)
        })
        .collect()
}

/// The processes in a network namespace, or that hold it open.
pub(crate) fn users_of(namespace: &Path) -> Vec<PathBuf> {
    processes()
        .filter(|process| {
            let fds = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            fs::read_link(process.join("ns/net")).is_ok_and(|link| link == namespace)
                || fds
                    .into_iter()
                    .any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link == namespace))
        })
        .collect()
}

fn processes() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
    })
}

pub(crate) fn network_of(pid: i32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/net")).expect("our guest")
}

/// Waits until `done`, for a bounded time.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(5), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory that is removed again.
pub(crate) struct TemporaryDirectory(pub(crate) PathBuf);

impl TemporaryDirectory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("portreeve-test-{}", marker()));
        fs::create_dir(&path).expect("a fresh name");
        Self(path)
    }

    pub(crate) fn open_to_everybody(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let everybody = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&self.0, everybody).expect("ours");
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::File::create(&path).expect("ours").write_all(text.as_bytes()).expect("room");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
