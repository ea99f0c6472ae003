//! `portreeve demo` as it is run: with a guest in namespaces and with the one in this process, as
//! root and as an ordinary user, on machines that lack something, and with a check that fails.

mod machine;

use std::process::Command;

use machine::{
    CLOSED_TUN, OPEN_TUN, Outcome, finish, namespace_obstacle, on_machine, ordinary,
    ordinary_user_namespaces, skip, succeeds,
};

/// The command with these arguments, on this machine as it is.
fn portreeve(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(arguments);
    command
}

#[test]
fn in_process_every_row_is_ok() {
    let outcome = finish(portreeve(&["demo", "--quick", "--in-process"]));
    assert_complete(&outcome);
    assert!(outcome.out.contains("a TCP/IP stack in this process"), "{outcome}");
}

#[test]
fn in_a_namespace_every_row_is_ok() {
    if let Some(obstacle) = namespace_obstacle() {
        return skip(&obstacle);
    }
    let outcome = finish(portreeve(&["demo", "--quick"]));
    assert_complete(&outcome);
    assert!(outcome.out.contains("a network namespace of its own"), "{outcome}");
}

#[test]
fn an_ordinary_user_needs_no_more_than_the_tun_device() {
    let Some(command) = on_machine(OPEN_TUN, &ordinary("demo --quick")) else { return };
    if let Some(obstacle) = namespace_obstacle() {
        return skip(&obstacle);
    }
    if !ordinary_user_namespaces() {
        return skip("an ordinary user may make no user namespaces");
    }
    let outcome = finish(command);
    assert_complete(&outcome);
    assert!(outcome.out.contains("a network namespace of its own"), "{outcome}");
}

#[test]
fn without_the_tun_device_the_remedy_is_named() {
    let Some(command) = on_machine(CLOSED_TUN, &ordinary("demo --quick")) else { return };
    let outcome = finish(command);
    assert_explained(
        &outcome,
        &["/dev/net/tun: its permissions (0600)", "chmod 0666 /dev/net/tun"],
    );
}

#[test]
fn ubuntu_s_restriction_is_named_and_how_to_lift_it() {
    // Nobody makes a user namespace inside a changed root directory (EPERM, as AppArmor's), and
    // this machine says that the restriction is on.
    let restricted = "mkdir /mnt/root
        mount -t tmpfs -o mode=0755 none /proc/sys/kernel
        echo 1 > /proc/sys/kernel/apparmor_restrict_unprivileged_userns
        mount --rbind / /mnt/root";
    let run = "chroot --userspec=61000:61000 --groups= /mnt/root /mnt/portreeve demo --quick";
    let Some(command) = on_machine(&format!("{OPEN_TUN}; {restricted}"), run) else { return };
    let outcome = finish(command);
    assert_explained(
        &outcome,
        &[
            "user namespace: AppArmor forbids them",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ],
    );
    assert_eq!(outcome.out.matches("AppArmor forbids").count(), 1, "said once: {outcome}");
}

#[test]
fn user_namespaces_that_are_switched_off_are_named() {
    // The limit belongs to the user namespace it is set in: nobody else notices.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces &&
        exec setpriv --bounding-set -all --inh-caps -all \"$0\" demo --quick";
    if !succeeds(Command::new("unshare").args(["-Ur", "setpriv", "--bounding-set", "-all", "true"]))
    {
        return skip("unshare -U or setpriv do not work here");
    }
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", script, env!("CARGO_BIN_EXE_portreeve")]);
    let outcome = finish(command);
    assert_explained(
        &outcome,
        &["user namespace: they are switched off", "sysctl -w user.max_user_namespaces=10000"],
    );
}

#[test]
fn a_check_that_fails_is_told_and_is_the_exit_code() {
    // Enough for the engine and a few connections, too few for twenty clients.
    let mut command = Command::new("sh");
    let script = "ulimit -n 36 && exec \"$0\" demo --quick --in-process";
    command.args(["-c", script, env!("CARGO_BIN_EXE_portreeve")]);
    let outcome = finish(command);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let failed: Vec<_> = outcome.out.lines().filter(|line| line.starts_with("FAILED")).collect();
    assert_eq!(failed.len(), families(), "{outcome}");
    for row in failed {
        assert!(row.contains("20 clients at once"), "{outcome}");
        assert!(row.len() > "FAILED 20 clients at once    IPv4  ".len(), "no reason: {outcome}");
    }
    assert_eq!(ok_rows(&outcome), 6 * families(), "{outcome}");
}

#[test]
fn help_says_what_it_does() {
    let outcome = finish(portreeve(&["demo", "--help"]));
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.out.contains("--in-process"), "{outcome}");
    let all = finish(portreeve(&["--help"]));
    assert!(all.out.contains("demo"), "{all}");
    assert!(!all.out.contains("__demo-guest"), "{all}");
}

/// Without namespaces the reason and the remedy are told, and the table is the same.
fn assert_explained(outcome: &Outcome, words: &[&str]) {
    assert_complete(outcome);
    for words in words.iter().chain(&["gives a guest no network namespace", "in this process"]) {
        assert!(outcome.out.contains(words), "{words:?}: {outcome}");
    }
    assert!(!outcome.out.contains("portreeve run"), "it would not work: {outcome}");
}

/// Seven kinds of check, over each family, all ok, and nothing else to see; four more where the
/// guest has programs that can call.
fn assert_complete(outcome: &Outcome) {
    let calls = outcome.out.contains("a network namespace of its own");
    let kinds = if calls { 11 } else { 7 };
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.err, "", "{outcome}");
    assert!(!outcome.out.contains("FAILED"), "{outcome}");
    assert_eq!(ok_rows(outcome), kinds * families(), "{outcome}");
    let called = [
        ("Guest calls and sends", "Gbit/s"),
        ("Guest calls and gets", "Gbit/s"),
        ("Guest asks for a name", "answers/s"),
        ("Host port not opened", "connection refused"),
    ];
    let published = [
        ("TCP into the guest", "Gbit/s"),
        ("TCP out of the guest", "Gbit/s"),
        ("500 UDP datagrams", "datagrams/s"),
        ("Port nobody serves", "connection re"),
        ("Half-close", "Gbit/s"),
        ("Full-duplex echo", "Gbit/s"),
        ("20 clients at once", "clients/s"),
    ];
    for (title, unit) in published.into_iter().chain(called.into_iter().filter(|_| calls)) {
        let rows = outcome.out.lines().filter(|row| row.contains(title) && row.contains(unit));
        assert_eq!(rows.count(), families(), "{title}: {outcome}");
    }
    assert!(
        outcome.out.contains(&format!("All {} checks passed", kinds * families())),
        "{outcome}"
    );
    assert!(!outcome.out.contains('\x1b'), "no colours where there is no terminal: {outcome}");
}

fn ok_rows(outcome: &Outcome) -> usize {
    outcome.out.lines().filter(|line| line.starts_with("ok ")).count()
}

/// How many IP versions this machine's loopback has.
fn families() -> usize {
    let addresses = ["127.0.0.1:0", "[::1]:0"];
    addresses.iter().filter(|address| std::net::TcpListener::bind(address).is_ok()).count()
}
