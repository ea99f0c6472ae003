//! The life of a TCP flow as a table: phase × event → phase and actions.
//!
//! Theory. A flow has two sides, host and guest, and two directions. Three kinds of fact move it:
//! what a side did (`…Eof`, `…Fin`, `…Reset`), that bytes have arrived where they were going
//! (`…Delivered`, `GuestClosed`), and time or order from above. Facts are reported only when they
//! are complete: `GuestFin` means that everything before the FIN has been written to the host
//! socket, `HostEof` that everything before it lies in the ring to the guest. So every action can
//! be carried out at once, and no byte is overtaken by the end of its stream.
//!
//! ```text
//!  DialingGuest ─┐                ┌─ HostFinished ──┐
//!                ├──► Relaying ───┤                 ├──► BothFinished ──► Closed
//!  DialingHost ──┘                └─ GuestFinished ─┘
//!        any of these ── reset by one side ──► GuestGone | HostGone ──► Closed
//! ```
//!
//! Pure: this file touches no socket and no table; `close.rs` carries the actions out. The whole
//! matrix is a snapshot test, so a changed cell shows as a changed line.

/// Where a TCP flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// A host client was accepted; the guest has not yet answered our SYN.
    DialingGuest,
    /// The guest's SYN is held until the host socket has connected.
    DialingHost,
    /// Both directions are open.
    Relaying,
    /// The host has sent its last byte; the guest may go on for ever.
    HostFinished,
    /// The guest has sent its last byte; the host may go on for ever.
    GuestFinished,
    /// Both have; the guest has yet to acknowledge the rest. The host socket is closed.
    BothFinished,
    /// The guest reset the flow; what it had sent before is still being written to the host.
    GuestGone,
    /// The host reset the flow; what it had sent before is still on its way to the guest.
    HostGone,
    /// Over. At most a reset segment is still to be sent to the guest.
    Closed,
}

/// What can happen to a TCP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PhaseEvent {
    /// The handshake with the guest is complete.
    GuestAnswered,
    /// The guest refused by reset or ICMP, and there is no other address to try.
    GuestRefused,
    /// The host socket has connected.
    HostConnected,
    /// The host socket could not connect.
    HostRefused,
    /// The host's stream ended, and all of it lies in the ring.
    HostEof,
    /// The host's connection was reset or failed.
    HostReset,
    /// The guest's stream ended, and all of it has been written to the host.
    GuestFin,
    /// The guest reset an established flow.
    GuestReset,
    /// The guest is no longer there; nobody is left to hear anything.
    GuestVanished,
    /// Everything for the guest has been acknowledged by it.
    ToGuestDelivered,
    /// Everything from the guest has been written to the host.
    FromGuestDelivered,
    /// Both streams with the guest ended in order.
    GuestClosed,
    /// The time allowed in this phase is over.
    Deadline,
    /// The flow was ordered to end now.
    Kill,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// Answer the held SYN and begin the guest's side.
    AnswerGuest,
    /// Refuse the held SYN.
    RefuseGuest,
    /// Send FIN to the guest behind what is still in the ring.
    FinishGuest,
    /// Send RST to the guest.
    ResetGuest,
    /// Shut the host socket down for writing.
    FinishHost,
    /// Close the host socket in order.
    CloseHost,
    /// Close the host socket with RST, once the host has taken what was written before.
    ResetHost,
}

impl Phase {
    /// Every phase, in the order of a flow's life.
    pub const ALL: &'static [Self] = &[
        Self::DialingGuest,
        Self::DialingHost,
        Self::Relaying,
        Self::HostFinished,
        Self::GuestFinished,
        Self::BothFinished,
        Self::GuestGone,
        Self::HostGone,
        Self::Closed,
    ];

    /// Whether bytes from the host may still enter the ring to the guest.
    pub const fn takes_from_host(self) -> bool {
        matches!(self, Self::Relaying | Self::GuestFinished)
    }

    /// Whether bytes from the guest may still be written to the host.
    pub const fn gives_to_host(self) -> bool {
        matches!(self, Self::Relaying | Self::HostFinished | Self::GuestGone)
    }

    /// The stable name used in the API and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::DialingGuest => "dialing_guest",
            Self::DialingHost => "dialing_host",
            Self::Relaying => "relaying",
            Self::HostFinished => "host_finished",
            Self::GuestFinished => "guest_finished",
            Self::BothFinished => "both_finished",
            Self::GuestGone => "guest_gone",
            Self::HostGone => "host_gone",
            Self::Closed => "closed",
        }
    }
}

impl PhaseEvent {
    /// Every event.
    pub const ALL: &'static [Self] = &[
        Self::GuestAnswered,
        Self::GuestRefused,
        Self::HostConnected,
        Self::HostRefused,
        Self::HostEof,
        Self::HostReset,
        Self::GuestFin,
        Self::GuestReset,
        Self::GuestVanished,
        Self::ToGuestDelivered,
        Self::FromGuestDelivered,
        Self::GuestClosed,
        Self::Deadline,
        Self::Kill,
    ];
}

