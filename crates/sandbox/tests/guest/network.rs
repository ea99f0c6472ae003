//! What a guest finds of its network: devices, addresses, routes, neighbours, name servers.

use std::fs;

use crate::Case;
use crate::machine::{self, User};

pub(crate) const CASES: &[Case] = &[
    ("network_is_as_configured", network_is_as_configured),
    ("the_gateway_reaches_the_guest_at_once", the_gateway_reaches_the_guest_at_once),
    ("without_ipv6_there_is_none", without_ipv6_there_is_none),
    ("anybody_can_listen_on_port_80", anybody_can_listen_on_port_80),
    ("the_resolver_file_is_the_guest_s_own", the_resolver_file_is_the_guest_s_own),
    ("the_resolver_file_may_be_a_link_to_a_daemon_s", the_resolver_file_may_be_a_link),
    ("a_missing_resolver_file_is_a_warning", a_missing_resolver_file_is_a_warning),
    ("a_machine_like_a_container_is_good_enough", a_machine_like_a_container_is_good_enough),
    ("without_a_resolver_the_host_s_file_stays", without_a_resolver_the_host_s_file_stays),
];

fn network_is_as_configured() {
    for user in User::available() {
        let outcome = user.inspect(&[], "network");
        assert_eq!(outcome.code, Some(0), "{user:?}: {outcome:?}");
        let mut lines: Vec<&str> = outcome.out.lines().collect();
        lines.sort_unstable();
        let has =
            |line: &str| assert!(lines.contains(&line), "{user:?}: no {line:?} in {lines:#?}");
        has("link lo up mtu 65536 queue 1000 mac 00:00:00:00:00:00");
        has("link eth0 up mtu 1500 queue 10000 mac 02:50:52:00:00:02");
        has("default via 10.213.77.1");
        has("default via fe80::1");
        has("neighbour 10.213.77.1 02:50:52:00:00:01 Permanent");
        has("neighbour fe80::1 02:50:52:00:00:01 Permanent");
        let starts = |prefix: &str| lines.iter().filter(|line| line.starts_with(prefix)).count();
        assert_eq!(starts("neighbour fd"), 1, "the gateway's other address: {lines:#?}");
        let addresses: Vec<_> = lines.iter().filter(|line| line.starts_with("address")).collect();
        let of = |text: &str| addresses.iter().filter(|line| line.contains(text)).count();
        assert_eq!(of(" 127.0.0.1/8 "), 1);
        assert_eq!(of(" ::1/128 "), 1);
        assert_eq!(of(" 10.213.77.2/24 "), 1);
        assert_eq!(of("::2/64 "), 1);
        assert_eq!(of(" fe80::50:52ff:fe00:2/64 "), 1);
        // Nothing tentative: the first connection need not wait for duplicate detection.
        assert_eq!(of("Tentative"), 0, "{addresses:#?}");
        assert_eq!(addresses.len(), 5, "and no others: {addresses:#?}");
        assert!(outcome.err.lines().all(|line| !line.starts_with("warning")), "{}", outcome.err);
    }
}

/// Before the guest has ever sent a frame, and while its kernel may still have something to say
/// though its command has ended.
fn the_gateway_reaches_the_guest_at_once() {
    for user in User::available() {
        let outcome = user.run(&["--no-ipv6", "--ping", "--", "true"]);
        assert_eq!(outcome.code, Some(0), "{user:?}: {outcome:?}");
        assert_eq!(outcome.out, "before true\nafter true\n", "{user:?}: {outcome:?}");
    }
}

fn without_ipv6_there_is_none() {
    for user in User::available() {
        let outcome = user.inspect(&["--no-ipv6"], "network");
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.out.contains("10.213.77.2/24"), "{}", outcome.out);
        assert!(!outcome.out.contains("fe80") && !outcome.out.contains("fd"), "{}", outcome.out);
        assert!(outcome.out.contains(" ::1/128 "), "loopback keeps it: {}", outcome.out);
    }
}

fn anybody_can_listen_on_port_80() {
    for user in User::available() {
        let outcome = user.inspect(&[], "port-80");
        assert_eq!(outcome.out, "ipv4 true ipv6 true\n", "{user:?}: {outcome:?}");
    }
}

