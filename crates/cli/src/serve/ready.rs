//! Telling whoever started `serve` that it is ready: by a descriptor, and as systemd wants it.
//!
//! Spec: sd_notify(3); systemd.service(5), `Type=notify-reload`.

use std::fs::File;
use std::io::Write;

use portreeve_types::PublishedPort;
use sd_notify::NotifyState;

use crate::report::{self, Failure};

/// Who is to be told.
pub(super) struct Readiness {
    fd: Option<File>,
}

impl Readiness {
    /// Takes the descriptor over, if there is one.
    pub(super) fn new(fd: Option<i32>) -> Result<Self, Failure> {
        let take = |number| {
            portreeve::inherited_fd(number)
                .map_err(|error| Failure::ours(format_args!("--ready-fd {number}: {error}")))
        };
        Ok(Self { fd: fd.map(take).transpose()?.map(File::from) })
    }

    /// Tells everybody, and closes the descriptor.
    pub(super) fn tell(self, ports: &[PublishedPort]) -> Result<(), Failure> {
        if let Some(mut fd) = self.fd {
            fd.write_all(b"\n").map_err(|e| Failure::ours(format_args!("--ready-fd: {e}")))?;
        }
        notify(&[NotifyState::Ready, NotifyState::Status(&status(ports))]);
        Ok(())
    }
}

/// The end has begun.
pub(super) fn tell_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Tells that the configuration is being reread, and then that it has been. The work answers what
/// is to be shown then.
pub(super) fn while_reloading(work: impl FnOnce() -> String) {
    match NotifyState::monotonic_usec_now() {
        // The time tells systemd which of several SIGHUPs this answers.
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => report::warning(format_args!("reading the clock: {error}")),
    }
    let status = work();
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The published ports in one line.
pub(super) fn status(ports: &[PublishedPort]) -> String {
    if ports.is_empty() {
        return "no ports are published".to_owned();
    }
    let shown: Vec<_> = ports.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
    let others = ports.len() - shown.len();
    let rest = if others > 0 { format!(" and {others} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

fn notify(state: &[NotifyState<'_>]) {
    // Without NOTIFY_SOCKET this does nothing.
    if let Err(error) = sd_notify::notify(state) {
        report::warning(format_args!("telling the service manager: {error}"));
    }
}

/// Ports in the line that `systemctl status` shows.
const MAX_SHOWN: usize = 8;
