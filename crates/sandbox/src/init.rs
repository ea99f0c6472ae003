//! The guest's init: process 1 of its namespaces.
//!
//! Sets the guest up from inside, runs the command, passes signals to it, reaps orphans, and ends
//! with the command; the kernel then kills whatever else is left. It also ends when our side of
//! the channel closes, that is, when the process that made the guest dies by whatever means.
//! All its signals stay blocked for good: process 1 is not to be killed, stopped or interrupted by
//! anything but SIGKILL from outside. Never touches the host's namespaces.
//! Spec: pid_namespaces(7), credentials(7), tcsetpgrp(3).

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};

use crate::channel::{Arrival, Channel, FromInit, Step, ToInit};
use crate::error::{AtStep, Fault};
use crate::namespaces::REPORTED;
use crate::plan::Plan;
use crate::sys::process;
use crate::sys::signal::{self, SignalFd, SignalSet};
use crate::{mounts, network, sysctl, tap};

/// The life of the guest's init; the answer is its exit code.
pub(crate) fn run(plan: &Plan, channel: &Channel) -> i32 {
    let ended = set_up(plan, channel).and_then(|()| match channel.hear(true) {
        Ok(Arrival::Message(ToInit::Start { foreground }, _)) => {
            Init { plan, channel, signals: child_signals()? }.serve(foreground)
        }
        // Our maker is gone, or changed its mind.
        _ => Ok(()),
    });
    match ended {
        Ok(()) => 0,
        Err(Fault { step, detail, errno }) => {
            let _ = channel.report(&FromInit::Failed { step, errno, detail }, &[]);
            REPORTED
        }
    }
}

fn child_signals() -> Result<SignalFd, Fault> {
    SignalFd::new(&SignalSet::of(&[libc::SIGCHLD])).at(Step::Init)
}

fn set_up(plan: &Plan, channel: &Channel) -> Result<(), Fault> {
    if plan.die_with_parent_thread {
        // The second string to the bow: it works even while this process is stopped. Should our
        // maker have died before this line, its end of the channel is closed.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Init)?;
    }
    rustix::thread::set_name(c"portreeve-init").at(Step::Init)?;
    if plan.mapped_ids.is_some_and(|(uid, _)| uid.is_root()) {
        // The command has all capabilities of this user namespace then. What we remember of our
        // maker's memory is none of its business: ptrace(2), "dumpable".
        let hidden = DumpableBehavior::NotDumpable;
        rustix::process::set_dumpable_behavior(hidden).at(Step::Init)?;
    }
    mounts::isolate()?;
    if let Err(error) = mounts::mount_proc() {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        let detail = "process ids in /proc are not the guest's own".to_owned();
        let warning = FromInit::Warning { step: Step::Proc, errno, detail };
        channel.report(&warning, &[]).at(Step::HandOver)?;
    }
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).at_on(Step::Hostname, name)?;
    }
    for directory in &plan.hidden {
        mounts::hide(directory)?;
    }
    let queue = tap::create(&plan.tap_name)?;
    set_up_network(plan, channel)?;
    if let Some(text) = &plan.resolver
        && !mounts::replace_resolver(text)?
    {
        let detail = "there is no /etc/resolv.conf to replace: the C library will ask 127.0.0.1";
        let (step, errno) = (Step::Resolver, libc::ENOENT);
        let warning = FromInit::Warning { step, errno, detail: detail.to_owned() };
        channel.report(&warning, &[]).at(Step::HandOver)?;
    }
    let namespace = std::fs::File::open("/proc/self/ns/net").at(Step::HandOver)?;
    channel.report(&FromInit::Ready, &[queue.as_fd(), namespace.as_fd()]).at(Step::HandOver)
}

fn set_up_network(plan: &Plan, channel: &Channel) -> Result<(), Fault> {
    let ipv6 = plan.addressing.ipv6.is_some();
    let with_ipv6 = ipv6 && sysctl::kernel_has_ipv6();
    let mut warnings = Vec::new();
    let gid = plan.mapped_ids.map(|(_, gid)| gid);
    sysctl::apply(&plan.tap_name, ipv6, gid, |warning| warnings.push(warning));
    if ipv6 && !with_ipv6 {
        let detail = "this kernel has IPv6 switched off: the guest has IPv4 only".to_owned();
        let (step, errno) = (Step::Address, libc::EAFNOSUPPORT);
        warnings.push(FromInit::Warning { step, errno, detail });
    }
    for warning in &warnings {
        channel.report(warning, &[]).at(Step::HandOver)?;
    }
    network::configure(&plan.addressing, &plan.tap_name, plan.tap_queue_len, with_ipv6)
}

