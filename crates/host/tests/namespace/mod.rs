//! Network namespaces for tests: made for one test, gone with their last descriptor.
//!
//! Owns making them, entering them and joining them by veth pairs; checks nothing.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

use rustix::thread::LinkNameSpaceType;

use crate::readiness::skip;

/// A network namespace with its loopback up.
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// Makes one; none where that is not allowed, which is said.
    pub(crate) fn new() -> Option<Self> {
        if Command::new("ip").arg("-V").output().is_err() {
            skip("the command ip is not there");
            return None;
        }
        let made = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        match made.join().unwrap() {
            Ok(file) => {
                let namespace = Self { file };
                namespace.ip("link set lo up");
                Some(namespace)
            }
            Err(error) => {
                skip(&format!("no right to make a network namespace ({error})"));
                None
            }
        }
    }

    /// Runs `work` on a thread inside. Sockets made there stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            match inside.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread inside.
    pub(crate) fn enter(&self) {
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(self.file.as_fd(), kind).unwrap();
    }

    /// Runs the command `ip` inside.
    pub(crate) fn ip(&self, arguments: &str) {
        let output = self.run(|| Command::new("ip").args(arguments.split(' ')).output().unwrap());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {arguments}: {said}");
    }

    /// Adds rules by the command `nft`; false where it is not there, which is said.
    pub(crate) fn nft(&self, rules: &str) -> bool {
        let Ok(output) = self.run(|| Command::new("nft").arg(rules).output()) else {
            skip("the command nft is not there");
            return false;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nft {rules}: {said}");
        true
    }

    /// Writes a setting below `/proc/sys/net`.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.run(|| fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }

    /// Joins it to another one by a veth pair and brings both ends up.
    pub(crate) fn join(&self, name: &str, other: &Self, other_name: &str) {
        let place = format!("/proc/{}/fd/{}", std::process::id(), other.file.as_raw_fd());
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {place}"));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {other_name} up"));
    }

    /// Adds an address, ready for use at once.
    pub(crate) fn address(&self, name: &str, address: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("address add {address} dev {name}{nodad}"));
    }
}

/// Two namespaces with a router between them. The near link has an MTU of 1500 bytes.
///
/// near 10.1.0.1, fd01::1 — router 10.1.0.2, fd01::2 and 10.2.0.1, fd02::1 — far 10.2.0.2,
/// fd02::2.
pub(crate) struct Chain {
    pub(crate) near: Namespace,
    pub(crate) router: Namespace,
    pub(crate) far: Namespace,
}

impl Chain {
    /// Builds it with this MTU of the far link.
    pub(crate) fn new(far_mtu: u32) -> Option<Self> {
        let (near, router, far) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        near.join("n0", &router, "r0");
        router.join("r1", &far, "f0");
        router.ip(&format!("link set r1 mtu {far_mtu}"));
        far.ip(&format!("link set f0 mtu {far_mtu}"));
        for (namespace, name, number) in [
            (&near, "n0", "1.0.1"),
            (&router, "r0", "1.0.2"),
            (&router, "r1", "2.0.1"),
            (&far, "f0", "2.0.2"),
        ] {
            let [link, host] = [&number[..1], &number[4..]];
            namespace.address(name, &format!("10.{number}/24"));
            namespace.address(name, &format!("fd0{link}::{host}/64"));
        }
        near.ip("route add default via 10.1.0.2");
        near.ip("-6 route add default via fd01::2");
        far.ip("route add default via 10.2.0.1");
        far.ip("-6 route add default via fd02::1");
        router.set("ipv4/ip_forward", "1");
        router.set("ipv6/conf/all/forwarding", "1");
        for namespace in [&near, &router, &far] {
            // Every test's errors are to be sent, however many there are. Not by a limit of zero,
            // which would use up the allowance that errors of routes are paid from.
            namespace.set("ipv4/icmp_ratemask", "0");
            namespace.set("ipv6/icmp/ratelimit", "0");
        }
        Some(Self { near, router, far })
    }
}
