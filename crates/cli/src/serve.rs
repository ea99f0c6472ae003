//! `portreeve serve`: an engine for a guest that somebody else makes, until told to stop.
//!
//! Owns the order of it: the link is there and every port bound before readiness is told; guests
//! come and go meanwhile; a signal ends it in order, a second one at once. Never daemonises.

mod attach;
mod ready;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use portreeve::{Event, Events};
use portreeve_types::{PublishItem, PublishSpec};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::serve::ServeArgs;
use crate::report::{self, Failure};
use crate::serving::control::Name;
use crate::serving::{Serving, parse_specs, raise_fd_limit};
use ready::Readiness;

/// What the command waits for.
enum Happening {
    Signal,
    GuestArrived,
    GuestGone { cause: String, for_good: bool },
}

/// Serves until stopped, and returns the exit code.
pub(crate) fn serve(args: &ServeArgs) -> Result<u8, Failure> {
    // Before anything is opened: descriptors are known by their numbers only until then.
    let readiness = Readiness::new(args.ready_fd)?;
    let link = attach::attach(&args.attach, args.serving.addresses.mtu)?;
    let specs = parse_specs(&args.serving.publish)?;
    refuse_auto(&specs)?;
    let mut addressing = args.serving.addresses.addressing()?;
    // A machine has an address of its own, which it shows.
    addressing.guest_mac = args.serving.addresses.mac;
    raise_fd_limit();
    let (sender, happenings) = channel();
    watch_signals(sender.clone())?;
    let dns = args.serving.dns.config();
    let name = Name::new(args.name.as_deref(), "serve".as_ref(), "serve")?;
    let serving = Serving::start(link, addressing, dns, &name, &specs, &args.serving)?;
    watch_guest(serving.engine().events(), sender)?;
    readiness.tell()?;
    let code = wait(&happenings, args)?;
    ready::tell_stopping();
    serving.finish();
    Ok(code)
}

/// Until there is a reason to end.
fn wait(happenings: &Receiver<Happening>, args: &ServeArgs) -> Result<u8, Failure> {
    let say = |what: &str| {
        if !args.serving.quiet {
            report::note(what);
        }
    };
    for happening in happenings {
        match happening {
            Happening::Signal => return Ok(0),
            Happening::GuestArrived => say("a guest has arrived"),
            Happening::GuestGone { cause, for_good } => {
                // The cause of a link's end says so itself.
                let gone = "the guest is gone: ";
                let cause = cause.strip_prefix(gone).unwrap_or(&cause);
                if args.exit_with_guest {
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

/// The guest's sockets can be seen only where its kernel is this one.
fn refuse_auto(specs: &[PublishSpec]) -> Result<(), Failure> {
    let by_hand = |item: &PublishItem| matches!(item, PublishItem::Request(_));
    match specs.iter().find(|spec| !spec.items().iter().all(by_hand)) {
        Some(spec) => Err(Failure::with_help(
            format_args!("-p {spec}: what a virtual machine listens on cannot be seen"),
            Some("name its ports, as in -p 8080:80"),
        )),
        None => Ok(()),
    }
}

fn watch_signals(sender: Sender<Happening>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::ours(format_args!("watching signals: {error}")))?;
    spawn("signals", move || {
        let mut first = None;
        for signal in signals.forever() {
            let since = first.get_or_insert_with(Instant::now).elapsed();
            // Once is an order, and may come twice: timeout(1) sends to the process and its group.
            if since > AGAIN {
                std::process::exit(128 + signal);
            }
            if sender.send(Happening::Signal).is_err() {
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

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map(|_| ()).map_err(|error| Failure::ours(format_args!("starting a thread: {error}")))
}

/// A signal this long after the first one means: now.
const AGAIN: Duration = Duration::from_millis(500);