/// The init of a guest whose command runs.
struct Init<'a> {
    plan: &'a Plan,
    channel: &'a Channel,
    signals: SignalFd,
}

impl Init<'_> {
    fn serve(&self, foreground: bool) -> Result<(), Fault> {
        let Some(command) = self.start(foreground)? else {
            return Ok(());
        };
        loop {
            let mut waiting = [
                PollFd::new(self.channel, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            match rustix::event::poll(&mut waiting, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).at(Step::Execute),
            }
            if self.reap(command)? || !self.obey(command)? {
                return Ok(());
            }
        }
    }

    /// Runs the command; `None` if it could not be executed, which is reported.
    fn start(&self, foreground: bool) -> Result<Option<Pid>, Fault> {
        let (news, outcome) = std::io::pipe().at(Step::Execute)?;
        let mut news = news;
        let terminal = self.plan.terminal.as_ref().map(|terminal| terminal.as_fd());
        let command = process::fork(|| {
            let Err(fault) =
                self.plan.command.become_it(terminal.is_some(), terminal.filter(|_| foreground));
            // Close-on-exec closes the pipe silently if all goes well.
            let [a, b, c, d] = fault.errno.to_ne_bytes();
            let _ = (&outcome).write_all(&[fault.step as u8, a, b, c, d]);
            REPORTED
        })
        .at(Step::Fork)?;
        drop(outcome);
        let mut failure = [0_u8; 5];
        if news.read_exact(&mut failure).is_err() {
            self.channel.report(&FromInit::Started, &[]).at(Step::Execute)?;
            return Ok(Some(command));
        }
        let [step, a, b, c, d] = failure;
        let errno = i32::from_ne_bytes([a, b, c, d]);
        let step = Step::from_number(step).unwrap_or(Step::Execute);
        self.channel.report(&FromInit::NotExecuted { step, errno }, &[]).at(Step::Execute)?;
        Ok(None)
    }

    /// Collects whoever ended or stopped; the answer is whether the command ended.
    fn reap(&self, command: Pid) -> Result<bool, Fault> {
        while self.signals.read().at(Step::Execute)?.is_some() {}
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        loop {
            let (pid, status) = match rustix::process::wait(options) {
                Ok(Some(change)) => change,
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(false),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error).at(Step::Execute),
            };
            if pid == command
                && let Some((report, ended)) = self.change_of(status)
            {
                self.channel.report(&report, &[]).at(Step::Execute)?;
                if ended {
                    return Ok(true);
                }
            }
        }
    }

    fn change_of(&self, status: WaitStatus) -> Option<(FromInit, bool)> {
        let has_terminal = self.has_terminal();
        if let Some(code) = status.exit_status() {
            Some((FromInit::Exited { code, has_terminal }, true))
        } else if let Some(signal) = status.terminating_signal() {
            Some((FromInit::Killed { signal, has_terminal }, true))
        } else {
            let signal = status.stopping_signal()?;
            Some((FromInit::Stopped { signal, has_terminal }, false))
        }
    }

    /// Whether a process group of the guest's is in the terminal's foreground. Others have no
    /// number in here.
    fn has_terminal(&self) -> bool {
        self.plan.terminal.as_ref().is_some_and(|tty| rustix::termios::tcgetpgrp(tty).is_ok())
    }

    /// Does what it is told; the answer is whether there is still somebody to be told by.
    fn obey(&self, command: Pid) -> Result<bool, Fault> {
        let command = command.as_raw_nonzero().get();
        loop {
            let order = match self.channel.hear(false) {
                Ok(Arrival::Message(order, _)) => order,
                Ok(Arrival::Nothing) => return Ok(true),
                Ok(Arrival::Closed) | Err(_) => return Ok(false),
            };
            // A signal the command cannot get any more is no fault: its end is on its way to us.
            let _ = match order {
                ToInit::Signal(number) => signal::kill(command, number),
                ToInit::SignalGroup(number) => signal::kill(-command, number),
                ToInit::Resume { foreground } => {
                    if let (Some(tty), Some(group), true) =
                        (&self.plan.terminal, Pid::from_raw(command), foreground)
                    {
                        let _ = rustix::termios::tcsetpgrp(tty, group);
                    }
                    signal::kill(-command, libc::SIGCONT)
                }
                ToInit::Start { .. } => Ok(()),
            };
        }
    }
}
