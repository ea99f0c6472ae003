//! The ground a comparison stands on: a process, network and mount namespace of its own.
//!
//! The comparison is process 1 of its namespace and watches a pipe from the program that was
//! called. Whatever ends either of them ends every process and namespace of the comparison:
//! nothing has a name in the file system, so nothing can be left behind.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    thread,
};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change},
    process::{Resource, Rlimit, geteuid, getrlimit, setrlimit},
};

use super::{environment::memory_sysctls, topology::NAME_SERVER};
use crate::{
    socket::raise_fd_limit,
    sys::{Fresh, unshare},
};

/// Mounted over in the private mount namespace; it exists wherever there is a glibc.
const SCRATCH: &str = "/dev/shm";
/// Enough for ten thousand connections in engines that need several descriptors for each.
const FILE_LIMIT: u64 = 65_536;

/// The prepared ground.
pub(crate) struct Ground {
    /// A directory that is gone when the comparison is.
    pub(crate) scratch: PathBuf,
    /// This program, where any user may execute it.
    pub(crate) program: PathBuf,
    /// Why RootlessKit cannot be run here, if so.
    pub(crate) no_subordinate_ids: Option<String>,
}

/// Starts the comparison in a fresh process namespace and waits for it.
pub(super) fn run() -> io::Result<()> {
    if !geteuid().is_root() {
        return skipped("it makes network namespaces and needs root");
    }
    if let Err(error) = unshare(Fresh::ChildrenPids) {
        return skipped(&format!("unshare(CLONE_NEWPID): {error}"));
    }
    let before = memory_sysctls();
    let mut child = Command::new(env::current_exe()?)
        .arg("compare-isolated")
        .args(env::args_os().skip(2))
        .stdin(Stdio::piped())
        .spawn()?;
    // Held until the end: its closing is the sign that this process is gone.
    let pipe = child.stdin.take();
    let status = child.wait()?;
    drop(pipe);
    let after = memory_sysctls();
    if before != after {
        return Err(io::Error::other(format!(
            "something changed the machine's buffer limits during the run: \
             {before:?} became {after:?}"
        )));
    }
    if status.success() { Ok(()) } else { Err(io::Error::other("the comparison failed")) }
}

fn skipped(reason: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "benchmark skipped: {reason}")
}

/// Inside: ends with the caller, and makes the network, the mounts and the scratch directory.
pub(super) fn prepare() -> io::Result<Ground> {
    let named = |what: &'static str| {
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
    };
    // Before the first thread: namespaces are the calling thread's.
    unshare(Fresh::NetworkAndMounts).map_err(named("unshare(CLONE_NEWNET|CLONE_NEWNS)"))?;
    thread::spawn(end_with_caller);
    private_mounts().map_err(named("private mounts"))?;
    file_limit().map_err(named("RLIMIT_NOFILE"))?;

    let scratch = PathBuf::from(SCRATCH);
    let program = scratch.join("portreeve-bench");
    fs::copy(env::current_exe()?, &program).map_err(named("copying the bench program"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    // Without it, engines ask the machine's own name servers, which are out of reach in here: the
    // figures about names are gaps then, and no others.
    let _ = name_servers(&scratch);
    let no_subordinate_ids = subordinate_ids(&scratch).err().map(|error| error.to_string());
    Ok(Ground { scratch, program, no_subordinate_ids })
}

fn name_servers(scratch: &Path) -> io::Result<()> {
    let ours = scratch.join("resolv.conf");
    fs::write(&ours, format!("nameserver {NAME_SERVER}\n"))?;
    bind_over(&ours, Path::new("/etc/resolv.conf"))
}

/// Not every root may exceed its hard limit; then the engines have to do with that.
fn file_limit() -> io::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    if hard.is_none_or(|hard| hard >= FILE_LIMIT) {
        return raise_fd_limit();
    }
    let wanted = Rlimit { current: Some(FILE_LIMIT), maximum: Some(FILE_LIMIT) };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => Ok(()),
        Err(_) => raise_fd_limit(),
    }
}

fn end_with_caller() {
    let mut rest = Vec::new();
    let _ = io::stdin().lock().read_to_end(&mut rest);
    process::exit(1);
}

fn private_mounts() -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    // The process ids in /proc have to be those of the new namespace.
    mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV, None)?;
    mount("tmpfs", SCRATCH, "tmpfs", MountFlags::NOSUID, None)?;
    fs::set_permissions(SCRATCH, fs::Permissions::from_mode(0o755))
}

/// The user RootlessKit runs as.
pub(crate) const ORDINARY_USER: u32 = 65_534;

/// What RootlessKit needs and a machine may not have: subordinate ids for an ordinary user, a
/// home, and a TUN device that user may open. All of it is visible in here only.
fn subordinate_ids(scratch: &Path) -> io::Result<()> {
    let users = fs::read_to_string("/etc/passwd")?;
    let id = ORDINARY_USER.to_string();
    let name = users
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == id).then_some(name)
        })
        .next()
        .ok_or_else(|| io::Error::other(format!("no user has the id {id}")))?;
    for file in ["subuid", "subgid"] {
        let ours = scratch.join(file);
        fs::write(&ours, format!("{name}:100000:65536\n"))?;
        bind_over(&ours, &Path::new("/etc").join(file))?;
    }
    let home = scratch.join("home");
    fs::create_dir(&home)?;
    std::os::unix::fs::chown(&home, Some(ORDINARY_USER), Some(ORDINARY_USER))?;
    let tun = scratch.join("tun");
    mknodat(CWD, &tun, FileType::CharacterDevice, Mode::empty(), makedev(10, 200))?;
    fs::set_permissions(&tun, fs::Permissions::from_mode(0o666))?;
    bind_over(&tun, Path::new("/dev/net/tun"))
}

fn bind_over(source: &Path, target: &Path) -> io::Result<()> {
    mount_bind(source, target)
        .map_err(|error| io::Error::other(format!("{}: {error}", target.display())))
}
