//! What this machine lets the tests do, and saying so where it does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest that anything here may take.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The ordinary user's number when the tests run as root. It needs no entry in /etc/passwd.
pub const ORDINARY_UID: u32 = 61_001;

/// Who runs `portreeve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Root.
    Root,
    /// Somebody without any privilege.
    Ordinary,
}

impl User {
    /// Everybody the tests can be here. Says why if somebody is missing.
    pub fn all() -> Vec<Self> {
        if !am_root() {
            skip("root: the tests do not run as root");
            return vec![Self::Ordinary];
        }
        let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
        if limit.trim() == "0" {
            skip("ordinary user: user.max_user_namespaces is 0");
            return vec![Self::Root];
        }
        vec![Self::Ordinary, Self::Root]
    }

    /// The one with the fewest rights: where being root makes no difference, one will do.
    pub fn usual() -> Self {
        Self::all()[0]
    }

    /// Whether this user is another than the one the tests run as.
    pub fn is_other(self) -> bool {
        self == Self::Ordinary && am_root()
    }
}

/// Whether the tests run as root.
pub fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why something is not tested here; where everything must be, that is a failure.
pub fn skip(why: &str) {
    assert!(std::env::var_os("PORTREEVE_REQUIRE_ALL").is_none_or(|value| value != "1"), "{why}");
    eprintln!("not tested: {why}");
}

/// Whether a program can be found; says so if not.
pub fn has_tool(tool: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = places.into_iter().any(|directory: PathBuf| directory.join(tool).exists());
    if !found {
        skip(&format!("{tool} (package {package}) is missing"));
    }
    found
}

/// Waits until `done`, for a bounded time.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < DEADLINE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that is a descendant of `root`, or `root`.
pub fn family(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = processes()
        .filter_map(|process| Some((process_id(&process)?, parent_of(&process)?)))
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(id, _)| *id));
        next += 1;
    }
    family
}

/// Whether there is such a process, zombies not counted.
pub fn is_running(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// The processes in a network namespace, or that hold it open.
pub fn users_of(namespace: &Path) -> Vec<PathBuf> {
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

/// Resident memory of a process, in bytes.
pub fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

/// Open descriptors of a process, in order.
pub fn descriptors(id: u32) -> Vec<usize> {
    let entries = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| process_id(path).is_some())
}

fn process_id(process: &Path) -> Option<u32> {
    process.file_name()?.to_str()?.parse().ok()
}

/// proc_pid_stat(5): the fourth field, counted behind the name, which may hold anything.
fn parent_of(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(1)?.parse().ok()
}
