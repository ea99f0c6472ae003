//! The terminal: taken over, drawn on, listened to, given back.
//!
//! Whatever ends the view — a key, an error, a panic of any thread, a signal — the terminal is as
//! it was. Never knows what is drawn.

use std::io::{self, IsTerminal, Stdout};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};

/// A terminal that is taken over; dropped, it is given back.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    hook: Arc<Hook>,
}

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// Signals that are noted instead of obeyed, until it is dropped.
#[derive(Debug)]
pub(crate) struct Signals {
    last: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// To end; the number is the signal's.
    End(i32),
    /// To give the terminal back for a while.
    Suspend,
}

/// The terminal was given back by the hook of a panic: nothing may be drawn any more.
static GIVEN_BACK: AtomicBool = AtomicBool::new(false);

impl Screen {
    /// Takes the terminal over.
    pub(crate) fn open() -> io::Result<Self> {
        let hook: Arc<Hook> = Arc::from(panic::take_hook());
        let before = Arc::clone(&hook);
        panic::set_hook(Box::new(move |info| {
            GIVEN_BACK.store(true, Ordering::Release);
            give_back();
            before(info);
        }));
        GIVEN_BACK.store(false, Ordering::Release);
        let terminal =
            take_over().and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match terminal {
            Ok(terminal) => Ok(Self { terminal, hook }),
            Err(error) => {
                give_back();
                put_hook(hook);
                Err(error)
            }
        }
    }

    /// Draws, unless a panic has ended the view.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        if !GIVEN_BACK.load(Ordering::Acquire) {
            self.terminal.draw(draw)?;
        }
        Ok(())
    }

    /// Gives the terminal back, stops this process until it is told to go on, and takes the
    /// terminal over again.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
        take_over()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Giving it back twice would write over what the panic has said.
        if !GIVEN_BACK.load(Ordering::Acquire) {
            give_back();
        }
        put_hook(Arc::clone(&self.hook));
    }
}

impl Signals {
    /// Notes the signals that end programs, and the one that stops them.
    pub(crate) fn note() -> io::Result<Self> {
        let mut signals = Self { last: Arc::default(), registered: Vec::new() };
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP] {
            let last = Arc::clone(&signals.last);
            let id =
                signal_hook::flag::register_usize(signal, last, signal.unsigned_abs() as usize)?;
            signals.registered.push(id);
        }
        Ok(signals)
    }

    /// The last signal since this was last asked.
    pub(crate) fn last(&self) -> Option<Signal> {
        match i32::try_from(self.last.swap(0, Ordering::AcqRel)).unwrap_or_default() {
            0 => None,
            SIGTSTP => Some(Signal::Suspend),
            signal => Some(Signal::End(signal)),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// What there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Something, from the terminal or about its size.
    Some,
    /// Nothing within the time given.
    None,
    /// The terminal is gone, and nothing will come any more.
    HungUp,
}

/// Waits for input. crossterm's own waiting never ends once the terminal is gone: it reads on and
/// on where there is nothing to read, and no signal gets it out of there.
pub(crate) fn wait(time: Duration) -> io::Result<Input> {
    let terminal = io::stdin();
    let mut watched = [PollFd::new(&terminal, PollFlags::IN)];
    let time = Timespec::try_from(time).ok();
    match poll(&mut watched, time.as_ref()) {
        Ok(0) => {}
        Ok(_) if watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) => {
            return Ok(Input::HungUp);
        }
        Ok(_) => return Ok(Input::Some),
        // A signal; a new size is one too, and crossterm knows of it.
        Err(Errno::INTR) => return Ok(Input::Some),
        Err(error) => return Err(error.into()),
    }
    Ok(Input::None)
}

/// Whether there is a terminal to take over, and one that can be drawn on.
pub(crate) fn is_there() -> bool {
    io::stdout().is_terminal()
        && io::stdin().is_terminal()
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn take_over() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)
}

/// Nothing can be done about a terminal that does not take this.
fn give_back() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
}

fn put_hook(hook: Arc<Hook>) {
    // A thread that panics cannot set the hook, and needs it.
    if !std::thread::panicking() {
        panic::set_hook(Box::new(move |info| hook(info)));
    }
}
