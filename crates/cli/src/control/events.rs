//! `portreeve events`, and the stream that `portreeve flows --follow` shows part of.
//!
//! Owns what is done when a stream breaks off: it is taken up behind the last event, once for each
//! break, as long as the engine is there.

use portreeve_client::{Client, Error, EventFilter};
use portreeve_types::api::EventRecord;

use super::event_line;
use super::screen::Screen;
use super::{Stop, words};
use crate::args::engine::EventsArgs;
use crate::report;

pub(super) fn events(args: &EventsArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let ask = &args.ask;
    let client = words::engine(ask.name.as_deref(), ask.socket.socket.as_deref())?;
    let filter = EventFilter {
        // Without waiting there is nothing from now on: what has been kept is meant.
        since: if args.no_follow { args.since.or(Some(0)) } else { args.since },
        kinds: args.kinds.clone(),
        follow: !args.no_follow,
    };
    follow(&client, filter, ask.socket.json, |_| true, screen)
}

/// Prints events until the engine ends.
pub(super) fn follow(
    client: &Client,
    filter: EventFilter,
    json: bool,
    wanted: impl Fn(&EventRecord) -> bool,
    screen: &mut Screen,
) -> Result<u8, Stop> {
    let mut events = client.events(filter)?;
    loop {
        match events.next() {
            None => return Ok(0),
            Some(Ok(record)) if !wanted(&record) => {}
            Some(Ok(record)) if json => screen.json_line(&record)?,
            Some(Ok(record)) => screen.line_now(event_line::line(&record))?,
            Some(Err(broken @ Error::Interrupted { .. })) => match events.resume() {
                Ok(()) => {}
                Err(error) if error.is_gone() => {
                    report::note("the engine has ended");
                    return Ok(0);
                }
                Err(_) => return Err(broken.into()),
            },
            Some(Err(error)) => return Err(error.into()),
        }
    }
}
