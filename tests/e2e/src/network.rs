//! A network namespace for each test, and another one for clients from elsewhere.
//!
//! ```text
//!   client's namespace                 the test's namespace (the engine's host)
//!   198.18.0.2/24      ── veth ──      198.18.0.1/24, 198.18.0.11/24
//!   fd77:7072::2/64                    fd77:7072::1/64, fd77:7072::11/64
//! ```
//!
//! Never touches the machine's own network. Addresses are from the block for benchmarks
//! (RFC 2544 §C.2.2) and from the unique local ones (RFC 4193).

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::panic::resume_unwind;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::machine::{has_tool, skip};
use crate::sys;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The loopback address.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The address that stands for all.
    pub fn any(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Whether an address is of this family.
    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// The namespace a test runs in.
#[derive(Debug)]
pub struct Network {
    own: bool,
}

/// Runs a test in a network namespace of its own; without the right to make one, in the machine's,
/// where it must be content with ports that are free.
pub fn isolated<R: Send>(test: impl FnOnce(&Network) -> R + Send) -> R {
    on_another_thread(|| {
        let network = Network { own: sys::unshare_network().is_ok() };
        if network.own {
            ip("link set lo up\n");
        }
        test(&network)
    })
}

impl Network {
    /// Whether nobody else has ports here; says so if not.
    pub fn is_own(&self) -> bool {
        if !self.own {
            skip("network namespaces: the tests may not make one (CAP_SYS_ADMIN)");
        }
        self.own
    }

    /// Another namespace, joined to this one; `None`, said aloud, where that cannot be.
    pub fn elsewhere(&self) -> Option<Elsewhere> {
        (self.is_own() && has_tool("ip", "iproute2")).then(Elsewhere::new)
    }
}

/// Feeds commands to `ip -batch -` in this thread's namespace.
pub fn ip(batch: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("ip (package iproute2)");
    child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip: {batch}");
}

/// Another network namespace, empty but for its loopback, which is down.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// A new one.
    pub fn empty() -> Self {
        Self(on_another_thread(|| {
            sys::unshare_network().unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        }))
    }

    /// By which ip(8) knows it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs something over there. Sockets it returns stay there.
    pub fn run<R: Send>(&self, job: impl FnOnce() -> R + Send) -> R {
        on_another_thread(|| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.0.as_fd(), kind).unwrap();
            job()
        })
    }
}

/// A namespace behind a veth.
#[derive(Debug)]
pub struct Elsewhere {
    namespace: Namespace,
}

impl Elsewhere {
    /// Addresses of the test's own side of the veth.
    pub fn host(family: Family) -> [IpAddr; 2] {
        match family {
            Family::V4 => [[198, 18, 0, 1].into(), [198, 18, 0, 11].into()],
            Family::V6 => [HOST_V6.into(), HOST_V6_SECOND.into()],
        }
    }

    /// The address over here.
    pub fn address(family: Family) -> IpAddr {
        match family {
            Family::V4 => [198, 18, 0, 2].into(),
            Family::V6 => CLIENT_V6.into(),
        }
    }

    /// A port of the test's own side at its link-local address, as seen from over here.
    pub fn host_link_local(port: u16) -> SocketAddr {
        let any = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let scope = rustix::net::netdevice::name_to_index(any, "client0").unwrap();
        SocketAddrV6::new(HOST_LINK_LOCAL, port, 0, scope).into()
    }

    /// The link-local address over here.
    pub fn address_link_local() -> IpAddr {
        CLIENT_LINK_LOCAL.into()
    }

    fn new() -> Self {
        let namespace = Namespace::empty();
        let path = namespace.path();
        ip(&format!(
            "link add outer0 type veth peer name client0 netns {path}\n\
             addr add 198.18.0.1/24 dev outer0\n\
             addr add 198.18.0.11/24 dev outer0\n\
             addr add {HOST_V6}/64 dev outer0 nodad\n\
             addr add {HOST_V6_SECOND}/64 dev outer0 nodad\n\
             addr add {HOST_LINK_LOCAL}/64 dev outer0 nodad\n\
             link set outer0 addrgenmode none up\n"
        ));
        let elsewhere = Self { namespace };
        elsewhere.run(|| {
            ip(&format!(
                "link set lo up\n\
                 addr add 198.18.0.2/24 dev client0\n\
                 addr add {CLIENT_V6}/64 dev client0 nodad\n\
                 addr add {CLIENT_LINK_LOCAL}/64 dev client0 nodad\n\
                 link set client0 addrgenmode none up\n"
            ));
        });
        elsewhere
    }

    /// Runs something over there. Sockets it returns stay there.
    pub fn run<R: Send>(&self, job: impl FnOnce() -> R + Send) -> R {
        self.namespace.run(job)
    }
}

/// Runs something on a thread of its own and waits for it; a panic goes on here.
fn on_another_thread<R: Send>(job: impl FnOnce() -> R + Send) -> R {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, job);
        thread.unwrap().join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

const HOST_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11);
const CLIENT_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x22);
const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x7072, 0, 0, 0, 0, 0, 1);
const HOST_V6_SECOND: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x7072, 0, 0, 0, 0, 0, 0x11);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x7072, 0, 0, 0, 0, 0, 2);
