//! The guest's namespaces, and the short-lived process that makes them.
//!
//! That process unshares, starts the guest's init as its own *sibling* (so that our caller is
//! init's parent and nothing stands between them), reports init's process id and ends. It never
//! sets anything up inside the namespaces: that is `init`'s work.
//! Spec: user_namespaces(7), pid_namespaces(7), unshare(2).

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use rustix::process::{Gid, Uid};
use rustix::thread::UnshareFlags;

use crate::channel::{Channel, FromInit, Step};
use crate::error::{AtStep, Fault};
use crate::init;
use crate::plan::Plan;
use crate::sys::{process, signal};

/// Exit code of a process that has reported why it failed.
pub(crate) const REPORTED: i32 = 125;

/// Whether a user namespace is needed: always for an ordinary user, and for a root whose
/// capabilities were taken away (in a container).
pub(crate) fn need_user_namespace() -> bool {
    use rustix::thread::CapabilitySet;
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    !rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// What the maker of the guest runs. All signals are blocked.
pub(crate) fn make_guest(plan: &Plan, channel: &Channel) -> i32 {
    match make(plan, channel) {
        Ok(()) => 0,
        Err(fault) => {
            let Fault { step, detail, errno } = fault;
            // If nobody listens any more, nobody misses the report either.
            let _ = channel.report(&FromInit::Failed { step, errno, detail }, &[]);
            REPORTED
        }
    }
}

fn make(plan: &Plan, channel: &Channel) -> Result<(), Fault> {
    let mut keep = vec![channel.as_fd().as_raw_fd()];
    keep.extend(plan.terminal.as_ref().map(|terminal| terminal.as_raw_fd()));
    process::close_all_but(&keep).at(Step::CloseInherited)?;
    signal::reset_dispositions();
    if let Some((uid, gid)) = plan.mapped_ids {
        enter_user_namespace(uid, gid)?;
    }
    process::unshare(plan.namespaces()).at(Step::Namespaces)?;
    let init = process::clone_sibling(|| init::run(plan, channel)).at(Step::Init)?;
    channel.report(&FromInit::Born(init.as_raw_nonzero().get()), &[]).at(Step::Init)
}

/// Enters a new user namespace in which our user and group are still the same numbers.
pub(crate) fn enter_user_namespace(uid: Uid, gid: Gid) -> Result<(), Fault> {
    process::unshare(UnshareFlags::NEWUSER).at(Step::UserNamespace)?;
    let write = |file: &str, text: String| {
        let file = format!("/proc/self/{file}");
        fs::write(&file, text).at_on(Step::IdMap, &file)
    };
    // user_namespaces(7): a group may be mapped without privilege only after giving this up.
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{0} {0} 1", uid.as_raw()))?;
    write("gid_map", format!("{0} {0} 1", gid.as_raw()))
}
