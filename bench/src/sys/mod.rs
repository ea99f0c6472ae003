//! The raw system calls of this crate.

mod inbox;
mod namespace;

pub(crate) use inbox::{BATCH, Inbox};
pub(crate) use namespace::{Fresh, unshare};
