//! unshare(2), for the namespaces this program makes. It never joins one.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// A namespace to make.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fresh {
    /// Network, for the calling thread and its children.
    Network,
    /// Network and mounts, for the calling thread and its children.
    NetworkAndMounts,
    /// Process ids, for children only.
    ChildrenPids,
}

/// Moves the caller (or, for process ids, its children to come) into fresh namespaces.
pub(crate) fn unshare(fresh: Fresh) -> io::Result<()> {
    let flags = match fresh {
        Fresh::Network => UnshareFlags::NEWNET,
        Fresh::NetworkAndMounts => UnshareFlags::NEWNET | UnshareFlags::NEWNS,
        Fresh::ChildrenPids => UnshareFlags::NEWPID,
    };
    // SAFETY: what makes unshare(2) unsafe is UnshareFlags::FILES, which gives the caller a
    // file table of its own and so breaks the I/O safety of fds shared with other threads; none
    // of the flags above contains it.
    unsafe { unshare_unsafe(flags) }?;
    Ok(())
}
