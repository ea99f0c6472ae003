//! `portreeve run`: a guest, an engine, its ports, and the end of all three.
//!
//! Owns the order of it. The guest is made before any thread starts; every port is bound before
//! the command does; what the command sent is delivered before the engine stops.

use std::ffi::OsString;

use portreeve::{DnsName, Tap, free_addressing, host_search};
use portreeve_sandbox::{ResolvConf, Sandbox, SandboxOptions};
use portreeve_types::{Addressing, Configuration};
use signal_hook::consts::SIGHUP;

use crate::args::{LogArgs, RunArgs};
use crate::auto_publish::AutoPublish;
use crate::configuration::{ConfigurationError, Origin};
use crate::report::{self, Failure};
use crate::serving::control::{self, Name};
use crate::serving::{Serving, raise_fd_limit, take_activated_sockets};
use crate::{check, spawn};

/// Runs the command to its end and returns its exit code.
pub(crate) fn run(args: &RunArgs, log: &LogArgs) -> Result<u8, Failure> {
    let origin = Origin::of_run(args, log);
    let configuration = origin.resolve()?;
    report::set_up(&configuration);
    if let Some(format) = args.config.dry_run {
        return check::show(&configuration, format);
    }
    take_activated_sockets()?;
    let addressing = configuration.addresses.addressing(free_addressing());
    let addressing = addressing.map_err(ConfigurationError::from)?;
    let command = command(args, &configuration);
    let word = command.first().cloned().unwrap_or_default();
    let name = Name::new(configuration.name.as_deref(), &word, "run")?;
    let mut sandbox = Sandbox::prepare(guest(command, &configuration, &addressing))?;
    for warning in sandbox.warnings() {
        report::warning(warning);
    }
    // Only now: the command keeps the limit that its caller set.
    raise_fd_limit();
    let tap = sandbox.take_tap().ok_or_else(|| Failure::ours("the guest has no network device"))?;
    let tap = Tap::from_fd(tap).map_err(Failure::ours)?.with_mtu(configuration.addresses.mtu);
    let serving = Serving::start(tap, addressing, &name, origin, configuration.clone())?;
    let auto = AutoPublish::start(&configuration, &serving, sandbox.guest_pid());
    let reloader = serving.reloader().clone();
    let mut running = sandbox.start()?;
    if reloader.has_file() {
        let (sender, orders) = std::sync::mpsc::channel();
        running.intercept(SIGHUP, move || {
            if sender.send(()).is_err() {
                tracing::debug!("nobody reloads any more");
            }
        });
        spawn("reload", move || orders.iter().for_each(|()| reloader.reload_and_say()))?;
    }
    let status = running.wait()?;
    drop(auto);
    serving.withdraw_ports_file();
    // The guest's kernel may still have to send what the command wrote, so its network stays.
    // Signals are ours again: whoever waits for a client must be able to stop waiting.
    let _network = running.netns().try_clone_to_owned().map_err(Failure::ours)?;
    drop(running);
    serving.finish();
    Ok(status.code())
}

/// The words as they were given, even where they are no text.
fn command(args: &RunArgs, configuration: &Configuration) -> Vec<OsString> {
    if args.command.is_empty() {
        configuration.command.iter().map(Into::into).collect()
    } else {
        args.command.clone()
    }
}

/// The guest that is to be made.
fn guest(
    command: Vec<OsString>,
    configuration: &Configuration,
    addressing: &Addressing,
) -> SandboxOptions {
    let search = configuration.dns.search.clone().unwrap_or_else(host_search);
    let mut options = SandboxOptions::new(command);
    options.addressing = addressing.clone();
    options.hostname = configuration.name.clone();
    options.hidden = control::hidden_directories();
    options.resolver = Some(resolver(addressing, &search));
    options.terminal = true;
    options
}

/// What the guest's `/etc/resolv.conf` says: its gateway answers.
pub(crate) fn resolver(addressing: &Addressing, search: &[DnsName]) -> ResolvConf {
    let v4 = addressing.ipv4.map(|link| link.gateway.into());
    let v6 = addressing.ipv6.map(|link| link.gateway.into());
    ResolvConf {
        nameservers: v4.into_iter().chain(v6).collect(),
        search: search.iter().map(ToString::to_string).collect(),
    }
}
