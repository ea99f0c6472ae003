//! A guest whose command runs: waiting for its end, passing on signals, job control.
//!
//! Decides nothing about the network. Spec: wait(2), signalfd(2); exit codes as Docker's.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::ThreadId;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use crate::channel::{Arrival, FromInit, Step, ToInit};
use crate::error::Error;
use crate::guest::{self, Guest};
use crate::job_control::JobControl;
use crate::sys::signal::{self, LAST_SIGNAL, Received, SignalFd, SignalSet};

/// The signals a supervisor passes on.
const FORWARDED: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Signaled(u8),
}

impl ExitStatus {
    /// The exit code a command-line tool should end with: the command's own, or 128 + n.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => signal.saturating_add(128),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A guest whose command runs. Dropping it ends the guest, whatever still runs in it.
#[derive(Debug)]
pub struct Running {
    guest: Guest,
    tap: Option<OwnedFd>,
    job: Option<JobControl>,
    signals: Option<Forwarding>,
    intercepted: Vec<Intercepted>,
    ready: OwnedFd,
    /// How the command ended, once init has told.
    told: Option<ExitStatus>,
    /// The answer, once the guest's processes are gone as well.
    ended: Option<ExitStatus>,
}

impl Running {
    pub(crate) fn start(
        guest: Guest,
        tap: Option<OwnedFd>,
        job: Option<JobControl>,
        signals: Option<Forwarding>,
        name_failure: impl FnOnce(Step, io::Error) -> Error,
    ) -> Result<Self, Error> {
        let ready = readiness(&guest, signals.as_ref())
            .map_err(|errno| Error::io("epoll")(errno.into()))?;
        let intercepted = Vec::new();
        let mut running =
            Self { guest, tap, job, signals, intercepted, ready, told: None, ended: None };
        let foreground = running.job.as_mut().is_some_and(JobControl::give_at_start);
        let start = ToInit::Start { foreground };
        running.guest.channel.tell(start).map_err(Error::io("starting the command"))?;
        loop {
            let report = running.guest.channel.next_report(true).map_err(Error::io("recvmsg"))?;
            match report {
                Arrival::Message(FromInit::Started, _) => return Ok(running),
                Arrival::Message(FromInit::NotExecuted { step, errno }, _) => {
                    return Err(name_failure(step, io::Error::from_raw_os_error(errno)));
                }
                Arrival::Message(FromInit::Failed { step, errno, detail }, _) => {
                    return Err(guest::failed(step, errno, detail));
                }
                Arrival::Message(..) | Arrival::Nothing => {}
                Arrival::Closed => return Err(Error::InitGone { doing: Step::Execute }),
            }
        }
    }

