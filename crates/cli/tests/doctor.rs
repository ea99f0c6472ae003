//! `portreeve doctor` as it is run: what it says agrees with what `portreeve run` does, here and on
//! machines that lack something.

mod machine;

use std::process::Command;

use machine::{
    CLOSED_TUN, OPEN_TUN, Outcome, finish, namespace_obstacle, on_machine, ordinary,
    ordinary_user_namespaces, skip, succeeds,
};
use serde_json::Value;

/// This machine, but for its name server.
const UNCHANGED: &str = "true";

const NAMES: [&str; 15] = [
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
    "resolver",
];

#[test]
fn what_it_says_of_this_machine_is_what_run_does() {
    let here = |arguments: &str| on_machine(UNCHANGED, &format!("/mnt/portreeve {arguments}"));
    let Some(doctor) = here("doctor --json") else { return };
    let Some(run) = here("run -- true") else { return };
    let (diagnosis, run) = (read(&finish(doctor)), finish(run));
    assert_eq!(diagnosis["works"], run.code == Some(0), "{diagnosis:#}\n{run}");
    // Whatever else there is, this much every test machine with namespaces has.
    if let Some(obstacle) = namespace_obstacle() {
        return skip(&obstacle);
    }
    assert_eq!(check(&diagnosis, "guest")["status"], "ok", "{diagnosis:#}");
    assert_eq!(check(&diagnosis, "tun")["status"], "ok", "{diagnosis:#}");
}

#[test]
fn the_table_shows_every_check_and_no_colours_where_there_is_no_terminal() {
    let Some(doctor) = on_machine(UNCHANGED, "/mnt/portreeve doctor") else { return };
    let outcome = finish(doctor);
    assert!(!outcome.out.contains('\x1b'), "{outcome}");
    let begins = |line: &str, name: &str| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("ok" | "degraded" | "missing")) && words.next() == Some(name)
    };
    for name in NAMES {
        assert_eq!(outcome.out.lines().filter(|line| begins(line, name)).count(), 1, "{outcome}");
    }
    let last = if outcome.code == Some(0) { "works here" } else { "does not work here" };
    assert!(outcome.out.lines().last().unwrap_or_default().contains(last), "{outcome}");
}

#[test]
fn an_ordinary_user_needs_no_more_than_the_tun_device() {
    let Some(doctor) = on_machine(OPEN_TUN, &ordinary("doctor --json")) else { return };
    let Some(run) = on_machine(OPEN_TUN, &ordinary("run -- true")) else { return };
    if !ordinary_user_namespaces() {
        return skip("an ordinary user may make no user namespaces");
    }
    let (diagnosis, run) = (read(&finish(doctor)), finish(run));
    assert_eq!(diagnosis["works"], run.code == Some(0), "{diagnosis:#}\n{run}");
    assert_eq!(diagnosis["works"], true, "{diagnosis:#}");
    assert_eq!(check(&diagnosis, "user-namespaces")["found"], "works");
}

#[test]
fn without_the_tun_device_it_says_so_and_run_does_not_work() {
    let Some(doctor) = on_machine(CLOSED_TUN, &ordinary("doctor --json")) else { return };
    let Some(run) = on_machine(CLOSED_TUN, &ordinary("run -- true")) else { return };
    let (diagnosis, run) = (read(&finish(doctor)), finish(run));
    assert_eq!((&diagnosis["works"], run.code), (&Value::Bool(false), Some(125)), "{run}");
    let tun = check(&diagnosis, "tun");
    assert_eq!(tun["status"], "missing");
    assert!(text(&tun["found"]).contains("its permissions (0600)"), "{tun}");
    assert!(text(&tun["fix"]).contains("chmod 0666 /dev/net/tun"), "{tun}");
    let guest = check(&diagnosis, "guest");
    assert_eq!(guest["status"], "missing");
    assert!(text(&guest["found"]).contains("for want of"), "{guest}");
}

