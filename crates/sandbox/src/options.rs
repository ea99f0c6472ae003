//! What a namespace guest is made from.
//!
//! Owns the options and their checks; does nothing with them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use portreeve_types::Addressing;

use crate::Error;

/// What a namespace guest is made from. Fill in `command`; the rest has usable defaults.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SandboxOptions {
    /// Addresses of the guest's link.
    pub addressing: Addressing,
    /// The guest's own host name, in a UTS namespace of its own; `None` keeps the host's.
    pub hostname: Option<String>,
    /// What `/etc/resolv.conf` says inside; `None` leaves the host's file visible.
    pub resolver: Option<ResolvConf>,
    /// Directories of the host that the guest sees empty and cannot write to, where they exist:
    /// those with sockets that are not for it.
    pub hidden: Vec<PathBuf>,
    /// Name of the guest's network device.
    pub tap_name: String,
    /// Frames the device queues before it drops. The kernel's default for a TAP, 500, is less
    /// than one TCP window of 1500-byte frames.
    pub tap_queue_len: u32,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Environment variables set for the command, on top of this process's own.
    pub env: Vec<(OsString, OsString)>,
    /// The command's working directory; `None` keeps this process's.
    pub cwd: Option<PathBuf>,
    /// Gives the command the terminal this process has, with job control: the command runs in a
    /// process group of its own, in the foreground if this process is, and when it is stopped
    /// (Ctrl-Z) this process's group stops too, so that the shell notices. Implies
    /// `forward_signals`.
    pub terminal: bool,
    /// Blocks the signals a supervisor passes on in the thread that calls
    /// [`Sandbox::prepare`](crate::Sandbox::prepare), so that
    /// [`Running::wait`](crate::Running::wait) can read and forward them: HUP, INT, QUIT, TERM,
    /// USR1, USR2, TSTP, CONT, WINCH. Threads started later inherit the mask; threads that were
    /// already there would still take these signals themselves.
    pub forward_signals: bool,
}

impl SandboxOptions {
    /// The defaults, with `command`.
    pub fn new<S: Into<OsString>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            addressing: Addressing::default(),
            hostname: None,
            resolver: None,
            hidden: Vec::new(),
            tap_name: "eth0".to_owned(),
            tap_queue_len: 10_000,
            command: command.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            terminal: false,
            forward_signals: false,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.command.is_empty() {
            return Err(Error::invalid("command", "there is no command to run"));
        }
        if let Err(error) = self.addressing.validate() {
            return Err(Error::invalid("addressing", error.to_string()));
        }
        self.validate_tap_name()?;
        if let Some(name) = &self.hostname {
            // sethostname(2): at most 64 bytes.
            if name.is_empty() || name.len() > 64 || name.contains('\0') {
                return Err(Error::invalid("hostname", format!("{name:?}: must be 1 to 64 bytes")));
            }
        }
        if let Some(resolver) = &self.resolver {
            let bad = |name: &&String| name.is_empty() || name.contains(char::is_whitespace);
            if let Some(name) = resolver.search.iter().find(bad) {
                return Err(Error::invalid("resolver", format!("search domain {name:?}")));
            }
        }
        Ok(())
    }

    fn validate_tap_name(&self) -> Result<(), Error> {
        let name = &self.tap_name;
        // The kernel's dev_valid_name, and `%`, which it would take for a template.
        let bad = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c == '\0';
        let wrong = name.is_empty()
            || name.len() >= libc::IFNAMSIZ
            || matches!(name.as_str(), "." | ".." | "lo" | "all" | "default")
            || name.contains(bad);
        if wrong {
            let why = format!("{name:?} is not a device name of 1 to 15 bytes");
            return Err(Error::invalid("tap_name", why));
        }
        Ok(())
    }
}

/// What the guest's `/etc/resolv.conf` says (resolv.conf(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The name servers, best first. The C library uses the first three.
    pub nameservers: Vec<IpAddr>,
    /// The search list.
    pub search: Vec<String>,
}

impl ResolvConf {
    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("# Made by portreeve; only this guest sees it.\n");
        for server in &self.nameservers {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_file_reads_as_resolv_conf_5_wants_it() {
        let file = ResolvConf {
            nameservers: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            search: vec!["a.example".into(), "b.example".into()],
        };
        let lines: Vec<_> = file.text().lines().skip(1).map(str::to_owned).collect();
        assert_eq!(
            lines,
            ["nameserver 10.0.0.1", "nameserver fd00::1", "search a.example b.example"]
        );
        assert!(file.text().starts_with('#'));
    }

    #[test]
    fn options_that_cannot_work_are_refused_before_anything_is_made() {
        let refused = |change: &dyn Fn(&mut SandboxOptions)| {
            let mut options = SandboxOptions::new(["true"]);
            assert!(options.validate().is_ok());
            change(&mut options);
            let error = options.validate().unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
            assert_eq!(error.exit_code(), 125);
        };
        refused(&|o| o.command.clear());
        refused(&|o| o.addressing.mtu = 100);
        refused(&|o| o.hostname = Some(String::new()));
        refused(&|o| {
            o.resolver = Some(ResolvConf { search: vec!["a b".into()], ..Default::default() });
        });
        for name in ["", "lo", "all", "tap%d", "a/b", "0123456789abcdef", "a b", ".."] {
            refused(&|o| o.tap_name = name.to_owned());
        }
    }
}
