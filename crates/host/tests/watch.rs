//! Changes of the host's network, in a namespace and a directory of the test's own.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod namespace;
mod readiness;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use namespace::Namespace;
use portreeve_host::{
    HostChange, HostWatch, has_default_route, interface_addresses, resolver_config,
};

const SOON: Duration = Duration::from_millis(200);
const NOTHING: HostChange = HostChange { addresses: false, resolver: false, woken: false };
const RESOLVER: HostChange = HostChange { addresses: false, resolver: true, woken: false };
const ADDRESSES: HostChange = HostChange { addresses: true, resolver: false, woken: false };

/// Waits for what has happened already.
fn seen(watch: &mut HostWatch) -> HostChange {
    let began = Instant::now();
    let change = watch.wait(Some(Duration::from_secs(10))).unwrap();
    assert!(began.elapsed() < SOON, "after {:?}", began.elapsed());
    change
}

fn nothing_more(watch: &mut HostWatch) {
    assert_eq!(watch.wait(Some(Duration::from_millis(30))).unwrap(), NOTHING);
}

/// Waits until the kernel has told all of what it tells in its own time, such as that a new
/// interface is up.
fn settle(watch: &mut HostWatch) {
    let until = Instant::now() + Duration::from_secs(10);
    while watch.wait(Some(Duration::from_millis(100))).unwrap() != NOTHING {
        assert!(Instant::now() < until, "it goes on changing");
    }
}

fn first_server(path: &Path) -> String {
    resolver_config(path).unwrap().servers[0].ip().to_string()
}

#[test]
fn addresses_and_routes_are_noticed() {
    let Some(host) = Namespace::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut watch = host.run(|| HostWatch::new(directory.path().join("resolv.conf"))).unwrap();
    settle(&mut watch);
    for (change, remove) in [
        ("address add 192.0.2.1/24 dev lo", "address del 192.0.2.1/24 dev lo"),
        ("address add 2001:db8::1/64 dev lo", "address del 2001:db8::1/64 dev lo"),
        ("route add 198.51.100.0/24 dev lo", "route del 198.51.100.0/24 dev lo"),
    ] {
        for command in [change, remove] {
            host.ip(command);
            assert_eq!(seen(&mut watch), ADDRESSES, "{command}");
            settle(&mut watch);
        }
    }
}

#[test]
fn all_addresses_are_listed() {
    let (Some(host), Some(other)) = (Namespace::new(), Namespace::new()) else { return };
    host.join("h0", &other, "o0");
    host.address("h0", "10.1.0.1/24");
    host.address("h0", "10.1.0.7/24");
    host.address("h0", "10.3.0.1 peer 10.3.0.2/32");
    host.address("h0", "fd01::1/64");
    host.address("h0", "fd03::1 peer fd03::2/128");
    let addresses = host.run(|| interface_addresses().unwrap());
    let has = |text: &str, prefix| {
        let address: IpAddr = text.parse().unwrap();
        addresses.contains(&(address, Some(prefix)))
    };
    for (address, prefix) in [
        ("127.0.0.1", 8),
        ("::1", 128),
        ("10.1.0.1", 24),
        ("10.1.0.7", 24),
        ("10.3.0.1", 32),
        ("fd01::1", 64),
        ("fd03::1", 128),
    ] {
        assert!(has(address, prefix), "{address} is not in {addresses:?}");
    }
    assert!(!has("10.3.0.2", 32) && !has("fd03::2", 128), "the other end is not this host's");
}

#[test]
fn a_default_route_is_one_that_leads_out() {
    let (Some(host), Some(other)) = (Namespace::new(), Namespace::new()) else { return };
    let has = |v6| host.run(|| has_default_route(v6).unwrap());
    assert!(!has(false) && !has(true));
    host.join("h0", &other, "o0");
    host.ip("-6 route add default dev h0");
    host.ip("route add default dev h0");
    assert!(!has(false) && !has(true), "there is no address to leave from");
    host.ip("-6 route del default dev h0");
    host.ip("route del default dev h0");
    host.address("h0", "10.1.0.1/24");
    host.address("h0", "fd01::1/64");
    assert!(!has(false) && !has(true));
    host.ip("route add default via 10.1.0.2");
    assert!(has(false) && !has(true));
    host.ip("-6 route add default via fd01::2 table 77");
    assert!(!has(true), "nothing leads into that table");
    host.ip("-6 rule add lookup 77");
    assert!(has(true));
    host.ip("route replace unreachable default");
    assert!(!has(false), "it is there and leads nowhere");
    host.ip("link set h0 down");
    assert!(!has(true));
}

