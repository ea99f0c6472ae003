//! `portreeve run`: a guest, an engine, its ports, and the end of all three.
//!
//! Owns the order of it. The guest is made before any thread starts; every port is bound before
//! the command does; what the command sent is delivered before the engine stops.

use portreeve::{DnsConfig, DnsName, Tap, host_search};
use portreeve_sandbox::{ResolvConf, Sandbox, SandboxOptions};
use portreeve_types::Addressing;

use crate::args::RunArgs;
use crate::auto_publish::AutoPublish;
use crate::report::{self, Failure};
use crate::serving::control::{self, Name};
use crate::serving::{Serving, parse_specs, raise_fd_limit};

/// Runs the command to its end and returns its exit code.
pub(crate) fn run(args: RunArgs) -> Result<u8, Failure> {
    let specs = parse_specs(&args.serving.publish)?;
    let addressing = args.serving.addresses.addressing()?;
    let dns = args.serving.dns.config();
    let name = Name::new(args.name.as_deref(), &args.command[0], "run")?;
    let mut sandbox = Sandbox::prepare(guest(&args, &addressing, &dns))?;
    for warning in sandbox.warnings() {
        report::warning(warning);
    }
    // Only now: the command keeps the limit that its caller set.
    raise_fd_limit();
    let tap = sandbox.take_tap().ok_or_else(|| Failure::ours("the guest has no network device"))?;
    let tap = Tap::from_fd(tap).map_err(Failure::ours)?.with_mtu(args.serving.addresses.mtu);
    let mut serving = Serving::start(tap, addressing, dns, &name, &specs, &args.serving)?;
    let auto = AutoPublish::start(&specs, &args, &serving, sandbox.guest_pid());
    let mut running = sandbox.start()?;
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

/// The guest that is to be made.
fn guest(args: &RunArgs, addressing: &Addressing, dns: &DnsConfig) -> SandboxOptions {
    let search = dns.search.clone().unwrap_or_else(host_search);
    let mut options = SandboxOptions::new(args.command.clone());
    options.addressing = addressing.clone();
    options.hostname = args.name.clone();
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
