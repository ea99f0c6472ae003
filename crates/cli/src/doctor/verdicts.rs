//! What the findings mean: for each check whether it is enough, what it costs and what would
//! change it.
//!
//! Owns the names of the checks, which docs/manual/doctor.md lists. Looks at nothing but the
//! findings. Only what keeps `portreeve run` from working is missing; all else is degraded.

use std::io;
use std::net::SocketAddr;

use portreeve::{Limits, PingKind};

use super::Check;
use super::machine::{Families, Guest, LARGEST_MTU, Machine, Need, Obstacle};
use super::name_servers::Answer;

/// Every check, in the order in which one needs the other.
pub(super) fn all(machine: &Machine) -> Vec<Check> {
    let mut checks = vec![kernel(&machine.kernel)];
    checks.extend(machine.needs.iter().map(need));
    checks.extend(guest(machine));
    checks.push(open_files(machine.open_files));
    checks.extend(loopback(&machine.loopback));
    checks.push(low_ports(machine.first_free_port, machine.low_ports));
    checks.extend(routes(machine.route));
    checks.push(ping(&machine.ping, machine.ping_groups.as_deref()));
    checks.push(resolver(&machine.resolver));
    checks
}

/// Too old a kernel is degraded: whether a guest can be made there is what `guest` says.
fn kernel(release: &str) -> Check {
    let found = format!("Linux {release}");
    if version(release).is_some_and(|version| version < OLDEST) {
        let cost = "nobody has tried: Linux 5.9 is the oldest that portreeve is made for";
        return Check::degraded("kernel", found, cost, "boot Linux 5.9 or newer");
    }
    Check::ok("kernel", found)
}

fn need(need: &Need) -> Check {
    if need.ok {
        Check::ok(need.name, &need.why)
    } else {
        Check::missing(need.name, &need.why, need.fix.clone())
    }
}

/// The guest, and what its device can do.
fn guest(machine: &Machine) -> [Check; 3] {
    let unknown = |name| {
        let fix = "make a guest possible first: see the checks that are missing";
        Check::degraded(name, "not known: no guest could be made to ask", "not known", fix)
    };
    let failed = match &machine.guest {
        Some(Ok(guest)) => return [made(guest), offloads(guest, &machine.kernel), mtu(guest)],
        Some(Err(Obstacle { what, fix })) => Check::missing("guest", what, fix.clone()),
        None => {
            let lacking = machine.needs.iter().filter(|need| !need.ok);
            let lacking: Vec<_> = lacking.map(|need| need.name).collect();
            let lacking = lacking.join(", ");
            let fix = Some(format!("what {lacking} says above"));
            Check::missing("guest", format!("not tried, for want of {lacking}"), fix)
        }
    };
    [failed, unknown("offloads"), unknown("mtu")]
}

fn made(guest: &Guest) -> Check {
    if guest.warnings.is_empty() {
        return Check::ok("guest", "made with device, addresses and engine, and taken away again");
    }
    let found = format!("made, with less than wanted: {}", guest.warnings.join(", "));
    let cost = "the guest does without that";
    Check::degraded("guest", found, cost, "run as root, outside of a container")
}

fn offloads(guest: &Guest, kernel: &str) -> Check {
    let tap = guest.tap;
    let all = [
        ("checksum", tap.checksum_offload),
        ("TSO4", tap.tso4),
        ("TSO6", tap.tso6),
        ("USO", tap.uso),
    ];
    let names = |wanted: bool| {
        let names: Vec<_> =
            all.iter().filter(|(_, has)| *has == wanted).map(|(name, _)| *name).collect();
        names.join(", ")
    };
    let (has, lacks) = (names(true), names(false));
    if lacks.is_empty() {
        return Check::ok("offloads", has);
    }
    let found = if has.is_empty() { "none".to_owned() } else { format!("{has}; no {lacks}") };
    if lacks == "USO" {
        let cost = "runs of UDP datagrams go to the guest one by one, which is slower";
        let fix = format!("boot Linux 6.2 or newer (this is {kernel})");
        return Check::degraded("offloads", found, cost, &fix);
    }
    let cost = "frames are cut and summed one by one, which is several times slower";
    Check::degraded("offloads", found, cost, "boot a kernel whose tun driver has TUNSETOFFLOAD")
}

fn mtu(guest: &Guest) -> Check {
    let usual = guest.tap.mtu;
    if guest.large_mtu {
        return Check::ok("mtu", format!("{usual} as usual, and up to {LARGEST_MTU} with --mtu"));
    }
    let cost = format!("--mtu {LARGEST_MTU} does not work");
    let fix = "stay with the usual MTU: offloads make up for most of it";
    Check::degraded("mtu", format!("{usual}, but not {LARGEST_MTU}"), &cost, fix)
}

/// The soft limit is no matter: the engine raises it to the hard one, for itself alone.
fn open_files((soft, hard): (u64, u64)) -> Check {
    let most = Limits::default().max_flows as u64;
    let connections = hard.saturating_sub(OWN_FILES).min(most);
    let limit = |number: u64| match number {
        u64::MAX => "unlimited".to_owned(),
        number => number.to_string(),
    };
    let found = format!(
        "soft {}, hard {}: {connections} connections of a guest at once",
        limit(soft),
        limit(hard)
    );
    if connections == most {
        return Check::ok("open-files", found);
    }
    let enough = most + OWN_FILES;
    let cost = format!("further ones wait or fail; portreeve itself would take {most}");
    let fix = format!(
        "in this shell: sudo prlimit --pid $$ --nofile=:{enough}; to keep it so, in \
         /etc/security/limits.conf: * hard nofile {enough}; in a systemd unit: \
         LimitNOFILE={enough}; in a container, start it with --ulimit nofile={enough}"
    );
    Check::degraded("open-files", found, &cost, &fix)
}

