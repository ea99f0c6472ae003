//! The host's network as the engine must know it, and a thread that watches it change.
//!
//! Owns the reading of addresses, routes and name servers, which opens files and so has no place in
//! the event loop. What is read goes to the loop as one value; a state that cannot be read keeps
//! the one before, never an open one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use mio::Waker;
use portreeve_core::HostNetwork;
use portreeve_host::{HostWaker, HostWatch};

use crate::driver::mailbox::Order;
use crate::error::StartError;

/// A watch that is about to begin: what it saw at first, and what it will see.
pub(crate) struct Watch {
    watch: HostWatch,
    path: PathBuf,
    network: HostNetwork,
}

/// The running watch; dropping it ends its thread.
pub(crate) struct Watcher {
    waker: HostWaker,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Reads the host's network and begins to watch it.
    pub(crate) fn new(resolv_conf: PathBuf) -> Result<Self, StartError> {
        let fail = |operation| move |source| StartError::HostNetwork { operation, source };
        let watch = HostWatch::new(&resolv_conf)
            .map_err(|error| fail("watching it")(std::io::Error::from(error)))?;
        let addresses =
            portreeve_host::interface_addresses().map_err(fail("reading its addresses"))?;
        let mut network = HostNetwork {
            addresses: addresses.into_iter().map(|(address, _)| address).collect(),
            has_ipv6: portreeve_host::has_default_route(true).unwrap_or(true),
            ..HostNetwork::default()
        };
        read_resolver(&resolv_conf, &mut network);
        Ok(Self { watch, path: resolv_conf, network })
    }

    /// What was read.
    pub(crate) fn network(&self) -> &HostNetwork {
        &self.network
    }

    /// Goes on in a thread of its own, which tells the loop of changes.
    pub(crate) fn spawn(
        self,
        orders: SyncSender<Order>,
        loop_waker: Arc<Waker>,
    ) -> std::io::Result<Watcher> {
        let waker = self.watch.waker();
        let thread = std::thread::Builder::new()
            .name("portreeve-watch".into())
            .spawn(move || self.run(&orders, &loop_waker))?;
        Ok(Watcher { waker, thread: Some(thread) })
    }

    fn run(mut self, orders: &SyncSender<Order>, loop_waker: &Waker) {
        loop {
            let change = match self.watch.wait(None) {
                Ok(change) => change,
                Err(error) => {
                    tracing::error!(%error, "the host's network is not watched any more");
                    return;
                }
            };
            if change.woken {
                return;
            }
            let mut network = self.network.clone();
            if change.addresses {
                match portreeve_host::interface_addresses() {
                    Ok(all) => {
                        network.addresses = all.into_iter().map(|(address, _)| address).collect();
                    }
                    Err(error) => tracing::warn!(%error, "reading the host's addresses"),
                }
                network.has_ipv6 = portreeve_host::has_default_route(true).unwrap_or(true);
            }
            if change.resolver {
                read_resolver(&self.path, &mut network);
            }
            if network == self.network {
                continue;
            }
            self.network = network.clone();
            if orders.send(Order::HostNetwork(network)).is_err() || loop_waker.wake().is_err() {
                return;
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the host's network panicked");
        }
    }
}

fn read_resolver(path: &std::path::Path, network: &mut HostNetwork) {
    match portreeve_host::resolver_config(path) {
        Ok(config) => {
            network.name_servers = config.servers;
            network.search = config.search;
        }
        Err(error) => tracing::warn!(%error, path = %path.display(), "reading the name servers"),
    }
}
