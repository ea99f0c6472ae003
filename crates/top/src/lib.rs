//! A live view of an engine in the terminal.
//!
//! [`run`] takes the terminal over, asks an engine again and again, and shows its flows, published
//! ports, drops, names and events until the user leaves. The picture is a pure function of a model
//! (`view`, `model`), the model changes by keys and by what the engine said (`input`, `feed`);
//! only this file, `feed` and `terminal` read a clock or touch the world.
//!
//! Never knows engines: it is a client of the control API, through [`Source`].

#![forbid(unsafe_code)]

mod feed;
mod input;
mod model;
mod source;
mod terminal;
mod units;
mod view;

#[cfg(test)]
mod canned;

use std::io;
use std::time::{Duration, Instant};

use portreeve_client::Client;
use ratatui::crossterm::event::{self, Event};
use signal_hook::consts::SIGHUP;

pub use source::{Source, SourceError};

use feed::{Feed, News};
use model::{Model, Order};
use terminal::{Input, Screen, Signal, Signals};
use view::Look;

/// How to show an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The time between two rounds of questions, until the user changes it.
    pub period: Duration,
    /// Flows that are asked for at most; of the others only their number is shown.
    pub max_flows: usize,
    /// Whether to use colours; without them, bold, dim and reversed letters say the same.
    pub color: bool,
    /// Whether the terminal shows letters beyond ASCII.
    pub unicode: bool,
}

/// How the view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The user left.
    Quit,
    /// A signal of this number asked for it.
    Signal(i32),
}

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Standard output is no terminal that can be drawn on, or standard input none to read from.
    #[error(
        "there is no terminal to draw on and to read keys from; `portreeve flows` and `portreeve \
         events` print lines"
    )]
    NoTerminal,
    /// The engine does not answer.
    #[error("the engine does not answer: {0}")]
    NoEngine(SourceError),
    /// The terminal failed.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
    /// The thread that asks the engine has panicked.
    #[error("the thread that asks the engine has panicked: a fault of this program")]
    Panicked,
}

impl Default for Options {
    /// Once a second, 5,000 flows, colours and letters as the environment says: no colours with
    /// `NO_COLOR`, UTF-8 where `LC_ALL`, `LC_CTYPE` or `LANG` names it.
    fn default() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale =
            variable("LC_ALL").or_else(|| variable("LC_CTYPE")).or_else(|| variable("LANG"));
        Self {
            period: Duration::from_secs(1),
            max_flows: 5_000,
            color: variable("NO_COLOR").is_none(),
            unicode: locale.is_some_and(|locale| is_utf8(&locale)),
        }
    }
}

/// Shows the engine that `client` talks to until the user leaves.
///
/// Blocks, and owns the terminal and the process's signals meanwhile. An engine that goes away is
/// shown as such and asked again until it is back.
///
/// # Errors
/// If there is no terminal, if the engine does not answer at the beginning, or if the terminal
/// fails.
pub fn run(client: Client, options: Options) -> Result<Ended, Error> {
    // An engine that hangs is told from one that is slow; the next round asks again.
    run_source(Box::new(client.with_timeout(PATIENCE)), options)
}

/// Shows what `source` tells until the user leaves; as [`run`].
///
/// # Errors
/// As [`run`].
pub fn run_source(source: Box<dyn Source>, options: Options) -> Result<Ended, Error> {
    if !terminal::is_there() {
        return Err(Error::NoTerminal);
    }
    source.health().map_err(Error::NoEngine)?;
    let signals = Signals::note()?;
    let feed = Feed::start(source, options.period, options.max_flows)?;
    let look = Look::new(options.color, options.unicode);
    let mut screen = Screen::open()?;
    watch(&mut screen, &feed, &signals, &mut Model::new(options.period), look)
}

/// Draws, waits for something to change, and draws again.
fn watch(
    screen: &mut Screen,
    feed: &Feed,
    signals: &Signals,
    model: &mut Model,
    look: Look,
) -> Result<Ended, Error> {
    let mut changed = true;
    loop {
        if changed {
            screen.draw(|frame| {
                model.page = view::page(frame.area());
                view::draw(frame, model, look);
            })?;
            changed = false;
        }
        let mut orders = Vec::new();
        match terminal::wait(TURN)? {
            Input::HungUp => return Ok(Ended::Signal(SIGHUP)),
            // Without input, too: a new size is told by a signal, which may come at any time.
            Input::Some | Input::None if event::poll(Duration::ZERO)? => {
                changed |= read(event::read()?, model, &mut orders);
            }
            Input::Some | Input::None => {}
        }
        match signals.last() {
            Some(Signal::End(signal)) => return Ok(Ended::Signal(signal)),
            Some(Signal::Suspend) => orders.push(Order::Suspend),
            None => {}
        }
        for order in orders {
            match order {
                Order::Quit => return Ok(Ended::Quit),
                Order::Suspend => {
                    screen.suspend()?;
                    changed = true;
                }
                order => feed.order(order).map_err(|_| Error::Panicked)?,
            }
        }
        while let Some(news) = feed.news().map_err(|_| Error::Panicked)? {
            tell(news, model);
            changed = true;
        }
        changed |= model.pass(Instant::now());
    }
}

/// Takes in what the terminal says; whether there is something new to draw.
fn read(event: Event, model: &mut Model, orders: &mut Vec<Order>) -> bool {
    match event {
        Event::Key(key) => match input::action(&model.mode, key) {
            Some(action) => {
                orders.extend(model.act(Instant::now(), action));
                true
            }
            None => false,
        },
        Event::Resize(..) => true,
        _ => false,
    }
}

/// Takes in what the feed says.
fn tell(news: News, model: &mut Model) {
    match news {
        News::Round(snapshot) => model.update(*snapshot),
        News::Alive => model.find(),
        News::Gone(cause) => model.lose(Instant::now(), cause),
        News::Outcome(outcome) => model.report(Instant::now(), outcome),
    }
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// How long the loop waits for a key before it looks for news and signals.
const TURN: Duration = Duration::from_millis(50);

/// How long an engine may take for one answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_says_whether_it_is_utf_8() {
        for (locale, utf8) in [
            ("en_GB.UTF-8", true),
            ("C.utf8", true),
            ("de_DE@euro", false),
            ("C", false),
            ("POSIX", false),
        ] {
            assert_eq!(is_utf8(locale), utf8, "{locale}");
        }
    }
}
