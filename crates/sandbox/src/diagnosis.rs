//! Why the machine refuses what a guest needs, and what would change its mind.
//!
//! Reads the settings that are known to forbid user namespaces and `/dev/net/tun`; changes none.
//! Spec: user_namespaces(7), namespaces(7), Debian's `kernel.unprivileged_userns_clone`, Ubuntu's
//! `kernel.apparmor_restrict_unprivileged_userns`.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Who refuses a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserNamespaceCause {
    /// `user.max_user_namespaces` is 0.
    SwitchedOff,
    /// `user.max_user_namespaces` is not 0, but reached.
    LimitReached,
    /// `kernel.unprivileged_userns_clone` is 0 (Debian and others).
    UnprivilegedOff,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu).
    AppArmor,
    /// A seccomp filter is in force: a container's, as a rule.
    Seccomp,
    /// The kernel has no user namespaces.
    NotBuilt,
    /// Something else.
    Unknown,
}

impl UserNamespaceCause {
    /// Finds out who it was, from the kernel's answer and its settings.
    pub(crate) fn find(error: &io::Error) -> Self {
        let is = |setting: &str, value: &str| {
            fs::read_to_string(setting).is_ok_and(|text| text.trim() == value)
        };
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EUSERS) => {
                if is("/proc/sys/user/max_user_namespaces", "0") {
                    Self::SwitchedOff
                } else {
                    Self::LimitReached
                }
            }
            Some(libc::EINVAL | libc::ENOSYS) => Self::NotBuilt,
            _ if is("/proc/sys/kernel/unprivileged_userns_clone", "0") => Self::UnprivilegedOff,
            _ if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") => {
                Self::AppArmor
            }
            _ if seccomp_filtered() => Self::Seccomp,
            _ => Self::Unknown,
        }
    }

    /// What would make it work.
    pub fn help(self) -> String {
        let as_root = "or run as root, which needs no user namespace";
        match self {
            Self::SwitchedOff => {
                format!("run as root: sysctl -w user.max_user_namespaces=10000; {as_root}")
            }
            Self::LimitReached => {
                format!("raise user.max_user_namespaces (sysctl -w, as root), {as_root}")
            }
            Self::UnprivilegedOff => {
                format!("run as root: sysctl -w kernel.unprivileged_userns_clone=1; {as_root}")
            }
            Self::AppArmor => format!(
                "run as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; or give \
                 this program an AppArmor profile that allows `userns`; {as_root}"
            ),
            Self::Seccomp => "start the container with CAP_SYS_ADMIN, or with a seccomp profile \
                              that allows unshare(CLONE_NEWUSER)"
                .to_owned(),
            Self::NotBuilt => format!("a kernel with CONFIG_USER_NS is needed, {as_root}"),
            Self::Unknown => {
                format!("a security module may forbid it: the kernel's log may say; {as_root}")
            }
        }
    }
}

impl fmt::Display for UserNamespaceCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SwitchedOff => "they are switched off (user.max_user_namespaces is 0)",
            Self::LimitReached => "the limit user.max_user_namespaces is reached",
            Self::UnprivilegedOff => {
                "they are for root only (kernel.unprivileged_userns_clone is 0)"
            }
            Self::AppArmor => {
                "AppArmor forbids them (kernel.apparmor_restrict_unprivileged_userns is 1)"
            }
            Self::Seccomp => "a seccomp filter, probably a container's, forbids them",
            Self::NotBuilt => "the kernel has none",
            Self::Unknown => "the kernel refuses",
        })
    }
}

fn seccomp_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|v| v.trim() == "2"))
}

/// What stands between us and `/dev/net/tun`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunCause {
    /// There is no such file.
    Missing,
    /// The file is there, the driver is not.
    NoDriver,
    /// The file's permissions, given here, do not let this user open it.
    Permissions {
        /// The file's mode, permission bits only.
        mode: u32,
    },
    /// The permissions would do: a device cgroup or a `nodev` mount forbids it.
    Forbidden,
    /// Something else.
    Unknown,
}

impl TunCause {
    /// Finds out, from the kernel's answer and the file.
    pub(crate) fn find(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => Self::Missing,
            Some(libc::ENODEV | libc::ENXIO) => Self::NoDriver,
            Some(libc::EACCES | libc::EPERM) => match fs::metadata(crate::tap::TUN_DEVICE) {
                Ok(file)
                    if file.mode() & 0o006 != 0o006 && !rustix::process::geteuid().is_root() =>
                {
                    Self::Permissions { mode: file.mode() & 0o777 }
                }
                Ok(_) => Self::Forbidden,
                Err(_) => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// What would make it work.
    pub fn help(self) -> String {
        match self {
            Self::Missing => "run as root: modprobe tun; in a container, start it with \
                              --device /dev/net/tun"
                .to_owned(),
            Self::NoDriver => "run as root: modprobe tun (the kernel needs CONFIG_TUN)".to_owned(),
            Self::Permissions { .. } => "run as root: chmod 0666 /dev/net/tun (it gives no right \
                 over any network but one's own); to keep it so, a udev rule: KERNEL==\"tun\", \
                 MODE=\"0666\"; or run as root"
                .to_owned(),
            Self::Forbidden => "start the container with --device /dev/net/tun (its device rules \
                                forbid character device 10:200)"
                .to_owned(),
            Self::Unknown => "is it character device 10:200?".to_owned(),
        }
    }
}

impl fmt::Display for TunCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such device"),
            Self::NoDriver => f.write_str("the kernel has no tun driver loaded"),
            Self::Permissions { mode } => {
                write!(f, "its permissions ({mode:04o}) do not let this user open it")
            }
            Self::Forbidden => f.write_str("the system forbids this device here"),
            Self::Unknown => f.write_str("the kernel refuses"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_says_what_to_do() {
        for errno in [libc::ENOSPC, libc::EPERM, libc::EINVAL, libc::EUSERS, libc::EIO] {
            let cause = UserNamespaceCause::find(&io::Error::from_raw_os_error(errno));
            assert!(!cause.help().is_empty() && !cause.to_string().is_empty());
        }
        let from = |errno| TunCause::find(&io::Error::from_raw_os_error(errno));
        assert_eq!(from(libc::ENOENT), TunCause::Missing);
        assert_eq!(from(libc::ENODEV), TunCause::NoDriver);
        assert!(from(libc::ENODEV).help().contains("modprobe tun"));
        let refused = TunCause::Permissions { mode: 0o600 };
        assert!(refused.help().contains("chmod 0666 /dev/net/tun"));
        assert_eq!(refused.to_string(), "its permissions (0600) do not let this user open it");
    }
}
