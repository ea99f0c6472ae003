//! The system calls no safe wrapper exists for, each behind a safe function with its argument.
//!
//! Never decides anything. Spec: unshare(2), signal(2), tcp(7) for `SIOCOUTQ`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::thread::UnshareFlags;

/// A network namespace of its own for this thread, and for what it starts from here on.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub fn unshare_network() -> io::Result<()> {
    unshare(UnshareFlags::NEWNET)
}

/// A mount namespace of its own for this process, which must have one thread.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub fn unshare_mounts() -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: only CLONE_FILES is unsafe here, since it gives threads different descriptor
    // tables; no caller passes it.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Ctrl-C and Ctrl-\\ do to this process what they do by default, whoever ignored them before: a
/// shell does, for what it starts in the background.
pub fn heed_the_keyboard() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: SIG_DFL is a valid disposition for both; no handler of this program is replaced,
        // for it has none.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Bytes written to a TCP socket that its peer has not acknowledged.
///
/// # Errors
/// When it is no such socket.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int, which `bytes` is, for the time of the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(bytes).map_err(io::Error::other)
}