#[test]
fn a_file_is_noticed_however_it_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    let mut watch = HostWatch::new(&path).unwrap();
    let config = |address: &str| format!("nameserver {address}\n");
    // It comes into being.
    fs::write(&path, config("192.0.2.1")).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    assert_eq!(first_server(&path), "192.0.2.1");
    // Written in place.
    fs::write(&path, config("192.0.2.2")).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    assert_eq!(first_server(&path), "192.0.2.2");
    // Renamed over.
    let fresh = directory.path().join("resolv.conf.new");
    fs::write(&fresh, config("192.0.2.3")).unwrap();
    nothing_more(&mut watch);
    fs::rename(&fresh, &path).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    assert_eq!(first_server(&path), "192.0.2.3");
    // Written through another name, as a file mounted into a container is.
    let elsewhere = tempfile::tempdir_in(directory.path()).unwrap();
    let other_name = elsewhere.path().join("other");
    fs::hard_link(&path, &other_name).unwrap();
    let _ = watch.wait(Some(Duration::from_millis(30))).unwrap();
    fs::write(&other_name, config("192.0.2.4")).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    assert_eq!(first_server(&path), "192.0.2.4");
    // Gone.
    fs::remove_file(&path).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    assert_eq!(first_server(&path), "127.0.0.1");
    nothing_more(&mut watch);
}

#[test]
fn a_symbolic_link_is_followed_and_watched() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let path = at("etc/resolv.conf");
    let mut watch = HostWatch::new(&path).unwrap();
    fs::create_dir(at("etc")).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER, "the directory is new");
    // To where nothing is yet, relative and through a directory that is a link itself.
    fs::create_dir(at("real")).unwrap();
    symlink("real", at("run")).unwrap();
    symlink("../run/resolve/stub.conf", &path).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    fs::create_dir(at("run/resolve")).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    fs::write(at("real/resolve/stub.conf"), "nameserver 192.0.2.1").unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    assert_eq!(first_server(&path), "192.0.2.1");
    // The target is renamed over.
    fs::write(at("real/resolve/new"), "nameserver 192.0.2.2").unwrap();
    nothing_more(&mut watch);
    fs::rename(at("real/resolve/new"), at("real/resolve/stub.conf")).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    // The link is retargeted.
    fs::write(at("static.conf"), "nameserver 192.0.2.3").unwrap();
    symlink(at("static.conf"), at("etc/new")).unwrap();
    nothing_more(&mut watch);
    fs::rename(at("etc/new"), &path).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    assert_eq!(first_server(&path), "192.0.2.3");
    fs::write(at("static.conf"), "nameserver 192.0.2.4").unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
    fs::write(at("real/resolve/stub.conf"), "nameserver 192.0.2.5").unwrap();
    nothing_more(&mut watch);
    // A loop has an end.
    fs::remove_file(&path).unwrap();
    symlink("resolv.conf", &path).unwrap();
    assert_eq!(seen(&mut watch), RESOLVER);
}

#[test]
fn a_burst_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    let mut watch = HostWatch::new(&path).unwrap();
    for number in 0..20 {
        fs::write(&path, format!("nameserver 192.0.2.{number}")).unwrap();
    }
    assert_eq!(seen(&mut watch), RESOLVER);
    nothing_more(&mut watch);
}

#[test]
fn a_wait_is_ended_from_another_thread() {
    let directory = tempfile::tempdir().unwrap();
    let mut watch = HostWatch::new(directory.path().join("resolv.conf")).unwrap();
    let waker = watch.waker();
    let waiting = std::thread::spawn(move || {
        let change = watch.wait(None).unwrap();
        nothing_more(&mut watch);
        change
    });
    waker.wake();
    assert_eq!(waiting.join().unwrap(), HostChange { woken: true, ..NOTHING });
}
