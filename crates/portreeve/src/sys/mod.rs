//! System calls and memory that the library needs `unsafe` or raw numbers for.

pub(crate) mod rings;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Duplicates a descriptor that was inherited by number.
///
/// # Errors
/// When it is not open.
pub(crate) fn duplicate(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: borrowed for one system call only, which fails with EBADF should the number not be
    // an open descriptor; nothing is closed.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?)
}

/// Takes over a descriptor that this process was started with, by its number. From 3 up, the number
/// itself is closed: only what is returned keeps the file open.
///
/// To be called before threads start that may do the same.
///
/// # Errors
/// When it is not open, or was opened by this process itself, which shows in that it is not to
/// outlive `exec`: Rust opens nothing else. A socket of [`activated_sockets`] was handed over all
/// the same.
///
/// [`activated_sockets`]: crate::activated_sockets
pub fn inherited_fd(fd: i32) -> io::Result<OwnedFd> {
    let owned = duplicate(fd)?;
    // SAFETY: borrowed for one system call only, which fails with EBADF should the number not be
    // an open descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let is_own = rustix::io::fcntl_getfd(borrowed)?.contains(rustix::io::FdFlags::CLOEXEC);
    if is_own && !crate::activation::is_activated(fd) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it was not inherited"));
    }
    if fd > 2 {
        // SAFETY: open, as was just seen, and not owned by anything in this process: whatever the
        // process opened would be close-on-exec.
        unsafe { rustix::io::close(fd) };
    }
    Ok(owned)
}

/// Keeps an inherited descriptor from being inherited further.
///
/// # Errors
/// When it is not open.
pub(crate) fn set_cloexec(fd: i32) -> io::Result<()> {
    // SAFETY: borrowed for two system calls only, which fail with EBADF should the number not be
    // an open descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = rustix::io::fcntl_getfd(borrowed)?;
    Ok(rustix::io::fcntl_setfd(borrowed, flags | rustix::io::FdFlags::CLOEXEC)?)
}

/// The index of a network interface, or 0 when there is none of that name.
pub(crate) fn interface_index(name: &str) -> u32 {
    let Ok(name) = std::ffi::CString::new(name) else { return 0 };
    // SAFETY: `name` is a NUL-terminated string that lives through the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}
