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

/// The index of a network interface, or 0 when there is none of that name.
pub(crate) fn interface_index(name: &str) -> u32 {
    let Ok(name) = std::ffi::CString::new(name) else { return 0 };
    // SAFETY: `name` is a NUL-terminated string that lives through the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}
