//! Our hold on a guest: its init's process, the channel to it, its network namespace.
//!
//! Whoever drops it ends the guest: init is killed, the kernel kills everything in its process
//! namespace with it, and only when all of that is gone does the drop return.
//! Spec: pidfd_open(2), pid_namespaces(7), waitid(2).

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::channel::{Arrival, Channel, FromInit, Step};
use crate::diagnosis::{TunCause, UserNamespaceCause};
use crate::error::{Error, Warning};
use crate::namespaces;
use crate::plan::Plan;
use crate::sys::process;
use crate::sys::signal::SignalSet;

/// A guest that is set up, and ends with this value.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) channel: Channel,
    pub(crate) init: Pid,
    pub(crate) pidfd: OwnedFd,
    pub(crate) network: OwnedFd,
    reaped: bool,
}

/// What a guest that is set up comes with.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) guest: Guest,
    pub(crate) tap: OwnedFd,
    pub(crate) warnings: Vec<Warning>,
}

impl Guest {
    /// Makes the guest the plan describes, and waits until it is ready.
    pub(crate) fn make(plan: &Plan) -> Result<Made, Error> {
        let (channel, theirs) = Channel::pair().map_err(Error::io("socketpair"))?;
        // From here to `execve` no signal handler of ours may run in a child.
        let mask = SignalSet::full().block();
        let maker = process::fork(|| namespaces::make_guest(plan, &theirs));
        mask.install();
        drop(theirs);
        let setup = |source| Error::Setup { step: Step::Fork, detail: String::new(), source };
        let maker = maker.map_err(setup)?;
        let made = await_ready(channel);
        // It has ended, or is about to: it waits for nothing.
        reap(WaitId::Pid(maker));
        made
    }

    /// Whether init, and with it every process of the guest, is gone.
    pub(crate) fn is_gone(&mut self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(Some(_)) => self.reaped = true,
            // Somebody else in this process waits for all children, or SIGCHLD is ignored.
            Err(Errno::CHILD) => self.reaped = true,
            Ok(None) | Err(_) => {}
        }
        self.reaped
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // Fails only if it is gone already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        reap(WaitId::PidFd(self.pidfd.as_fd()));
    }
}

fn reap(who: WaitId<'_>) {
    while let Err(Errno::INTR) = rustix::process::waitid(who.clone(), WaitIdOptions::EXITED) {}
}

fn await_ready(channel: Channel) -> Result<Made, Error> {
    let mut guest: Option<(Pid, OwnedFd)> = None;
    let mut ready: Option<(OwnedFd, OwnedFd)> = None;
    let mut warnings = Vec::new();
    let mut failure = None;
    while guest.is_none() || (ready.is_none() && failure.is_none()) {
        let arrival = channel.next_report(true).map_err(Error::io("recvmsg"))?;
        let Arrival::Message(report, fds) = arrival else {
            break;
        };
        match report {
            FromInit::Born(pid) => guest = Some(open_init(pid)?),
            FromInit::Warning { step, errno, detail } => {
                warnings.push(warning(step, errno, detail))
            }
            // If it was the maker that failed, there is no init and the channel closes now.
            FromInit::Failed { step, errno, detail } => failure = Some(failed(step, errno, detail)),
            FromInit::Ready => ready = two(fds),
            FromInit::Started
            | FromInit::NotExecuted { .. }
            | FromInit::Stopped { .. }
            | FromInit::Exited { .. }
            | FromInit::Killed { .. } => {}
        }
    }
    let gone = Error::InitGone { doing: Step::Init };
    let Some((init, pidfd)) = guest else {
        return Err(failure.unwrap_or(gone));
    };
    if let Some(error) = failure {
        // It ends by itself after a report.
        reap(WaitId::PidFd(pidfd.as_fd()));
        return Err(error);
    }
    let Some((tap, network)) = ready else {
        reap(WaitId::PidFd(pidfd.as_fd()));
        return Err(gone);
    };
    let guest = Guest { channel, init, pidfd, network, reaped: false };
    Ok(Made { guest, tap, warnings })
}

fn open_init(pid: i32) -> Result<(Pid, OwnedFd), Error> {
    let missing = || io::Error::from_raw_os_error(libc::ESRCH);
    let pid = Pid::from_raw(pid).ok_or_else(missing).map_err(Error::io("pidfd_open"))?;
    // Its number cannot have gone to another process: it is our child and not yet waited for.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    Ok((pid, pidfd.map_err(|errno| Error::io("pidfd_open")(errno.into()))?))
}

fn two(fds: Vec<OwnedFd>) -> Option<(OwnedFd, OwnedFd)> {
    let mut fds = fds.into_iter();
    Some((fds.next()?, fds.next()?))
}

fn warning(step: Step, errno: i32, detail: String) -> Warning {
    let source = io::Error::from_raw_os_error(errno);
    Warning { step, detail: format!("{detail} ({source})") }
}

/// The error a failed step of the guest's processes means.
pub(crate) fn failed(step: Step, errno: i32, detail: String) -> Error {
    let source = io::Error::from_raw_os_error(errno);
    match step {
        Step::TunOpen => Error::Tun { cause: TunCause::find(&source), source },
        // A kernel that lets everybody make a user namespace and then gives no rights in it
        // (Ubuntu's) shows at the first use of a right.
        Step::UserNamespace | Step::IdMap => {
            Error::UserNamespace { cause: UserNamespaceCause::find(&source), source }
        }
        _ => Error::Setup { step, detail, source },
    }
}