/// The next phase and what to do on the way; `None` when the event means nothing in this phase.
pub const fn transition(phase: Phase, event: PhaseEvent) -> Option<(Phase, &'static [Action])> {
    use Action::{
        AnswerGuest, CloseHost, FinishGuest, FinishHost, RefuseGuest, ResetGuest, ResetHost,
    };
    use Phase::{
        BothFinished, Closed, DialingGuest, DialingHost, GuestFinished, GuestGone, HostFinished,
        HostGone, Relaying,
    };
    use PhaseEvent as On;

    Some(match (phase, event) {
        (DialingGuest, On::GuestAnswered) => (Relaying, &[]),
        (DialingGuest, On::GuestRefused | On::GuestReset | On::GuestVanished) => {
            (Closed, &[ResetHost])
        }
        (DialingGuest, On::HostReset) => (Closed, &[ResetGuest, CloseHost]),
        (DialingGuest, On::Deadline | On::Kill) => (Closed, &[ResetGuest, ResetHost]),

        (DialingHost, On::HostConnected) => (Relaying, &[AnswerGuest]),
        (DialingHost, On::HostRefused | On::HostReset | On::Deadline | On::Kill) => {
            (Closed, &[RefuseGuest, CloseHost])
        }
        (DialingHost, On::GuestReset | On::GuestVanished) => (Closed, &[CloseHost]),

        (Relaying, On::HostEof) => (HostFinished, &[FinishGuest]),
        (Relaying, On::GuestFin) => (GuestFinished, &[FinishHost]),
        (HostFinished, On::GuestFin) => (BothFinished, &[FinishHost, CloseHost]),
        (GuestFinished, On::HostEof) => (BothFinished, &[FinishGuest, CloseHost]),
        (BothFinished, On::GuestClosed) => (Closed, &[]),

        (Relaying | HostFinished | GuestFinished, On::GuestReset) => (GuestGone, &[]),
        (Relaying | HostFinished | GuestFinished, On::HostReset) => (HostGone, &[CloseHost]),
        (Relaying | HostFinished | GuestFinished, On::Deadline | On::Kill) => {
            (Closed, &[ResetGuest, ResetHost])
        }
        (Relaying | HostFinished | GuestFinished, On::GuestVanished) => (Closed, &[ResetHost]),
        (BothFinished, On::GuestReset | On::GuestVanished) => (Closed, &[]),
        (BothFinished, On::Deadline | On::Kill) => (Closed, &[ResetGuest]),

        (GuestGone, On::FromGuestDelivered | On::GuestVanished | On::Deadline | On::Kill) => {
            (Closed, &[ResetHost])
        }
        (GuestGone, On::HostReset) => (Closed, &[CloseHost]),
        (HostGone, On::ToGuestDelivered | On::Deadline | On::Kill) => (Closed, &[ResetGuest]),
        (HostGone, On::GuestReset | On::GuestClosed | On::GuestVanished) => (Closed, &[]),

        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn the_whole_matrix() {
        let mut matrix = String::new();
        for &phase in Phase::ALL {
            for &event in PhaseEvent::ALL {
                match transition(phase, event) {
                    Some((next, actions)) => {
                        writeln!(matrix, "{phase:?} × {event:?} → {next:?} {actions:?}")
                    }
                    None => writeln!(matrix, "{phase:?} × {event:?} → –"),
                }
                .unwrap();
            }
        }
        insta::assert_snapshot!(matrix);
    }

    #[test]
    fn a_kill_ends_every_phase_and_closed_is_final() {
        for &phase in Phase::ALL {
            let next = transition(phase, PhaseEvent::Kill).map(|(next, _)| next);
            let expected = (phase != Phase::Closed).then_some(Phase::Closed);
            assert_eq!(next, expected, "{phase:?}");
        }
        for &event in PhaseEvent::ALL {
            assert_eq!(transition(Phase::Closed, event), None);
        }
    }

    /// The host socket is released exactly once on every path to `Closed`.
    #[test]
    fn the_host_socket_is_closed_exactly_once() {
        let releases = |actions: &[Action]| {
            actions.iter().filter(|a| matches!(a, Action::CloseHost | Action::ResetHost)).count()
        };
        let held = |phase| !matches!(phase, Phase::BothFinished | Phase::HostGone | Phase::Closed);
        for &phase in Phase::ALL {
            for &event in PhaseEvent::ALL {
                let Some((next, actions)) = transition(phase, event) else { continue };
                let expected = usize::from(held(phase) && !held(next));
                assert_eq!(releases(actions), expected, "{phase:?} × {event:?}");
            }
        }
    }
}
