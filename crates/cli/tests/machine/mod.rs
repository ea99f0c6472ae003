//! Machines that lack something, for tests of the command: made by shell scripts in mount
//! namespaces, so that nobody else notices; and the command, run there to its end.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long one command may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a command printed, and how it ended.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// `/mnt/tun` is a TUN device that anybody may open.
pub(crate) const OPEN_TUN: &str = "mount --bind /mnt/tun /dev/net/tun";
pub(crate) const CLOSED_TUN: &str = "chmod 0600 /mnt/tun; mount --bind /mnt/tun /dev/net/tun";

/// The command run by somebody with no entry in /etc/passwd and no rights.
pub(crate) fn ordinary(arguments: &str) -> String {
    format!("setpriv --reuid 61000 --regid 61000 --clear-groups /mnt/portreeve {arguments}")
}

/// Tests ask nobody but this machine: its name server is on loopback, and need not be there.
const RESOLVER: &str = "if [ -e /etc/resolv.conf ]; then
            echo 'nameserver 127.0.0.53' > /mnt/resolver
            mount --bind /mnt/resolver /etc/resolv.conf
        fi";

/// `run` on a machine that a shell script has changed, for itself alone: in a mount namespace with
/// a TUN device at `/mnt/tun` and the command at `/mnt/portreeve`. `None` if this cannot be made.
pub(crate) fn on_machine(change: &str, run: &str) -> Option<Command> {
    let try_out = "mount -t tmpfs none /mnt && mknod /mnt/tun c 10 200 && setpriv --version";
    if !am_root() {
        skip("the tests do not run as root, who can become another user");
        return None;
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        skip("there is no /dev/net/tun to hide behind another one");
        return None;
    }
    if !succeeds(Command::new("unshare").args(["-m", "sh", "-c", try_out])) {
        skip("unshare, mount, mknod or setpriv do not work here");
        return None;
    }
    let script = format!(
        "set -e
        mount -t tmpfs -o mode=0755 none /mnt
        mknod -m 0666 /mnt/tun c 10 200
        cp \"$0\" /mnt/portreeve
        {RESOLVER}
        {change}
        cd /
        exec {run}"
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_portreeve")]);
    Some(command)
}

/// Why the user that runs the tests gets no guest in namespaces here.
pub(crate) fn namespace_obstacle() -> Option<String> {
    let findings = portreeve_sandbox::probe();
    let missing = findings.into_iter().find(|finding| !finding.ok)?;
    Some(format!("{}: {}", missing.what, missing.why))
}

/// Whether a user without rights may make user namespaces.
pub(crate) fn ordinary_user_namespaces() -> bool {
    let script =
        ["--reuid", "61000", "--regid", "61000", "--clear-groups", "unshare", "-U", "true"];
    succeeds(Command::new("setpriv").args(script))
}

fn am_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Says why a test is left out, unless none may be.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("PORTREEVE_REQUIRE_ALL").is_none_or(|set| set != "1"), "{why}");
    // Past the capture of the test's own output, so that it is seen.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Outcome {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let out = gather(child.stdout.take().expect("a pipe"));
    let err = gather(child.stderr.take().expect("a pipe"));
    let code = wait(&mut child);
    let outcome = Outcome {
        code: code.flatten(),
        out: out.join().expect("reading standard output"),
        err: err.join().expect("reading standard error"),
    };
    assert!(code.is_some(), "not over after {DEADLINE:?}: {outcome}");
    outcome
}

/// The exit code, inside one more `Option` because there may be none yet at the deadline.
fn wait(child: &mut Child) -> Option<Option<i32>> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("waiting for a child") {
            return Some(status.code());
        }
        if Instant::now() >= deadline {
            child.kill().expect("ending a child");
            child.wait().expect("waiting for a child");
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn gather(mut from: impl std::io::Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\n{}\n{}", self.code, self.out, self.err)
    }
}