#[test]
fn a_file_where_the_device_should_be_is_no_device() {
    let file = "touch /mnt/file; chmod 0666 /mnt/file; mount --bind /mnt/file /dev/net/tun";
    let Some(doctor) = on_machine(file, "/mnt/portreeve doctor --json") else { return };
    let Some(run) = on_machine(file, "/mnt/portreeve run -- true") else { return };
    let (diagnosis, run) = (read(&finish(doctor)), finish(run));
    assert_eq!((&diagnosis["works"], run.code), (&Value::Bool(false), Some(125)), "{run}");
    assert_eq!(check(&diagnosis, "guest")["status"], "missing", "{diagnosis:#}");
}

#[test]
fn without_a_network_run_works_and_what_is_less_is_named() {
    // Not even a loopback interface that is up.
    let no_network = "echo 'nameserver 127.0.0.53' > /mnt/resolv
        mount --bind /mnt/resolv /etc/resolv.conf";
    let on_it = |run: &str| on_machine(no_network, &format!("unshare -n /mnt/portreeve {run}"));
    let Some(doctor) = on_it("doctor --json") else { return };
    let Some(run) = on_it("run -- true") else { return };
    let (diagnosis, run) = (read(&finish(doctor)), finish(run));
    assert_eq!(diagnosis["works"], run.code == Some(0), "{diagnosis:#}\n{run}");
    for name in ["loopback-ipv4", "loopback-ipv6", "route-ipv4", "route-ipv6", "resolver"] {
        assert_eq!(check(&diagnosis, name)["status"], "degraded", "{name}: {diagnosis:#}");
    }
    let resolver = check(&diagnosis, "resolver");
    assert!(text(&resolver["found"]).contains("127.0.0.53"), "{resolver}");
    assert!(text(&resolver["fix"]).contains("--dns 1.1.1.1"), "{resolver}");
}

#[test]
fn user_namespaces_that_are_switched_off_are_named() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces &&
        exec setpriv --bounding-set -all --inh-caps -all \"$0\" doctor";
    if !succeeds(Command::new("unshare").args(["-Ur", "setpriv", "--bounding-set", "-all", "true"]))
    {
        return skip("unshare -U or setpriv do not work here");
    }
    let mut command = Command::new("unshare");
    // Without a network, for nobody out there is to be asked.
    command.args(["-Urn", "sh", "-c", script, env!("CARGO_BIN_EXE_portreeve")]);
    let outcome = finish(command);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.out.contains("missing   user-namespaces    they are switched off"));
    assert!(outcome.out.contains("sysctl -w user.max_user_namespaces=10000"), "{outcome}");
}

/// The JSON, checked for what docs/manual/doctor.md says of it.
fn read(outcome: &Outcome) -> Value {
    assert_eq!(outcome.err, "", "{outcome}");
    let diagnosis: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(diagnosis["version"], env!("CARGO_PKG_VERSION"));
    let checks = diagnosis["checks"].as_array().expect("an array");
    let names: Vec<_> = checks.iter().map(|check| text(&check["name"])).collect();
    assert_eq!(names, NAMES);
    for check in checks {
        assert!(!text(&check["found"]).is_empty(), "{check}");
        match text(&check["status"]) {
            "ok" => assert!(check["cost"].is_null() && check["fix"].is_null(), "{check}"),
            "degraded" => assert!(check["cost"].is_string() && check["fix"].is_string(), "{check}"),
            "missing" => assert!(check["cost"].is_string(), "{check}"),
            other => panic!("{other}: {check}"),
        }
    }
    let works = checks.iter().all(|check| check["status"] != "missing");
    assert_eq!(diagnosis["works"], works, "{diagnosis:#}");
    assert_eq!(outcome.code, Some(i32::from(!works)), "{outcome}");
    diagnosis
}

fn check<'a>(diagnosis: &'a Value, name: &str) -> &'a Value {
    let checks = diagnosis["checks"].as_array().expect("an array");
    checks.iter().find(|check| check["name"] == name).expect("a check of that name")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}
