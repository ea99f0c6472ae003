//! `portreeve top`.
//!
//! Owns nothing of the view: that is `portreeve-top`'s.

use portreeve_top::{Ended, Options};

use super::{Stop, words};
use crate::args::engine::TopArgs;
use crate::report::Failure;

pub(super) fn top(args: &TopArgs) -> Result<u8, Stop> {
    let client = words::engine(args.name.as_deref(), args.socket.as_deref())?;
    // Asked before the screen is taken, so that an engine that is not there is told as by every
    // other command.
    client.health()?;
    let options = Options { period: args.interval, ..Options::default() };
    match portreeve_top::run(client, options) {
        Ok(Ended::Quit) => Ok(0),
        // As a shell shows a program that a signal has ended.
        Ok(Ended::Signal(signal)) => Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Err(error) => Err(Stop::Failed(Failure::ours(error))),
    }
}
