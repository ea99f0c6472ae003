//! The system calls no safe wrapper exists for, each behind a safe function with its argument.
//!
//! Never decides anything: what is called when, and what a failure means, is the callers' affair.

pub(crate) mod process;
pub(crate) mod signal;
pub(crate) mod tun;
