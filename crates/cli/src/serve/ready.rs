//! Telling whoever started `serve` that it is ready: by a descriptor, and as systemd wants it.
//!
//! Spec: sd_notify(3).

use std::fs::File;
use std::io::Write;

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
    pub(super) fn tell(self) -> Result<(), Failure> {
        if let Some(mut fd) = self.fd {
            fd.write_all(b"\n").map_err(|e| Failure::ours(format_args!("--ready-fd: {e}")))?;
        }
        notify(NotifyState::Ready);
        Ok(())
    }
}

/// The end has begun.
pub(super) fn tell_stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    // Without NOTIFY_SOCKET this does nothing.
    if let Err(error) = sd_notify::notify(&[state]) {
        report::warning(format_args!("telling the service manager: {error}"));
    }
}
