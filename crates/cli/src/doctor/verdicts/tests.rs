//! Every verdict, on machines that are made up.

use std::time::Duration;

use portreeve::Capabilities;

use super::super::{Diagnosis, Status};
use super::*;

fn refused() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

/// A machine that lacks nothing.
fn perfect() -> Machine {
    let need = |name| Need { name, ok: true, why: "works".to_owned(), fix: None };
    let tap = Capabilities { checksum_offload: true, tso4: true, tso6: true, uso: true, mtu: 1500 };
    let answered = Answer::Answered(Duration::from_millis(12));
    Machine {
        kernel: "6.8.0-31-generic".to_owned(),
        needs: vec![need("user-namespaces"), need("namespaces"), need("tun")],
        guest: Some(Ok(Guest { tap, warnings: Vec::new(), large_mtu: true })),
        open_files: (1024, 1 << 20),
        loopback: Families { v4: Ok(()), v6: Ok(()) },
        route: Families { v4: true, v6: true },
        ping: Ok(PingKind::Datagram),
        ping_groups: Some("0\t2147483647".to_owned()),
        resolver: Ok(vec![("127.0.0.53:53".parse().unwrap(), answered)]),
        first_free_port: 1024,
        low_ports: true,
    }
}

/// Makes a guest of the perfect machine into another one.
fn guest(machine: &mut Machine) -> &mut Guest {
    machine.guest.as_mut().unwrap().as_mut().unwrap()
}

/// What these findings of one check alone make of it: all others stay as they are.
#[track_caller]
fn assert_degraded(name: &str, change: impl FnOnce(&mut Machine)) -> Check {
    let mut machine = perfect();
    change(&mut machine);
    let diagnosis = Diagnosis::of(all(&machine));
    assert!(diagnosis.works);
    let mut worse = diagnosis.checks.into_iter().filter(|check| check.status != Status::Ok);
    let check = worse.next().expect("one check is worse");
    assert_eq!((check.name, check.status, worse.next()), (name, Status::Degraded, None));
    assert!(check.cost.is_some() && check.fix.is_some(), "{check:?}");
    check
}

#[test]
fn a_machine_that_lacks_nothing_is_ok_in_every_check() {
    let checks = all(&perfect());
    let names: Vec<_> = checks.iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "kernel",
            "user-namespaces",
            "namespaces",
            "tun",
            "guest",
            "offloads",
            "mtu",
            "open-files",
            "loopback-ipv4",
            "loopback-ipv6",
            "unprivileged-ports",
            "route-ipv4",
            "route-ipv6",
            "ping",
            "resolver"
        ]
    );
    for check in &checks {
        assert_eq!(check.status, Status::Ok, "{check:?}");
        assert!(!check.found.is_empty() && check.cost.is_none() && check.fix.is_none());
    }
    assert!(Diagnosis::of(checks).works);
}

#[test]
fn every_name_is_in_the_manual() {
    let manual = include_str!("../../../../../docs/manual/doctor.md");
    for check in all(&perfect()) {
        assert!(manual.contains(&format!("| `{}` |", check.name)), "{}", check.name);
    }
}

#[test]
fn a_need_that_is_missing_keeps_the_guest_from_being_tried() {
    for at in 0..3 {
        let mut machine = perfect();
        let need = &mut machine.needs[at];
        need.ok = false;
        need.why = "no".to_owned();
        need.fix = Some("run as root: modprobe tun".to_owned());
        let name = need.name;
        machine.guest = None;
        let diagnosis = Diagnosis::of(all(&machine));
        assert!(!diagnosis.works);
        let missing: Vec<_> =
            diagnosis.checks.iter().filter(|check| check.status == Status::Missing).collect();
        let [need, guest] = missing[..] else { panic!("{missing:?}") };
        assert_eq!((need.name, guest.name), (name, "guest"));
        assert_eq!(need.fix.as_deref(), Some("run as root: modprobe tun"));
        assert!(guest.found.contains(name), "{guest:?}");
        let unknown = diagnosis.checks.iter().filter(|check| check.found.contains("not known"));
        assert_eq!(unknown.map(|check| check.name).collect::<Vec<_>>(), ["offloads", "mtu"]);
    }
}

#[test]
fn a_guest_that_cannot_be_made_is_missing_for_its_own_reason() {
    let mut machine = perfect();
    let fix = Some("look at `ulimit -u`".to_owned());
    machine.guest = Some(Err(Obstacle { what: "starting init failed".to_owned(), fix }));
    let diagnosis = Diagnosis::of(all(&machine));
    assert!(!diagnosis.works);
    let guest = diagnosis.checks.iter().find(|check| check.name == "guest").unwrap();
    assert_eq!(guest.status, Status::Missing);
    assert_eq!(guest.found, "starting init failed");
    assert_eq!(guest.fix.as_deref(), Some("look at `ulimit -u`"));
}

#[test]
fn a_guest_with_less_is_degraded() {
    let check =
        assert_degraded("guest", |machine| guest(machine).warnings.push("no /proc".to_owned()));
    assert!(check.found.contains("no /proc"), "{check:?}");
    assert_degraded("mtu", |machine| guest(machine).large_mtu = false);
}

