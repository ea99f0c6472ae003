//! The command as `execve` wants it, and the last steps of its process before that.
//!
//! Everything that allocates or reads the environment is done before the fork. Never waits for
//! the command. Spec: execve(2), execvp(3), POSIX "Command Search and Execution".

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use crate::channel::Step;
use crate::error::{AtStep, Error, Fault};
use crate::options::SandboxOptions;
use crate::sys::{process, signal};

/// Where commands are looked for if `PATH` is not set (execvp(3)).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The command, ready to be executed.
#[derive(Debug)]
pub(crate) struct Command {
    /// The files to try, in order.
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    cwd: Option<CString>,
}

impl Command {
    pub(crate) fn new(options: &SandboxOptions) -> Result<Self, Error> {
        for (name, _) in &options.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(Error::invalid("env", format!("{name:?} cannot be a variable's name")));
            }
        }
        let variables = merged_environment(std::env::vars_os(), &options.env);
        let arguments = options
            .command
            .iter()
            .map(|word| c_string("command", word.clone()))
            .collect::<Result<_, _>>()?;
        let environment = variables
            .iter()
            .map(|(name, value)| {
                let mut entry = name.clone();
                entry.push("=");
                entry.push(value);
                c_string("env", entry)
            })
            .collect::<Result<_, _>>()?;
        let path = variables.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
        let path = path.map_or_else(|| OsStr::new(DEFAULT_PATH), OsString::as_os_str);
        let name = options.command.first().map(OsString::as_os_str).unwrap_or_default();
        let candidates = candidates(name, path)
            .into_iter()
            .map(|file| c_string("command", file))
            .collect::<Result<_, _>>()?;
        let cwd =
            options.cwd.clone().map(|path| c_string("cwd", path.into_os_string())).transpose()?;
        Ok(Self { candidates, arguments, environment, cwd })
    }

    /// Turns this process, a fresh child of the guest's init, into the command. Returns only if
    /// that fails.
    pub(crate) fn become_it(
        &self,
        shares_terminal: bool,
        foreground: Option<BorrowedFd<'_>>,
    ) -> Result<Infallible, Fault> {
        if shares_terminal {
            // A group of its own, so that the terminal's signals and `kill 0` stay in the guest.
            rustix::process::setpgid(None, None).at(Step::Terminal)?;
        } else {
            // A session of its own: in ours it would be a background job for ever, stopped by its
            // first look at the terminal, with nobody to bring it to the foreground.
            rustix::process::setsid().at(Step::Terminal)?;
        }
        if let Some(terminal) = foreground {
            // All signals are blocked, SIGTTOU too, or this would stop us: tcsetpgrp(3). A
            // terminal that was closed meanwhile is no reason not to run.
            let _ = rustix::termios::tcsetpgrp(terminal, rustix::process::getpid());
        }
        if let Some(cwd) = &self.cwd {
            rustix::process::chdir(cwd.as_c_str()).at(Step::WorkingDirectory)?;
        }
        signal::reset_dispositions();
        signal::SignalSet::empty().install();
        self.exec().at(Step::Execute)
    }

    /// Tries the candidates as shells do: one that is not there, or in a directory closed to us,
    /// is passed over, one that may not be executed is remembered, anything else is the answer.
    fn exec(&self) -> io::Result<Infallible> {
        let mut refused = None;
        for file in &self.candidates {
            let Err(error) = process::exec(file, &self.arguments, &self.environment);
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                Some(libc::EACCES) => {
                    if self.candidates.len() == 1 || rustix::fs::stat(file.as_c_str()).is_ok() {
                        refused = Some(error);
                    }
                }
                _ => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
    }
}

fn merged_environment(
    ours: impl Iterator<Item = (OsString, OsString)>,
    changes: &[(OsString, OsString)],
) -> Vec<(OsString, OsString)> {
    let mut merged: Vec<(OsString, OsString)> = ours.collect();
    for (name, value) in changes {
        merged.retain(|(other, _)| other != name);
        merged.push((name.clone(), value.clone()));
    }
    merged
}

fn candidates(name: &OsStr, path: &OsStr) -> Vec<OsString> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.as_bytes().contains(&b'/') {
        return vec![name.to_owned()];
    }
    path.as_bytes()
        .split(|&byte| byte == b':')
        .map(|directory| {
            // POSIX: an empty entry is the working directory.
            let mut file = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
            file.push(b'/');
            file.extend_from_slice(name.as_bytes());
            OsString::from_vec(file)
        })
        .collect()
}

fn c_string(option: &'static str, text: OsString) -> Result<CString, Error> {
    CString::new(text.into_vec())
        .map_err(|error| Error::invalid(option, format!("a NUL byte in {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_searched_along_path_as_posix_has_it() {
        let found = |name: &str, path: &str| candidates(name.as_ref(), path.as_ref());
        assert_eq!(found("ls", "/bin::/usr/bin"), ["/bin/ls", "./ls", "/usr/bin/ls"]);
        assert_eq!(found("./ls", "/bin"), ["./ls"]);
        assert_eq!(found("a/ls", "/bin"), ["a/ls"]);
        assert!(found("", "/bin").is_empty());
    }

    #[test]
    fn a_variable_that_is_set_replaces_the_inherited_one() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let ours = [pair("A", "1"), pair("B", "2")];
        let merged = merged_environment(ours.into_iter(), &[pair("A", "3"), pair("C", "4")]);
        assert_eq!(merged, [pair("B", "2"), pair("A", "3"), pair("C", "4")]);
    }

    #[test]
    fn a_word_with_a_nul_byte_is_refused() {
        let options = SandboxOptions::new(["echo", "a\0b"]);
        assert!(matches!(Command::new(&options), Err(Error::Invalid { option: "command", .. })));
        let mut options = SandboxOptions::new(["echo"]);
        options.env.push(("A=B".into(), "c".into()));
        assert!(matches!(Command::new(&options), Err(Error::Invalid { option: "env", .. })));
    }
}
