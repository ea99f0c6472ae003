//! `portreeve run`: a guest, an engine, its ports, and the end of all three.
//!
//! Owns the order of it. The guest is made before any thread starts; every port is bound before
//! the command does; what the command sent is delivered before the engine stops.

use portreeve::{Announce, DnsConfig, DnsName, Drained, Engine, Handle, Tap, host_search};
use portreeve_sandbox::{ResolvConf, Sandbox, SandboxOptions};
use portreeve_types::{Addressing, Limits, PublishItem, PublishSpec, PublishedPort};

use crate::args::RunArgs;
use crate::auto_publish::AutoPublish;
use crate::report::{self, Failure, PortsFile};

/// Runs the command to its end and returns its exit code.
pub(crate) fn run(args: RunArgs) -> Result<u8, Failure> {
    let specs = parse_specs(&args.publish)?;
    let addressing = args.addresses.addressing()?;
    let dns = args.dns.config();
    let mut sandbox = Sandbox::prepare(guest(&args, &addressing, &dns))?;
    for warning in sandbox.warnings() {
        report::warning(warning);
    }
    // Only now: the command keeps the limit that its caller set.
    if let Err(error) = portreeve::raise_fd_limit() {
        report::warning(format_args!("raising the limit of open files: {error}"));
    }
    let tap = sandbox.take_tap().ok_or_else(|| Failure::ours("the guest has no network device"))?;
    let tap = Tap::from_fd(tap).map_err(Failure::ours)?.with_mtu(args.addresses.mtu);
    let limits = Limits {
        connect_timeout_ms: u64::try_from(args.connect_timeout.as_millis()).unwrap_or(u64::MAX),
        ..Limits::default()
    };
    let engine = Engine::builder()
        .link(tap)
        .addressing(addressing)
        .limits(limits)
        .source(args.source.into())
        .egress(args.egress.egress())
        .dns(Some(dns))
        .announce(Announce { hostname: args.name.clone(), ..Announce::default() })
        .start()
        .map_err(Failure::ours)?;
    let ports = publish(&engine, &specs)?;
    if !args.quiet {
        report::published(&ports);
    }
    let ports_file = args.ports_file.as_deref().map(|path| {
        PortsFile::write(path, &ports)
            .map_err(|error| Failure::ours(format_args!("{}: {error}", path.display())))
    });
    let ports_file = ports_file.transpose()?;
    let auto = AutoPublish::start(&specs, &args, &engine, sandbox.guest_pid(), ports);
    let mut running = sandbox.start()?;
    let status = running.wait()?;
    drop(auto);
    drop(ports_file);
    // The guest's kernel may still have to send what the command wrote, so its network stays.
    // Signals are ours again: whoever waits for a client must be able to stop waiting.
    let _network = running.netns().try_clone_to_owned().map_err(Failure::ours)?;
    drop(running);
    if let Drained::Stalled { flows } = engine.drain(args.drain) {
        report::warning(format_args!(
            "{flows} connections took nothing for {}; what they had not taken may be lost",
            humantime::format_duration(args.drain)
        ));
    }
    engine.stop();
    Ok(status.code())
}

/// The guest that is to be made.
fn guest(args: &RunArgs, addressing: &Addressing, dns: &DnsConfig) -> SandboxOptions {
    let search = dns.search.clone().unwrap_or_else(host_search);
    let mut options = SandboxOptions::new(args.command.clone());
    options.addressing = addressing.clone();
    options.hostname = args.name.clone();
    options.resolver = Some(resolver(addressing, &search));
    options.terminal = true;
    options
}

fn parse_specs(texts: &[String]) -> Result<Vec<PublishSpec>, Failure> {
    let mut specs = Vec::new();
    for text in texts {
        let spec: PublishSpec = text.parse().map_err(Failure::diagnostic)?;
        for warning in spec.warnings() {
            report::warning(warning);
        }
        specs.push(spec);
    }
    Ok(specs)
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

fn publish(engine: &Handle, specs: &[PublishSpec]) -> Result<Vec<PublishedPort>, Failure> {
    let mut ports = Vec::new();
    for item in specs.iter().flat_map(PublishSpec::items) {
        if let PublishItem::Request(request) = item {
            ports.extend(engine.publish(&request).map_err(Failure::ours)?);
        }
    }
    Ok(ports)
}