#[test]
fn offloads_that_the_kernel_lacks_are_named() {
    let check = assert_degraded("offloads", |machine| {
        machine.kernel = "5.15.0".to_owned();
        guest(machine).tap.uso = false;
    });
    assert_eq!(check.found, "checksum, TSO4, TSO6; no USO");
    assert!(check.fix.unwrap().contains("6.2 or newer (this is 5.15.0)"));
    let check = assert_degraded("offloads", |machine| {
        let tap = &mut guest(machine).tap;
        (tap.checksum_offload, tap.tso4, tap.tso6, tap.uso) = (false, false, false, false);
    });
    assert_eq!(check.found, "none");
}

#[test]
fn kernels_are_compared_by_number() {
    assert_eq!(version("6.12.3-rc1+"), Some((6, 12)));
    assert_eq!(version("unknown"), None);
    for (release, old) in [("5.8.18", true), ("5.10.0", false), ("4.19", true), ("5.9", false)] {
        assert_eq!(kernel(release).status == Status::Degraded, old, "{release}");
    }
    assert_eq!(kernel("").status, Status::Ok, "not known is not too old");
}

#[test]
fn open_files_are_counted_in_connections() {
    let check = assert_degraded("open-files", |machine| machine.open_files = (256, 4096));
    assert_eq!(check.found, "soft 256, hard 4096: 4032 connections of a guest at once");
    assert!(check.fix.unwrap().contains("--nofile=:32832"));
    assert_degraded("open-files", |machine| machine.open_files = (16, 16));
    let check = open_files((1024, u64::MAX));
    assert_eq!(check.status, Status::Ok);
    assert!(check.found.contains("hard unlimited: 32768 connections"), "{check:?}");
    assert_eq!(open_files((1024, 32_832)).status, Status::Ok);
}

#[test]
fn a_loopback_without_one_family_is_told() {
    let check = assert_degraded("loopback-ipv6", |machine| {
        machine.loopback.v6 = Err(io::ErrorKind::AddrNotAvailable.into());
    });
    assert!(check.fix.unwrap().contains("sysctl -w net.ipv6.conf.lo.disable_ipv6=0"));
    assert_degraded("loopback-ipv4", |machine| machine.loopback.v4 = Err(refused()));
}

#[test]
fn host_ports_that_are_not_for_everybody() {
    let check = assert_degraded("unprivileged-ports", |machine| machine.low_ports = false);
    assert!(check.found.contains("1024"), "{check:?}");
    assert!(check.fix.unwrap().contains("ip_unprivileged_port_start=80"));
    assert_eq!(low_ports(80, false).status, Status::Ok);
    assert_eq!(low_ports(81, false).status, Status::Degraded);
    assert_eq!(low_ports(0, true).status, Status::Ok);
}

#[test]
fn no_way_out_over_one_family_is_degraded() {
    let check = assert_degraded("route-ipv6", |machine| machine.route.v6 = false);
    assert!(check.fix.unwrap().contains("ip -6 route show default"));
    assert_degraded("route-ipv4", |machine| machine.route.v4 = false);
}

#[test]
fn pings_that_are_not_allowed_come_with_the_setting() {
    let check = assert_degraded("ping", |machine| {
        machine.ping = Err(refused());
        machine.ping_groups = Some("1\t0".to_owned());
    });
    assert!(check.found.starts_with("ping sockets are for nobody"), "{check:?}");
    assert!(check.fix.unwrap().contains("sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""));
    let check = ping(&Err(refused()), Some("100\t200"));
    assert!(check.found.starts_with("ping sockets are for groups 100 to 200,"), "{check:?}");
    assert_eq!(ping(&Ok(PingKind::Raw), None).status, Status::Ok);
    let check = ping(&Err(io::ErrorKind::Unsupported.into()), None);
    assert!(check.found.contains("unsupported"), "{check:?}");
}

#[test]
fn a_resolver_is_ok_as_soon_as_one_server_answers() {
    let server = |address: &str, answer| (address.parse().unwrap(), answer);
    let silent = Answer::Nothing("no answer within 1 s".to_owned());
    let answered = Answer::Answered(Duration::from_micros(120));
    let check = resolver(&Ok(vec![
        server("192.0.2.1:53", silent.clone()),
        server("[2001:db8::1]:53", answered),
    ]));
    assert_eq!(check.status, Status::Ok);
    assert_eq!(check.found, "192.0.2.1: no answer within 1 s, 2001:db8::1 answers in 1 ms");
    assert_degraded("resolver", |machine| {
        machine.resolver = Ok(vec![
            server("192.0.2.1:53", silent),
            server("127.0.0.53:53", Answer::ServerFailure),
        ]);
    });
    assert_degraded("resolver", |machine| machine.resolver = Ok(Vec::new()));
    let check = assert_degraded("resolver", |machine| machine.resolver = Err(refused()));
    assert!(check.fix.unwrap().contains("chmod a+r /etc/resolv.conf"));
}
