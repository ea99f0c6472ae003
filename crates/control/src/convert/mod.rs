//! What the library says, in the API's words.
//!
//! Owns the names that reasons have in the API: they are for programs and do not change.

pub(crate) mod event;
pub(crate) mod flow;
mod reason;