    /// Waits until the command has ended and everything else in the guest is gone, and takes care
    /// of signals and job control meanwhile. May be called again for the same answer.
    ///
    /// The guest's network namespace, and what its kernel still has to send, stay until this
    /// value is dropped.
    ///
    /// # Errors
    /// If the kernel refuses to wait, which it has no known reason to.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        loop {
            if let Some(status) = self.poll_exit()? {
                return Ok(status);
            }
            let mut events =
                [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
            match epoll::wait(&self.ready, &mut events, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("epoll_wait")(errno.into())),
            }
        }
    }

    /// Does what [`Running::wait`] does, as far as that is possible without waiting: to be called
    /// whenever [`Running::event_fd`] is readable. It can take long all the same, if the command
    /// was stopped by the terminal: then this whole process is stopped until the shell continues
    /// it.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn poll_exit(&mut self) -> Result<Option<ExitStatus>, Error> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        while let Some(received) = self.next_signal()? {
            self.pass_on(received);
        }
        let closed = self.take_reports()?;
        if (closed || self.told.is_some()) && self.guest.is_gone() {
            // Killed from outside (out of memory, say) before it could tell.
            let status = self.told.unwrap_or(ExitStatus::Signaled(9));
            if self.told.is_none() {
                self.command_ended(None, true);
            }
            self.ended = Some(status);
        }
        Ok(self.ended)
    }

    /// Readable (level-triggered) when [`Running::poll_exit`] has something to do.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Sends the command a signal.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number that is no signal, [`Error::Io`] if the guest has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        if !(1..=LAST_SIGNAL).contains(&signal) {
            return Err(Error::invalid("signal", format!("{signal}: must be 1 to {LAST_SIGNAL}")));
        }
        self.guest.channel.tell(ToInit::Signal(signal)).map_err(Error::io("sending a signal"))
    }

    /// Keeps a signal that would be passed on: `work` is done instead, by whoever calls
    /// [`Running::wait`] or [`Running::poll_exit`], which it must not hold up. One that the kernel
    /// sends, for a terminal that is gone or a key pressed, is passed on all the same.
    pub fn intercept(&mut self, signal: i32, work: impl FnMut() + Send + 'static) {
        self.intercepted.push(Intercepted { signal, work: Box::new(work) });
    }

    /// The guest's network namespace. Held open until this value is dropped, so that the guest's
    /// kernel can still deliver what the command had written when it ended.
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.guest.network.as_fd()
    }

    /// The process id of the guest's init, as seen from outside.
    pub fn guest_pid(&self) -> i32 {
        self.guest.init.as_raw_nonzero().get()
    }

    /// Takes over the TAP, if it was not taken before the start.
    pub fn take_tap(&mut self) -> Option<OwnedFd> {
        self.tap.take()
    }

    fn next_signal(&self) -> Result<Option<Received>, Error> {
        let Some(signals) = &self.signals else {
            return Ok(None);
        };
        signals.queue.read().map_err(Error::io("signalfd"))
    }

    fn pass_on(&mut self, received: Received) {
        let kept = self.intercepted.iter_mut().find(|kept| kept.signal == received.signal);
        if let Some(kept) = kept.filter(|_| !received.from_kernel) {
            return (kept.work)();
        }
        let order = match received.signal {
            libc::SIGCONT => {
                let foreground = self.job.as_mut().is_some_and(JobControl::continued);
                ToInit::Resume { foreground }
            }
            // The terminal sends to whole groups; the command's would have been meant.
            signal if received.from_kernel => ToInit::SignalGroup(signal),
            signal => ToInit::Signal(signal),
        };
        // An init that is gone needs no signals.
        let _ = self.guest.channel.tell(order);
    }

    /// The answer is whether there will be no more reports.
    fn take_reports(&mut self) -> Result<bool, Error> {
        loop {
            match self.guest.channel.next_report(false).map_err(Error::io("recvmsg"))? {
                Arrival::Message(report, _) => self.take_report(report)?,
                Arrival::Nothing => return Ok(false),
                Arrival::Closed => return Ok(true),
            }
        }
    }

    fn take_report(&mut self, report: FromInit) -> Result<(), Error> {
        match report {
            FromInit::Exited { code, has_terminal } => {
                self.told = Some(ExitStatus::Exited(low_byte(code)));
                self.command_ended(Some(has_terminal), false);
            }
            FromInit::Killed { signal, has_terminal } => {
                self.told = Some(ExitStatus::Signaled(low_byte(signal)));
                self.command_ended(Some(has_terminal), true);
            }
            FromInit::Stopped { signal, has_terminal } => {
                // Without a terminal there is no job control: who stopped it will continue it.
                if let Some(job) = &mut self.job {
                    let then = job.command_stopped(signal, has_terminal);
                    if then.hang_up {
                        let _ = self.guest.channel.tell(ToInit::SignalGroup(libc::SIGHUP));
                    }
                    let resume = ToInit::Resume { foreground: then.foreground };
                    let _ = self.guest.channel.tell(resume);
                }
            }
            FromInit::Failed { step, errno, detail } => {
                return Err(guest::failed(step, errno, detail));
            }
            FromInit::Born(_)
            | FromInit::Warning { .. }
            | FromInit::Ready
            | FromInit::Started
            | FromInit::NotExecuted { .. } => {}
        }
        Ok(())
    }

    fn command_ended(&mut self, has_terminal: Option<bool>, violently: bool) {
        if let Some(job) = &mut self.job {
            job.command_ended(has_terminal, violently);
        }
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.told.is_none() {
            self.command_ended(None, true);
        }
    }
}

/// Wait statuses hold eight bits of exit code and fewer of signal.
fn low_byte(number: i32) -> u8 {
    u8::try_from(number & 0xff).unwrap_or(u8::MAX)
}

fn readiness(guest: &Guest, signals: Option<&Forwarding>) -> Result<OwnedFd, Errno> {
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let add = |fd: BorrowedFd<'_>| epoll::add(&ready, fd, EventData::new_u64(0), EventFlags::IN);
    add(guest.channel.as_fd())?;
    add(guest.pidfd.as_fd())?;
    if let Some(signals) = signals {
        add(signals.queue.as_fd())?;
    }
    Ok(ready)
}

/// A signal that is not passed on, and what is done instead.
struct Intercepted {
    signal: i32,
    work: Box<dyn FnMut() + Send>,
}

impl fmt::Debug for Intercepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intercepted").field("signal", &self.signal).finish_non_exhaustive()
    }
}

/// Signals of this process that go to the command instead. Dropped, it gives the thread that made
/// it its old signal mask back.
#[derive(Debug)]
pub(crate) struct Forwarding {
    queue: SignalFd,
    before: SignalSet,
    thread: ThreadId,
}

impl Forwarding {
    pub(crate) fn begin() -> Result<Self, Error> {
        // What the caller ignores (`nohup`) must not reach the command: blocked, it would.
        let wanted: Vec<i32> =
            FORWARDED.into_iter().filter(|&number| !signal::is_ignored(number)).collect();
        let set = SignalSet::of(&wanted);
        let queue = SignalFd::new(&set).map_err(Error::io("signalfd"))?;
        let before = set.block();
        // Not forwarded, but blocked: what we print while the command has the terminal must not
        // stop us (`stty tostop`).
        SignalSet::of(&[libc::SIGTTOU]).block();
        Ok(Self { queue, before, thread: std::thread::current().id() })
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        // A mask belongs to a thread; another's must not be changed.
        if self.thread == std::thread::current().id() {
            self.before.install();
        }
    }
}
