//! End-to-end tests: the Linux kernel as a guest.
//!
//! What the tests in `tests/linux` are made of: a network namespace for each test ([`network`]),
//! the real `portreeve run` in it, as root and as an ordinary user ([`run`]), the library with a
//! TAP ([`library`]), clients ([`client`]) and bytes that show where one is missing ([`content`]);
//! for virtual machines `portreeve serve` ([`serve`]) with a machine ([`vm`]) or a namespace
//! that speaks as one ([`socket_guest`]); a client of the control API ([`control`]);
//! for the guest's own connections an internet ([`internet`], [`name_server`]) and a guest that
//! does as it is told ([`calls`]); for what draws on a terminal one that can be looked at ([`tmux`]).
//! The guest's side is a program of this package, `portreeve-e2e-guest` (`src/guest`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a harness: whatever it cannot do fails the test that asked for it, and is said there"
)]

pub mod calls;
pub mod client;
pub mod content;
pub mod control;
pub mod dns;
pub mod etc;
pub mod internet;
pub mod library;
pub mod lines;
pub mod machine;
pub mod name_server;
pub mod network;
pub mod program;
pub mod run;
pub mod serve;
pub mod socket_guest;
pub mod sys;
pub mod tmux;
pub mod vm;
