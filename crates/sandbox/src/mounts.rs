//! The guest's mounts: cut off from the host's, with a `/proc` and a resolver file of its own.
//!
//! Everything here happens in the guest's mount namespace and in memory: the host sees nothing of
//! it and no file is left. Spec: mount_namespaces(7), mount(2), resolv.conf(5).

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::channel::Step;
use crate::error::{AtStep, Fault};

/// Stops what we mount from reaching the host.
///
/// Slave, not private: what the host unmounts is unmounted here too, so that a guest never keeps
/// a disk busy that its user wants to take out.
pub(crate) fn isolate() -> Result<(), Fault> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).at(Step::Propagation)
}

/// Mounts a `/proc` that shows the guest's processes, to be called by the guest's init.
///
/// The kernel refuses it to a user namespace where parts of the old one are covered, as they are
/// in containers (its `mount_too_revealing`).
pub(crate) fn mount_proc() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("proc", "/proc", "proc", flags, None)?)
}

/// Covers a directory of the host with an empty one that nobody can write to. Nothing is there to
/// be covered if it does not exist.
pub(crate) fn hide(directory: &Path) -> Result<(), Fault> {
    if !directory.is_dir() {
        return Ok(());
    }
    let flags = MountFlags::RDONLY | QUIET;
    rustix::mount::mount("tmpfs", directory, "tmpfs", flags, c"size=4k,mode=0555")
        .at_on(Step::Hide, &directory.display().to_string())
}

/// Where services on the host answer name lookups over unix sockets, which no network namespace
/// keeps apart: nscd(8), and systemd-resolved with nss-resolve(8).
const RESOLVER_SOCKETS: [&str; 2] = ["/run/nscd", "/run/systemd/resolve"];

/// The file the C library reads.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Puts `text` in the place of `/etc/resolv.conf`, and hides the resolver daemons of the host, so
/// that a lookup in the guest is always answered by the guest's own name servers.
///
/// The answer is whether there was a file to replace.
pub(crate) fn replace_resolver(text: &str) -> Result<bool, Fault> {
    for directory in RESOLVER_SOCKETS {
        if !Path::new(directory).is_dir() {
            continue;
        }
        mount_tmpfs(directory).at_on(Step::Resolver, directory)?;
        // /etc/resolv.conf is often a link to one of these two.
        for name in ["resolv.conf", "stub-resolv.conf"] {
            let file = format!("{directory}/{name}");
            fs::write(&file, text).at_on(Step::Resolver, &file)?;
        }
    }
    // Opened first: what it leads to may be below the directory that is covered next. Follows
    // links, so that the file read in the end is the one replaced.
    let target = match rustix::fs::open(RESOLV_CONF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    {
        Ok(target) => target,
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error).at_on(Step::Resolver, RESOLV_CONF),
    };
    bind_text_over(&target, text).at_on(Step::Resolver, RESOLV_CONF)?;
    Ok(true)
}

/// Covers an open file with one that holds `text`.
///
/// The new file lives in a tmpfs that is mounted over `/etc` for a moment, seen by nobody else,
/// and taken off again; the bind mount keeps it alive.
fn bind_text_over(target: &impl std::os::fd::AsRawFd, text: &str) -> io::Result<()> {
    mount_tmpfs("/etc")?;
    let bound = fs::write(RESOLV_CONF, text).and_then(|()| {
        let target = format!("/proc/self/fd/{}", target.as_raw_fd());
        Ok(rustix::mount::mount_bind(RESOLV_CONF, target)?)
    });
    rustix::mount::unmount("/etc", UnmountFlags::DETACH)?;
    bound
}

fn mount_tmpfs(target: &str) -> io::Result<()> {
    Ok(rustix::mount::mount("tmpfs", target, "tmpfs", QUIET, c"size=64k,mode=0755")?)
}

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
