//! The guest's network parameters: files below `/proc/sys/net`.
//!
//! Written in the guest's own network namespace, whose files these are whichever `/proc` they are
//! reached through; nothing of the host's changes. Spec: the kernel's networking/ip-sysctl.rst.

use std::fs;
use std::path::Path;

use rustix::process::Gid;

use crate::channel::{FromInit, Step};

/// Whether the kernel has IPv6 switched on.
pub(crate) fn kernel_has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Sets what a guest's namespace needs. What cannot be set is a warning: some containers mount
/// `/proc/sys` read-only, and a guest without these settings still works.
pub(crate) fn apply(tap: &str, ipv6: bool, gid: Option<Gid>, mut warn: impl FnMut(FromInit)) {
    let mut set = |file: String, value: &str, without: &str| {
        if let Err(error) = fs::write(&file, value) {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            let detail = format!("{file}: {without}");
            warn(FromInit::Warning { step: Step::Sysctl, errno, detail });
        }
    };
    // Ports below 1024 are no privilege where they are nobody else's.
    set(
        "/proc/sys/net/ipv4/ip_unprivileged_port_start".into(),
        "0",
        "the command may not be able to listen on ports below 1024",
    );
    // A group that has no number in the user namespace cannot be named here; ours is the only one.
    let groups = gid.map_or_else(
        || "0 2147483647".to_owned(),
        |gid| format!("{} {}", gid.as_raw(), gid.as_raw()),
    );
    set(
        "/proc/sys/net/ipv4/ping_group_range".into(),
        &groups,
        "the command may not be able to send pings",
    );
    if !kernel_has_ipv6() {
        return;
    }
    let of = |device: &str, name: &str| format!("/proc/sys/net/ipv6/conf/{device}/{name}");
    set(of("lo", "disable_ipv6"), "0", "::1 may be missing");
    if !ipv6 {
        set(of(tap, "disable_ipv6"), "1", "the guest may use IPv6 link-local addresses");
        return;
    }
    set(of(tap, "disable_ipv6"), "0", "IPv6 may be off");
    // All addresses are set by us: nothing to detect, to solicit or to accept.
    for name in ["accept_dad", "accept_ra", "autoconf", "router_solicitations", "use_tempaddr"] {
        set(of(tap, name), "0", "the guest may add IPv6 addresses of its own");
    }
}
