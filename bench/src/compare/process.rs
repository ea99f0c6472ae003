//! Processes of an engine: starting, counting what they use, ending all of them.

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Time for an engine to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// A started process, killed with all its descendants when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts the command without input; what it says goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut start = || -> io::Result<Child> {
            let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
        };
        start().map(|child| Self { child }).map_err(|error| format!("{program}: {error}"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The list is taken first: once the root is gone, its children are process 1's.
        let family = family(self.id());
        signal(self.id(), Signal::TERM);
        let until = Instant::now() + GRACE;
        while Instant::now() < until && family.iter().any(|&id| is_running(id)) {
            let _ = self.child.try_wait();
            thread::sleep(Duration::from_millis(5));
        }
        for &id in &family {
            if is_running(id) {
                signal(id, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile, which is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

/// What the processes of an engine have used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Resident memory; what processes share counts for each.
    pub(crate) resident_bytes: u64,
}

/// Adds up the processes below the given roots (included), except servers of the load generator.
pub(crate) fn usage(roots: &[u32]) -> Usage {
    let ids: HashSet<u32> = roots.iter().flat_map(|&root| family(root)).collect();
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut usage = Usage::default();
    for id in ids.into_iter().filter(|&id| !is_server(id)) {
        if let Some(stat) = Stat::read(id) {
            usage.cpu_seconds += stat.ticks as f64 / ticks_per_second;
        }
        usage.resident_bytes += resident(id).unwrap_or(0);
    }
    usage
}

/// The server of the load generator at or below a process, once it runs: it stands in the guest.
pub(crate) fn server_below(root: u32) -> Option<u32> {
    family(root).into_iter().find(|&id| is_server(id))
}

fn is_server(id: u32) -> bool {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let mut words = line.split(|&byte| byte == 0);
    words.next().is_some_and(|word| word.ends_with(b"portreeve-bench"))
        && words.next() == Some(b"server")
}

fn is_running(id: u32) -> bool {
    Stat::read(id).is_some_and(|stat| stat.state != 'Z' && stat.state != 'X')
}

fn resident(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The process and all below it.
fn family(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            && let Some(stat) = Stat::read(id)
        {
            parents.push((id, stat.parent));
        }
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(id, _)| *id));
        next += 1;
    }
    family
}

/// The fields of /proc/PID/stat that are used here (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(id: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        // The name in parentheses may itself hold parentheses and spaces.
        let mut fields = line.get(line.rfind(')')? + 1..)?.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // utime and stime are fields 14 and 15; the parent was field 4.
        let user: u64 = fields.nth(9)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(Self { state, parent, ticks: user + system })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_a_hostile_name() {
        let line = "42 (a) S 1 (b)) R 7 42 42 0 -1 4194304 100 0 0 0 11 22 0 0 20 0 1 0 5 6 7";
        assert_eq!(Stat::parse(line), Some(Stat { state: 'R', parent: 7, ticks: 33 }));
        assert_eq!(Stat::parse("42 (short"), None);
    }

    #[test]
    fn own_usage_is_seen() {
        let usage = usage(&[std::process::id()]);
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
    }

    #[test]
    fn dropping_ends_the_whole_family() {
        let log = std::env::temp_dir().join(format!("portreeve-bench-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; sleep 60 & wait"]);
        let process = Process::start(command, &log).expect("sh");
        let until = Instant::now() + Duration::from_secs(5);
        while family(process.id()).len() < 2 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let members = family(process.id());
        assert_eq!(members.len(), 2);
        drop(process);
        let _ = fs::remove_file(&log);
        while members.iter().any(|&id| is_running(id)) {
            assert!(Instant::now() < until, "still there: {members:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
