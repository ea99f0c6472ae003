//! `-P` and `-p auto`: publishing whatever the guest listens on.
//!
//! Owns a thread that reads the guest's socket tables from `/proc` now and then. A port that
//! appears is published on loopback, on the same number where that is free; one that goes is
//! unpublished, its connections draining. What listens on the guest's own loopback is left alone:
//! it is not meant for anybody outside.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use portreeve::{Handle, Unpublish};
use portreeve_types::{
    Configuration, HostBind, HostPorts, Listen, PublishItem, PublishRequest, PublishSpec,
    PublishedPort, Transport,
};
use procfs::net::TcpState;
use procfs::process::Process;

use crate::report;
use crate::serving::Serving;

/// How often the guest is looked at: a person who starts a server does not notice the delay.
const INTERVAL: Duration = Duration::from_millis(200);

type Key = (Transport, u16);

/// The watcher; dropping it ends it. What it published stays with the engine.
pub(crate) struct AutoPublish {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Watch {
    engine: Handle,
    pid: i32,
    quiet: bool,
    excluded: Vec<(RangeInclusive<u16>, Option<Transport>)>,
    /// Published by hand: left alone.
    by_hand: Vec<Key>,
    published: BTreeMap<Key, Vec<PublishedPort>>,
    /// Could not be published; said once.
    failed: Vec<Key>,
}

impl AutoPublish {
    /// Starts the watcher if the configuration asks for one.
    pub(crate) fn start(
        configuration: &Configuration,
        serving: &Serving,
        pid: i32,
    ) -> Option<Self> {
        let items: Vec<_> = configuration.publish.iter().flat_map(PublishSpec::items).collect();
        if !configuration.publish_all && !items.contains(&PublishItem::Auto) {
            return None;
        }
        let excluded = items.into_iter().filter_map(|item| match item {
            PublishItem::Exclude { ports, transport } => Some((ports, transport)),
            PublishItem::Request(_) | PublishItem::Auto => None,
        });
        let by_hand = serving.ports().list();
        let by_hand = by_hand.iter().map(|port| (port.transport, port.guest_port));
        let mut watch = Watch {
            engine: serving.engine().clone(),
            pid,
            quiet: configuration.quiet,
            excluded: excluded.collect(),
            by_hand: by_hand.collect(),
            published: BTreeMap::new(),
            failed: Vec::new(),
        };
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("auto-publish".into()).spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                watch.look();
            }
        });
        match thread {
            Ok(thread) => Some(Self { stop: Some(stop), thread: Some(thread) }),
            Err(error) => {
                report::warning(format_args!("not publishing automatically: {error}"));
                None
            }
        }
    }
}

impl Drop for AutoPublish {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the watcher has been printed; the run goes on without it.
            let _ = thread.join();
        }
    }
}

impl Watch {
    fn look(&mut self) {
        // The guest may be on its way out.
        let Ok(listening) = listening(self.pid) else { return };
        let gone: Vec<Key> =
            self.published.keys().filter(|key| !listening.contains(key)).copied().collect();
        for key in gone {
            for port in self.published.remove(&key).into_iter().flatten() {
                // An engine that has stopped has freed the port already.
                let _ = self.engine.unpublish(port.id, Unpublish::Drain);
            }
        }
        self.failed.retain(|key| listening.contains(key));
        for key in listening {
            let known = self.published.contains_key(&key)
                || self.by_hand.contains(&key)
                || self.failed.contains(&key);
            if !known && !self.is_excluded(key) {
                self.publish(key);
            }
        }
    }

    fn is_excluded(&self, (transport, port): Key) -> bool {
        self.excluded
            .iter()
            .any(|(ports, only)| ports.contains(&port) && only.is_none_or(|only| only == transport))
    }

    fn publish(&mut self, key: Key) {
        let same = NonZeroU16::new(key.1).map_or(HostPorts::Any, HostPorts::One);
        let wanted = self.engine.publish(&request(key, same));
        match wanted.or_else(|_| self.engine.publish(&request(key, HostPorts::Any))) {
            Ok(ports) => {
                if !self.quiet {
                    report::published(&ports);
                }
                self.published.insert(key, ports);
            }
            Err(error) => {
                report::warning(error);
                self.failed.push(key);
            }
        }
    }
}

fn request((transport, guest_port): Key, ports: HostPorts) -> PublishRequest {
    PublishRequest {
        transport,
        listen: Listen::Inet { host: HostBind::Loopback, ports },
        guest_port,
        source: None,
        name: None,
    }
}

/// Ports that somebody in the guest's network listens on from outside its loopback.
fn listening(pid: i32) -> procfs::ProcResult<Vec<Key>> {
    let process = Process::new(pid)?;
    let tcp = process.tcp()?.into_iter().chain(process.tcp6().unwrap_or_default());
    let tcp = tcp.filter(|socket| socket.state == TcpState::Listen);
    let tcp = tcp.map(|socket| (Transport::Tcp, socket.local_address));
    // A UDP socket that is not connected takes datagrams from anybody.
    let udp = process.udp()?.into_iter().chain(process.udp6().unwrap_or_default());
    let udp = udp.filter(|socket| socket.remote_address.port() == 0);
    let udp = udp.map(|socket| (Transport::Udp, socket.local_address));
    let mut keys: Vec<Key> = tcp
        .chain(udp)
        .filter(|(_, address)| address.port() != 0 && !is_loopback(address.ip()))
        .map(|(transport, address)| (transport, address.port()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}
