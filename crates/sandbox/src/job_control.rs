//! The terminal, shared between the shell, this process and the command.
//!
//! The command runs in a process group of its own in the session of our shell. This file decides
//! which of the two groups, ours or the command's, is in the foreground, and stops our group when
//! the command was stopped, so that the shell takes over. Never reads from or writes to the
//! terminal. Spec: tcsetpgrp(3), credentials(7) "Sessions", POSIX.1 chapter 11.1 and 11.2,
//! the GNU C library's manual "Implementing a Shell".

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::termios::{OptionalActions, Termios};

use crate::sys::signal::{self, SignalSet};

/// This process's side of job control.
#[derive(Debug)]
pub(crate) struct JobControl {
    terminal: OwnedFd,
    /// The command gets the terminal whenever our group is in the foreground. Otherwise, in the
    /// middle of a pipeline, say, where others of our group may want it, only once it asks.
    eager: bool,
    /// The terminal's modes before the command had it.
    modes: Option<Termios>,
    /// Whether the foreground was given to the command and not taken back.
    given: bool,
}

/// What to do about a command that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// Tell the command's group first that its terminal is gone.
    pub(crate) hang_up: bool,
    /// Continue it in the foreground.
    pub(crate) foreground: bool,
}

impl JobControl {
    /// Job control on the terminal this process has, if it has one.
    pub(crate) fn new() -> Option<Self> {
        let terminal = controlling_terminal()?;
        let eager = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let modes = rustix::termios::tcgetattr(&terminal).ok();
        Some(Self { terminal, eager, modes, given: false })
    }

    /// The terminal, for the guest's init.
    pub(crate) fn terminal(&self) -> Option<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(&self.terminal, 3).ok()
    }

    /// Whether the command is to start in the foreground; if so, it counts as given.
    pub(crate) fn give_at_start(&mut self) -> bool {
        self.given = self.eager && self.is_foreground();
        self.given
    }

    /// Whether our own process group is in the foreground.
    fn is_foreground(&self) -> bool {
        rustix::termios::tcgetpgrp(&self.terminal)
            .is_ok_and(|group| group == rustix::process::getpgrp())
    }

    /// The command was stopped by `signal`: stops our own group with it, unless all the command
    /// wants is a terminal we can give. Returns when it is to go on.
    pub(crate) fn command_stopped(&mut self, signal: i32, has_terminal: bool) -> Continuation {
        let wants_terminal = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        if wants_terminal && self.is_foreground() {
            self.given = true;
            return Continuation { hang_up: false, foreground: true };
        }
        let had_terminal = has_terminal || self.given;
        self.given = has_terminal;
        self.take_back();
        let stopped = stop_own_group(signal);
        // After `fg` the shell has put our group into the foreground, after `bg` it has not.
        let foreground = self.is_foreground() && (self.eager || had_terminal || wants_terminal);
        self.given = foreground;
        // Nobody could have stopped us (POSIX: the group is orphaned), so nobody would ever bring
        // us to the foreground either; POSIX hangs up on stopped groups then.
        Continuation { hang_up: wants_terminal && !stopped && !foreground, foreground }
    }

    /// This process was continued: whether the command gets the terminal now, since the shell put
    /// our group in the foreground.
    pub(crate) fn continued(&mut self) -> bool {
        let give = self.is_foreground() && (self.eager || self.given);
        self.given |= give;
        give
    }

    /// The command is gone; `has_terminal` is whether it had the terminal then, if that is known.
    /// After a violent end the terminal's modes are put back too, as no shell inside was left to
    /// do it.
    pub(crate) fn command_ended(&mut self, has_terminal: Option<bool>, violently: bool) {
        let had = has_terminal.unwrap_or(self.given);
        self.given = had;
        self.take_back();
        if had
            && violently
            && let Some(modes) = &self.modes
        {
            with_terminal_signals_blocked(|| {
                // Without it the terminal is as the command left it, no worse.
                let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, modes);
            });
        }
    }

    fn take_back(&mut self) {
        if std::mem::take(&mut self.given) {
            with_terminal_signals_blocked(|| {
                // Fails only if the terminal is gone, and then there is nothing to have.
                let own = rustix::process::getpgrp();
                let _ = rustix::termios::tcsetpgrp(self.terminal.as_fd(), own);
            });
        }
    }
}

/// The terminal of our session, if it has one.
fn controlling_terminal() -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    if let Ok(terminal) = rustix::fs::open("/dev/tty", flags, Mode::empty()) {
        return rustix::io::fcntl_dupfd_cloexec(&terminal, 3).ok();
    }
    // Some containers have no /dev/tty. tcgetpgrp works on our session's terminal only.
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let open = [input.as_fd(), output.as_fd(), error.as_fd()];
    let terminal = open.into_iter().find(|fd| rustix::termios::tcgetpgrp(fd).is_ok())?;
    rustix::io::fcntl_dupfd_cloexec(terminal, 3).ok()
}

/// A background process that sets anything on its terminal is stopped by SIGTTOU, unless it
/// blocks that (tcsetpgrp(3)).
fn with_terminal_signals_blocked(act: impl FnOnce()) {
    let before = SignalSet::of(&[libc::SIGTTOU]).block();
    act();
    before.install();
}

/// Stops our process group, as the terminal would have done had the command been in it, and
/// returns when it is continued; the answer is whether it was stopped at all.
fn stop_own_group(signal: i32) -> bool {
    let before = SignalSet::of(&[libc::SIGCONT]).block();
    if matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) {
        // The whole group: in `portreeve … | less`, or below `make`, the others must stop as
        // well, or the shell would not get its turn. The kernel drops it for an orphaned group.
        let set = SignalSet::of(&[signal]);
        if signal::kill(0, signal).is_ok() {
            let masked = set.unblock();
            masked.install();
        }
    } else {
        // Somebody sent SIGSTOP to the command alone; the job as the shell sees it is us.
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
    }
    // Blocked, SIGCONT continues all the same and then waits.
    let stopped = signal::pending().contains(libc::SIGCONT);
    before.install();
    stopped
}