fn loopback(loopback: &Families<io::Result<()>>) -> [Check; 2] {
    let one = |name, address: &str, outcome: &io::Result<()>, fix: &str| match outcome {
        Ok(()) => Check::ok(name, format!("ports can be published on {address}")),
        Err(error) => {
            let cost = format!("no port can be published on {address}");
            Check::degraded(
                name,
                format!("nothing can listen on {address} and be reached: {error}"),
                &cost,
                fix,
            )
        }
    };
    let v4 = "run as root: ip link set lo up; run as root: ip addr add 127.0.0.1/8 dev lo";
    let v6 = "run as root: ip link set lo up; run as root: sysctl -w net.ipv6.conf.lo.disable_ipv6=0; without that setting: boot \
              without ipv6.disable=1";
    [
        one("loopback-ipv4", "127.0.0.1", &loopback.v4, v4),
        one("loopback-ipv6", "::1", &loopback.v6, v6),
    ]
}

/// Few services are on ports below 80, and who has opened those from there on knows why.
fn low_ports(first_free: u32, allowed: bool) -> Check {
    let name = "unprivileged-ports";
    if allowed {
        return Check::ok(name, "every host port can be published on");
    }
    let found = format!("host ports from {first_free} on can be published on");
    if first_free <= HTTP {
        return Check::ok(name, found);
    }
    let cost = format!("-p HOST_PORT:… below {first_free} is refused; guest ports are all free");
    let fix = "run as root: sysctl -w net.ipv4.ip_unprivileged_port_start=80; or publish on a \
               higher port, as in -p 8080:80";
    Check::degraded(name, found, &cost, fix)
}

fn routes(route: Families<bool>) -> [Check; 2] {
    let one = |name, family: &str, flag: &str, has: bool| {
        if has {
            return Check::ok(name, format!("there is a way out over {family}"));
        }
        let found = format!("no default route, or no address to go with it, over {family}");
        let cost =
            format!("the guest reaches nothing beyond the networks of this host over {family}");
        let fix = format!(
            "connect this machine to a network with {family}, then this has a line: ip {flag} \
             route show default"
        );
        Check::degraded(name, found, &cost, &fix)
    };
    [one("route-ipv4", "IPv4", "-4", route.v4), one("route-ipv6", "IPv6", "-6", route.v6)]
}

fn ping(access: &io::Result<PingKind>, groups: Option<&str>) -> Check {
    let groups = whose(groups.unwrap_or_default());
    let error = match access {
        Ok(PingKind::Datagram) => {
            return Check::ok("ping", format!("ping sockets, which are for {groups}"));
        }
        Ok(PingKind::Raw) => return Check::ok("ping", "raw sockets (CAP_NET_RAW)"),
        Err(error) => error,
    };
    let found = if error.kind() == io::ErrorKind::PermissionDenied {
        format!("ping sockets are for {groups}, and there is no CAP_NET_RAW for raw ones")
    } else {
        error.to_string()
    };
    let cost = "the guest's pings get no answer from beyond its gateway";
    let fix = "run as root: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"; to keep it so, \
               that line without `sysctl -w` in /etc/sysctl.d/50-ping.conf";
    Check::degraded("ping", found, cost, fix)
}

/// Whom `net.ipv4.ping_group_range` is for; `1 0` is how it is for nobody.
fn whose(range: &str) -> String {
    let numbers: Vec<u32> = range.split_whitespace().flat_map(str::parse).collect();
    match numbers[..] {
        [first, last] if first <= last => format!("groups {first} to {last}"),
        _ => "nobody".to_owned(),
    }
}

fn resolver(outcome: &io::Result<Vec<(SocketAddr, Answer)>>) -> Check {
    let cost = "the guest's lookups fail (SERVFAIL), unless --dns names a server that answers";
    let fix = "name one that answers: portreeve run --dns 1.1.1.1 -- CMD; or put it in \
               /etc/resolv.conf: nameserver 1.1.1.1";
    let servers = match outcome {
        Ok(servers) => servers,
        Err(error) => {
            let found = format!("/etc/resolv.conf: {error}");
            let readable = format!("run as root: chmod a+r /etc/resolv.conf; or {fix}");
            return Check::degraded("resolver", found, cost, &readable);
        }
    };
    if servers.is_empty() {
        return Check::degraded("resolver", "no server that can be asked", cost, fix);
    }
    let described: Vec<_> =
        servers.iter().map(|(server, answer)| describe(server, answer)).collect();
    let found = described.join(", ");
    if servers.iter().any(|(_, answer)| matches!(answer, Answer::Answered(_))) {
        Check::ok("resolver", found)
    } else {
        Check::degraded("resolver", found, cost, fix)
    }
}

fn describe(server: &SocketAddr, answer: &Answer) -> String {
    let server = server.ip();
    match answer {
        Answer::Answered(time) => format!("{server} answers in {} ms", time.as_millis().max(1)),
        Answer::ServerFailure => format!("{server} answers that it cannot find out (SERVFAIL)"),
        Answer::Nothing(why) => format!("{server}: {why}"),
    }
}

/// `6.1.0-rc1+` is 6.1.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The first with close_range(2), which the sandbox calls.
const OLDEST: (u32, u32) = (5, 9);
/// What the engine has open besides its connections: generous.
const OWN_FILES: u64 = 64;
const HTTP: u32 = 80;

#[cfg(test)]
mod tests;