fn the_resolver_file_is_the_guest_s_own() {
    let before = fs::read("/etc/resolv.conf").ok();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc");
    for user in User::available() {
        let options = ["--nameserver=10.9.8.7", "--nameserver=fd00::53"];
        let mut arguments = options.to_vec();
        // The rest of /etc must still be there, and the file must look as any other.
        arguments.extend(["--", "sh", "-c", "cat /etc/resolv.conf && test -e /etc/passwd"]);
        let outcome = user.run(&arguments);
        assert_eq!(outcome.code, Some(0), "{user:?}: {outcome:?}");
        let servers: Vec<_> =
            outcome.out.lines().filter(|line| line.starts_with("nameserver")).collect();
        assert_eq!(servers, ["nameserver 10.9.8.7", "nameserver fd00::53"], "{user:?}");
    }
    assert_eq!(fs::read("/etc/resolv.conf").ok(), before, "outside nothing has changed");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").expect("/proc"), mounts);
}

fn without_a_resolver_the_host_s_file_stays() {
    let Ok(ours) = fs::read_to_string("/etc/resolv.conf") else {
        return machine::skip("there is no /etc/resolv.conf");
    };
    for user in User::available() {
        let outcome = user.run(&["--", "cat", "/etc/resolv.conf"]);
        assert_eq!(outcome.out, ours, "{user:?}");
    }
}

/// As with systemd-resolved, and with nscd beside it.
fn the_resolver_file_may_be_a_link() {
    if !machine::am_root() {
        return machine::skip("building another /etc needs root");
    }
    let change = "mount -t tmpfs -o mode=0755 none /run
        mkdir -p /run/nscd /run/systemd/resolve /mnt/etc
        echo host >/run/nscd/socket
        echo host >/run/systemd/resolve/io.systemd.Resolve
        echo host >/run/systemd/resolve/stub-resolv.conf
        ln -s ../run/systemd/resolve/stub-resolv.conf /mnt/etc/resolv.conf
        mount --bind /mnt/etc /etc";
    for user in User::available() {
        let look =
            "cat /etc/resolv.conf; test -L /etc/resolv.conf; ls /run/nscd /run/systemd/resolve";
        let outcome = user.run_after(change, &["--nameserver=10.9.8.7", "--", "sh", "-ec", look]);
        assert_eq!(outcome.code, Some(0), "{user:?}: {outcome:?}");
        assert!(outcome.out.contains("nameserver 10.9.8.7\n"), "{user:?}: {outcome:?}");
        assert!(!outcome.out.contains("host"), "{user:?}: {outcome:?}");
        // The daemons' sockets are out of reach.
        assert!(!outcome.out.contains("socket"), "{user:?}: {outcome:?}");
        assert!(!outcome.out.contains("io.systemd"), "{user:?}: {outcome:?}");
    }
}

fn a_missing_resolver_file_is_a_warning() {
    if !machine::am_root() {
        return machine::skip("building another /etc needs root");
    }
    let change = "mkdir /mnt/etc; mount --bind /mnt/etc /etc";
    for user in User::available() {
        let outcome = user.run_after(change, &["--nameserver=10.9.8.7", "--", "true"]);
        assert_eq!(outcome.code, Some(0), "{user:?}: {outcome:?}");
        assert!(outcome.err.contains("no /etc/resolv.conf"), "{user:?}: {outcome:?}");
    }
}

/// Parts of /proc are covered and /proc/sys is read-only: then the kernel refuses an ordinary
/// user a /proc of their own.
fn a_machine_like_a_container_is_good_enough() {
    if !machine::am_root() {
        return machine::skip("covering parts of /proc needs root");
    }
    let change = "mount --bind /dev/null /proc/version
        mount --bind /proc/sys /proc/sys
        mount -o remount,ro,bind /proc/sys";
    for user in User::available() {
        let arguments = ["--nameserver=10.9.8.7", "--", "/mnt/guest", "--inspect", "network"];
        let outcome = user.run_after(change, &arguments);
        assert_eq!(outcome.code, Some(0), "{user:?}: {outcome:?}");
        for fact in ["10.213.77.2/24", "fe80::50:52ff:fe00:2/64", "default via fe80::1"] {
            assert!(outcome.out.contains(fact), "{user:?}: no {fact} in {outcome:?}");
        }
        assert!(!outcome.out.contains("Tentative"), "{user:?}: {outcome:?}");
        let warned = outcome.err.contains("process ids in /proc");
        assert_eq!(warned, user == User::Ordinary, "{user:?}: {outcome:?}");
        let outcome =
            user.run_after(change, &["--nameserver=10.9.8.7", "--", "cat", "/etc/resolv.conf"]);
        assert!(outcome.out.contains("10.9.8.7"), "{user:?}: {outcome:?}");
    }
}
