//! Whether this machine lets this user make a namespace guest, and what to do if not.
//!
//! Tries the real thing in a process of its own, which ends at once; changes nothing.

use std::io::{self, Read as _, Write as _};

use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::UnshareFlags;

use crate::channel::Step;
use crate::diagnosis::{TunCause, UserNamespaceCause};
use crate::error::{AtStep, Error, Fault};
use crate::namespaces;
use crate::sys::process;
use crate::sys::signal::SignalSet;
use crate::{guest, tap};

/// One thing a namespace guest needs, and whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// A short name for programs, which stays the same: `user-namespaces`, `namespaces` or `tun`.
    pub name: &'static str,
    /// What is needed.
    pub what: &'static str,
    /// Whether it works.
    pub ok: bool,
    /// Why it does not, or how it does.
    pub why: String,
    /// What would make it work.
    pub fix: Option<String>,
}

/// Tries everything a namespace guest needs.
pub fn probe() -> Vec<Finding> {
    vec![user_namespace(), guest_namespaces(), tun()]
}

fn user_namespace() -> Finding {
    let what = ("user-namespaces", "user namespace");
    if !namespaces::need_user_namespace() {
        return fine(what, "not needed: running as root");
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    match in_a_child(|| namespaces::enter_user_namespace(uid, gid)) {
        Ok(()) => fine(what, "works"),
        Err(Error::UserNamespace { cause, source }) => explain_user(what, cause, &source),
        Err(error) => missing(what, &error),
    }
}

fn guest_namespaces() -> Finding {
    let what = ("namespaces", "network, mount and process namespaces");
    let ids = (rustix::process::geteuid(), rustix::process::getegid());
    let ids = namespaces::need_user_namespace().then_some(ids);
    let outcome = in_a_child(|| {
        if let Some((uid, gid)) = ids {
            namespaces::enter_user_namespace(uid, gid)?;
        }
        let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWPID;
        process::unshare(flags).at(Step::Namespaces)
    });
    match outcome {
        Ok(()) => fine(what, "work"),
        Err(error) => missing(what, &error),
    }
}

fn tun() -> Finding {
    let what = ("tun", tap::TUN_DEVICE);
    match tap::open() {
        Ok(_) => fine(what, "can be opened"),
        Err(errno) => {
            let source = io::Error::from(errno);
            let cause = TunCause::find(&source);
            found(what, false, format!("{cause} ({source})"), Some(cause.help()))
        }
    }
}

fn fine(what: What, why: &str) -> Finding {
    found(what, true, why.to_owned(), None)
}

fn missing(what: What, error: &Error) -> Finding {
    found(what, false, error.to_string(), error.help())
}

fn explain_user(what: What, cause: UserNamespaceCause, source: &io::Error) -> Finding {
    found(what, false, format!("{cause} ({source})"), Some(cause.help()))
}

fn found((name, what): What, ok: bool, why: String, fix: Option<String>) -> Finding {
    Finding { name, what, ok, why, fix }
}

/// The name for programs, and the words for people.
type What = (&'static str, &'static str);

/// Runs `attempt` in a child process, since there is no way back from a namespace.
fn in_a_child(attempt: impl FnOnce() -> Result<(), Fault>) -> Result<(), Error> {
    let (mut news, outcome) = io::pipe().map_err(Error::io("pipe"))?;
    let mask = SignalSet::full().block();
    let child = process::fork(|| match attempt() {
        Ok(()) => 0,
        Err(fault) => {
            let [a, b, c, d] = fault.errno.to_ne_bytes();
            let _ = (&outcome).write_all(&[fault.step as u8, a, b, c, d]);
            namespaces::REPORTED
        }
    });
    mask.install();
    drop(outcome);
    let child = child.map_err(Error::io("fork"))?;
    let mut failure = [0_u8; 5];
    let failed = news.read_exact(&mut failure).is_ok();
    while let Err(rustix::io::Errno::INTR) =
        rustix::process::waitid(WaitId::Pid(child), WaitIdOptions::EXITED)
    {}
    if !failed {
        return Ok(());
    }
    let [step, a, b, c, d] = failure;
    let step = Step::from_number(step).unwrap_or(Step::Namespaces);
    Err(guest::failed(step, i32::from_ne_bytes([a, b, c, d]), String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_s_failure_comes_back_with_its_step() {
        assert!(in_a_child(|| Ok(())).is_ok());
        let refused = || Err(io::Error::from_raw_os_error(libc::ENOSPC)).at(Step::Namespaces);
        let error = in_a_child(refused).unwrap_err();
        assert!(matches!(error, Error::Setup { step: Step::Namespaces, .. }), "{error}");
        assert!(error.help().unwrap().contains("max_net_namespaces"));
    }

    #[test]
    fn what_is_missing_always_comes_with_a_fix() {
        let findings = probe();
        let names: Vec<_> = findings.iter().map(|finding| finding.name).collect();
        assert_eq!(names, ["user-namespaces", "namespaces", "tun"]);
        for finding in findings {
            assert!(!finding.why.is_empty());
            assert!(finding.ok || finding.fix.is_some(), "{finding:?}");
        }
    }
}
