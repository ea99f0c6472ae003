//! The one raw system call of this crate.

mod namespace;

pub(crate) use namespace::{Fresh, unshare};
