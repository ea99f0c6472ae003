//! Becoming `portreeve` as somebody else, on a terminal; changing its limits, and its guest's device.
//!
//! A process of its own changes itself and then executes the command, so that the test's child is
//! the command itself. It dies with the test. Never returns.
//! Spec: mount_namespaces(7), credentials(7), tty_ioctl(4), prctl(2).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use portreeve_e2e::sys::{self, Offload};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid};

#[derive(Default)]
struct Plan {
    user: Option<u32>,
    place: PathBuf,
    open: Vec<PathBuf>,
    tty: Option<PathBuf>,
    etc: Option<PathBuf>,
}

pub(crate) fn launch(arguments: &[String]) -> ExitCode {
    let mut plan = Plan::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next().filter(|word| *word != "--") {
        let value = words.next().expect("a value");
        match word.as_str() {
            "--user" => plan.user = Some(value.parse().unwrap()),
            "--place" => plan.place = value.into(),
            "--open" => plan.open.push(value.into()),
            "--tty" => plan.tty = Some(value.into()),
            "--etc" => plan.etc = Some(value.into()),
            other => panic!("{other}: no such option"),
        }
    }
    sys::heed_the_keyboard();
    if let Some(tty) = &plan.tty {
        take_terminal(tty);
    }
    if let Some(etc) = &plan.etc {
        private_mounts();
        mount_bind(etc, "/etc").unwrap();
    }
    if let Some(user) = plan.user {
        become_user(user, &plan);
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let program = words.next().expect("a command");
    let error = Command::new(program).args(words).exec();
    panic!("{program}: {error}");
}

fn private_mounts() {
    sys::unshare_mounts().unwrap();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).unwrap();
}

fn become_user(user: u32, plan: &Plan) {
    private_mounts();
    mount("tmpfs", &plan.place, "tmpfs", MountFlags::empty(), c"mode=0755").unwrap();
    for file in &plan.open {
        let here = plan.place.join(file.file_name().expect("a file"));
        fs::write(&here, "").unwrap();
        mount_bind(file, &here).unwrap();
    }
    // A device node that everybody may open over the one that may be root's alone.
    let node = plan.place.join("tun");
    let everybody = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(
        CWD,
        &node,
        FileType::CharacterDevice,
        everybody,
        rustix::fs::makedev(10, 200),
    )
    .unwrap();
    rustix::fs::chmod(&node, everybody).unwrap();
    mount_bind(&node, "/dev/net/tun").unwrap();
    drop_rights(user);
}

fn drop_rights(user: u32) {
    // There is one thread here, so the thread's credentials are the process's.
    rustix::thread::set_thread_groups(&[]).unwrap();
    rustix::thread::set_thread_gid(Gid::from_raw(user)).unwrap();
    rustix::thread::set_thread_uid(Uid::from_raw(user)).unwrap();
}

/// Sets the soft limit of open files of another process, as its own user: root may be without the
/// right to do it for others (`CAP_SYS_RESOURCE`), as in containers.
pub(crate) fn limit(arguments: &[String]) -> ExitCode {
    let [id, files] = [0, 1].map(|at| arguments[at].parse::<u32>().unwrap());
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).unwrap();
    let user = fs::metadata(format!("/proc/{id}")).unwrap().uid();
    if user != rustix::process::getuid().as_raw() {
        drop_rights(user);
    }
    // The hard limit stays as it is: it cannot be raised again.
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(files.into()), maximum };
    rustix::process::prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    ExitCode::SUCCESS
}

/// The first terminal that a session's leader opens is the session's.
fn take_terminal(path: &Path) {
    rustix::process::setsid().unwrap();
    let terminal = rustix::fs::open(path, OFlags::RDWR, Mode::empty()).unwrap();
    rustix::stdio::dup2_stdin(&terminal).unwrap();
    rustix::stdio::dup2_stdout(&terminal).unwrap();
    rustix::stdio::dup2_stderr(&terminal).unwrap();
}

/// Switches offloads of the guest's device off, in the order given.
pub(crate) fn without(offloads: &[String]) -> ExitCode {
    for offload in offloads {
        let which = match offload.as_str() {
            "tx" => Offload::SendChecksum,
            "tso" => Offload::TcpSegmentation,
            "gso" => Offload::GenericSegmentation,
            "gro" => Offload::GenericReceive,
            other => panic!("{other}: no such offload"),
        };
        sys::set_offload("eth0", which, false).unwrap_or_else(|error| panic!("{offload}: {error}"));
    }
    ExitCode::SUCCESS
}
