//! Signal masks, dispositions, `signalfd`, and sending signals by number.
//!
//! Never decides which signals mean what. Spec: sigprocmask(2), sigaction(2), signalfd(2),
//! sigpending(2), kill(2), signal(7).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// The highest signal number Linux has (`SIGRTMAX`).
pub(crate) const LAST_SIGNAL: i32 = 64;

/// A set of signals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// No signal.
    pub(crate) fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set it is given.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Every signal.
    pub(crate) fn full() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set it is given.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Exactly `signals`.
    pub(crate) fn of(signals: &[i32]) -> Self {
        let mut set = Self::empty();
        for &signal in signals {
            // SAFETY: the set is initialised; a number out of range is refused, not written.
            unsafe { libc::sigaddset(&raw mut set.0, signal) };
        }
        set
    }

    /// Whether `signal` is in the set.
    pub(crate) fn contains(&self, signal: i32) -> bool {
        // SAFETY: the set is initialised and only read.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }

    /// Adds the set to this thread's blocked signals; the answer is what was blocked before.
    pub(crate) fn block(&self) -> Self {
        self.change_mask(libc::SIG_BLOCK)
    }

    /// Takes the set out of this thread's blocked signals.
    pub(crate) fn unblock(&self) -> Self {
        self.change_mask(libc::SIG_UNBLOCK)
    }

    /// Makes the set this thread's blocked signals.
    pub(crate) fn install(&self) -> Self {
        self.change_mask(libc::SIG_SETMASK)
    }

    fn change_mask(&self, how: libc::c_int) -> Self {
        let mut before = Self::empty();
        // SAFETY: both sets are initialised; the mask is this thread's own. With valid arguments
        // the call cannot fail.
        unsafe { libc::pthread_sigmask(how, &raw const self.0, &raw mut before.0) };
        before
    }
}

/// The signals that wait for this thread or process because they are blocked.
pub(crate) fn pending() -> SignalSet {
    let mut set = SignalSet::empty();
    // SAFETY: writes into an initialised set of ours.
    unsafe { libc::sigpending(&raw mut set.0) };
    set
}

/// Whether this process ignores `signal`.
pub(crate) fn is_ignored(signal: i32) -> bool {
    disposition(signal) == Some(libc::SIG_IGN)
}

/// Prepares a child for `execve`: no handler of the parent's runs in it any more, and only what
/// the parent's *caller* had set to be ignored stays so (`nohup`, background jobs of scripts).
///
/// `SIGPIPE` and `SIGCHLD` always get their default: the first is ignored by every Rust program
/// for itself, and programs rely on the second.
pub(crate) fn reset_dispositions() {
    for signal in 1..=LAST_SIGNAL {
        let keep = match disposition(signal) {
            None => true,
            Some(libc::SIG_DFL) => true,
            Some(libc::SIG_IGN) => !matches!(signal, libc::SIGPIPE | libc::SIGCHLD),
            Some(_) => false,
        };
        if !keep {
            // SAFETY: SIG_DFL is a valid disposition for every signal that has one.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

fn disposition(signal: i32) -> Option<libc::sighandler_t> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null new action this only reads into `action`, which is large enough; all
    // zero bytes are a valid sigaction. The C library refuses the signals it keeps for itself.
    unsafe {
        (libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0)
            .then(|| action.assume_init().sa_sigaction)
    }
}

/// `kill`: `target` as there, a process if positive, our own group if 0, a group if negative.
pub(crate) fn kill(target: i32, signal: i32) -> io::Result<()> {
    // SAFETY: sends a signal; no memory is involved.
    if unsafe { libc::kill(target, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// One signal as a [`SignalFd`] reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// The signal's number.
    pub(crate) signal: i32,
    /// Whether the kernel sent it itself: for a terminal's signals, to the whole foreground group.
    pub(crate) from_kernel: bool,
}

/// Blocked signals as a readable, non-blocking descriptor.
#[derive(Debug)]
pub(crate) struct SignalFd(OwnedFd);

impl SignalFd {
    /// A descriptor for `set`, which the reading thread must have blocked.
    pub(crate) fn new(set: &SignalSet) -> io::Result<Self> {
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set.0, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor just made, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal, if one waits.
    pub(crate) fn read(&self) -> io::Result<Option<Received>> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let length = match rustix::io::read(&self.0, &mut info) {
            Ok(length) => length,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if length < info.len() {
            return Ok(None);
        }
        // signalfd(2): ssi_signo, ssi_errno, ssi_code, 32 bits each, in the machine's order.
        let word =
            |at: usize| i32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        Ok(Some(Received { signal: word(0), from_kernel: word(8) == libc::SI_KERNEL }))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
