//! Making processes: `fork`, a sibling through `clone`, namespaces, `execve`, `_exit`.
//!
//! Never decides what the new process does. Spec: fork(2), clone(2), unshare(2), execve(2),
//! close_range(2), signal-safety(7).
//!
//! **Forking from a process with threads.** The child of a `fork` has one thread and whatever the
//! others held stays locked. The C library's `fork` (not the bare system call) is used for the
//! first child, because it leaves the allocator usable there (glibc and musl both promise it).
//! What the child runs must keep off other locks: no stdio, no `tracing`, no environment changes.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

/// The exit code of a child whose own code panicked: "our failure".
const EXIT_OUR_FAILURE: i32 = 125;

/// `fork`: runs `child` in the new process, which ends when `child` returns.
///
/// `child` must hold no lock another thread of this process may hold; see the module.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: fork itself is sound at any time. What makes it dangerous is the child running on
    // with the parent's stack frames and locks: the child never leaves `run_child`, which never
    // returns, and callers keep to the module's rule about locks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => run_child(child),
        pid => new_pid(pid),
    }
}

/// `clone(CLONE_PARENT)`: runs `child` in a new process that is the child of *our* parent.
///
/// For a process with one thread only. The caller of `unshare(CLONE_NEWPID)` is not in the new
/// namespace itself, but its next child is; with `CLONE_PARENT` that child needs no middle man.
pub(crate) fn clone_sibling(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    let none: libc::c_long = 0;
    // SAFETY: without CLONE_VM and with a null stack, clone behaves as fork: the child has its own
    // copy of the address space and goes on with the same stack pointer. The C library's fork
    // handlers do not run; with a single thread no lock of its can be held. The arguments after
    // `flags` are all zero, so their order, which differs between architectures, does not matter.
    match unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) } {
        -1 => Err(io::Error::last_os_error()),
        0 => run_child(child),
        pid => new_pid(pid),
    }
}

fn run_child(child: impl FnOnce() -> i32) -> ! {
    // Unwinding past this frame would run the parent's code a second time.
    let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(EXIT_OUR_FAILURE);
    exit_now(code)
}

fn new_pid(pid: impl TryInto<i32>) -> io::Result<Pid> {
    let pid = pid.try_into().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ERANGE))
}

/// `_exit`: ends this process without running anything of the parent's (atexit, buffers, drops).
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit only ends the process; it touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// `unshare`: moves this single-threaded process (or, for the process-id namespace, its later
/// children) into new namespaces.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(rustix::thread::UnshareFlags::FILES));
    // SAFETY: only CLONE_FILES is unsafe here, since it gives threads different descriptor
    // tables; no caller passes it.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Closes every descriptor from 3 up except `keep`, so that no file of the parent (a socket of
/// another guest above all, whose closing is how *its* init learns of our death) lives on here.
///
/// For a freshly forked child only, which drops none of the parent's `OwnedFd`s.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3_u32;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: closes descriptors this process will not name again: it was just forked and never
    // returns to the code that owns them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Replaces this process by `program`, and returns only if that failed.
pub(crate) fn exec(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
) -> Result<Infallible, io::Error> {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: `program` and every pointer in both arrays are NUL-terminated strings that outlive
    // the call, and both arrays end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Err(io::Error::last_os_error())
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}
