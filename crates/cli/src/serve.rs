//! `portreeve serve`: an engine for a guest that somebody else makes, until told to stop.
//!
//! Owns the order of it: the link is there and every port bound before readiness is told; guests
//! come and go meanwhile; a signal ends it in order, a second one at once; SIGHUP has the
//! configuration read again. Never daemonises.

mod attach;
mod ready;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use portreeve::{Event, Events, free_addressing};
use portreeve_types::Configuration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::LogArgs;
use crate::args::serve::ServeArgs;
use crate::configuration::{ConfigurationError, Origin};
use crate::report::{self, Failure};
use crate::serving::control::Name;
use crate::serving::{Serving, raise_fd_limit, take_activated_sockets};
use crate::{check, spawn};
use ready::Readiness;

/// What the command waits for.
enum Happening {
    End,
    Reload,
    GuestArrived,
    GuestGone { cause: String, for_good: bool },
}

/// Serves until stopped, and returns the exit code.
pub(crate) fn serve(args: &ServeArgs, log: &LogArgs) -> Result<u8, Failure> {
    let origin = Origin::of_serve(args, log);
    let configuration = origin.resolve()?;
    report::set_up(&configuration);
    if let Some(format) = args.config.dry_run {
        return check::show(&configuration, format);
    }
    // Before anything is opened: descriptors are known by their numbers only until then.
    take_activated_sockets()?;
    let readiness = Readiness::new(configuration.ready_fd)?;
    let link = attach::attach(configuration.link.as_ref(), configuration.addresses.mtu)?;
    let addressing = configuration.addresses.addressing(free_addressing());
    let mut addressing = addressing.map_err(ConfigurationError::from)?;
    // A machine has an address of its own, which it shows.
    addressing.guest_mac = configuration.addresses.mac;
    raise_fd_limit();
    let (sender, happenings) = channel();
    watch_signals(sender.clone(), origin.path().is_some())?;
    let name = Name::new(configuration.name.as_deref(), "serve".as_ref(), "serve")?;
    let serving = Serving::start(link, addressing, &name, origin, configuration.clone())?;
    watch_guest(serving.engine().events(), sender)?;
    readiness.tell(&serving.ports().list())?;
    let reload = || ready::while_reloading(|| reload(&serving));
    let code = wait(&happenings, &configuration, &reload)?;
    ready::tell_stopping();
    serving.finish();
    Ok(code)
}

/// Rereads the configuration; the answer is what the service manager is to show then.
fn reload(serving: &Serving) -> String {
    serving.reloader().reload_and_say();
    ready::status(&serving.ports().list())
}

/// Until there is a reason to end.
fn wait(
    happenings: &Receiver<Happening>,
    configuration: &Configuration,
    reload: &dyn Fn(),
) -> Result<u8, Failure> {
    let say = |what: &str| {
        if !configuration.quiet {
            report::note(what);
        }
    };
    for happening in happenings {
        match happening {
            Happening::End => return Ok(0),
            Happening::Reload => reload(),
            Happening::GuestArrived => say("a guest has arrived"),
            Happening::GuestGone { cause, for_good } => {
                // The cause of a link's end says so itself.
                let gone = "the guest is gone: ";
                let cause = cause.strip_prefix(gone).unwrap_or(&cause);
                if configuration.exit_with_guest {
                    say(&format!("{gone}{cause}"));
                    return Ok(0);
                }
                if for_good {
                    return Err(Failure::with_help(
                        format_args!("{gone}{cause}, and no other can come over this link"),
                        Some("with --exit-with-guest this is an end in order"),
                    ));
                }
                say(&format!("{gone}{cause}"));
            }
        }
    }
    Err(Failure::ours("the engine has stopped"))
}

/// SIGHUP is ours only where there is something to read again: it ends everything else.
fn watch_signals(sender: Sender<Happening>, can_reload: bool) -> Result<(), Failure> {
    let watched: &[i32] = if can_reload { &[SIGINT, SIGTERM, SIGHUP] } else { &[SIGINT, SIGTERM] };
    let mut signals = Signals::new(watched)
        .map_err(|error| Failure::ours(format_args!("watching signals: {error}")))?;
    spawn("signals", move || {
        let mut first = None;
        for signal in signals.forever() {
            if signal == SIGHUP {
                if sender.send(Happening::Reload).is_err() {
                    tracing::debug!("ending already");
                }
                continue;
            }
            let since = first.get_or_insert_with(Instant::now).elapsed();
            // Once is an order, and may come twice: timeout(1) sends to the process and its group.
            if since > AGAIN {
                std::process::exit(128 + signal);
            }
            if sender.send(Happening::End).is_err() {
                tracing::debug!("ending already");
            }
        }
    })
}

fn watch_guest(events: Events, sender: Sender<Happening>) -> Result<(), Failure> {
    spawn("guest", move || {
        for record in events {
            let happening = match record.event {
                Event::GuestArrived => Happening::GuestArrived,
                Event::GuestGone { cause, for_good } => Happening::GuestGone { cause, for_good },
                _ => continue,
            };
            if sender.send(happening).is_err() {
                return;
            }
        }
    })
}

/// A signal this long after the first one means: now.
const AGAIN: Duration = Duration::from_millis(500);
