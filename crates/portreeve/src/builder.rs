//! Putting an engine together.

use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use portreeve_core::{Config, LinkOffloads};
use portreeve_host::{OutboundOptions, RESOLV_CONF, UdpSocket};
use portreeve_link::Link;
use portreeve_types::{Addressing, Announce, DnsConfig, Egress, Limits, SourceMode};

use crate::driver::Driver;
use crate::engine::Engine;
use crate::error::StartError;
use crate::handle::Handle;
use crate::watch::Watch;

/// Collects what an engine is made with; [`start`](Self::start) makes it.
#[must_use = "a builder does nothing until `start`"]
pub struct EngineBuilder {
    link: Option<Box<dyn Link>>,
    addressing: Addressing,
    limits: Limits,
    source: SourceMode,
    egress: Egress,
    dns: Option<DnsConfig>,
    announce: Announce,
    resolv_conf: Option<PathBuf>,
    name: Option<String>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            link: None,
            addressing: Addressing::default(),
            limits: Limits::default(),
            source: SourceMode::default(),
            egress: Egress::default(),
            dns: Some(DnsConfig::default()),
            announce: Announce::default(),
            resolv_conf: None,
            name: None,
        }
    }
}

impl EngineBuilder {
    /// The guest's transport. Required.
    pub fn link(mut self, link: impl Link + 'static) -> Self {
        self.link = Some(Box::new(link));
        self
    }

    /// Addresses of the guest and its gateway; the default is [`Addressing::default`]. The MTU
    /// used is the smaller of the link's and this one's.
    pub fn addressing(mut self, addressing: Addressing) -> Self {
        self.addressing = addressing;
        self
    }

    /// Bounds of every table, queue and buffer.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The source that the guest sees on published ports which name none.
    pub fn source(mut self, source: SourceMode) -> Self {
        self.source = source;
        self
    }

    /// What the guest's own connections may do. The default lets it reach everything but this host
    /// and what only this host can reach.
    pub fn egress(mut self, egress: Egress) -> Self {
        self.egress = egress;
        self
    }

    /// The name server on the gateway; `None` for a gateway without one. The default forwards to
    /// the host's own name servers.
    pub fn dns(mut self, dns: Option<DnsConfig>) -> Self {
        self.dns = dns;
        self
    }

    /// What the gateway tells a guest that asks by DHCP, DHCPv6 or router solicitation, beyond its
    /// addresses. A search list that is empty here is the name server's.
    pub fn announce(mut self, announce: Announce) -> Self {
        self.announce = announce;
        self
    }

    /// Where the host's name servers are written; the default is `/etc/resolv.conf`. It is read
    /// again when it changes.
    pub fn resolv_conf(mut self, path: impl Into<PathBuf>) -> Self {
        self.resolv_conf = Some(path.into());
        self
    }

    /// A name for the engine's thread.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Starts the engine on a thread of its own.
    ///
    /// # Errors
    /// When a part is missing or contradicts itself, or the event loop cannot be set up. Nothing
    /// is left behind then.
    pub fn start(self) -> Result<Engine, StartError> {
        let link = self.link.ok_or(StartError::NoLink)?;
        let mut addressing = self.addressing;
        let capabilities = link.capabilities();
        addressing.mtu = addressing.mtu.min(capabilities.mtu);
        addressing.validate()?;
        self.limits.validate()?;
        self.egress.validate()?;
        self.announce.validate()?;
        let mut announce = self.announce;
        if let Some(dns) = &self.dns {
            dns.validate()?;
            if announce.search.is_empty() {
                let search = dns.search.iter().flatten();
                announce.search = search.map(ToString::to_string).collect();
            }
        }
        try_outbound(&self.egress)?;
        let watch = Watch::new(self.resolv_conf.unwrap_or_else(|| RESOLV_CONF.into()))?;
        let mut seed = [0u8; 16];
        getrandom::fill(&mut seed).map_err(|error| StartError::Entropy(error.to_string()))?;
        let half = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| seed[at + byte]));
        let mailbox_size = self.limits.mailbox;
        let config = Config {
            addressing,
            announce,
            dns: self.dns,
            limits: self.limits,
            source: self.source,
            egress: self.egress,
            link: LinkOffloads {
                checksum: capabilities.checksum_offload,
                tso4: capabilities.tso4,
                tso6: capabilities.tso6,
                uso: capabilities.uso,
            },
            seed: [half(0), half(8)],
        };
        let own = crate::names::own_records(&config.addressing, &config.announce, &config.egress);
        let (sender, mailbox) = sync_channel(mailbox_size);
        let (driver, waker) = Driver::new(config, link, mailbox, watch.network(), &own)?;
        let fail = |operation| move |source| StartError::EventLoop { operation, source };
        let watcher = watch.spawn(sender.clone(), waker.clone()).map_err(fail("spawn"))?;
        let handle = Handle::new(sender, waker, driver.event_source(), driver.started());
        let name = self.name.unwrap_or_else(|| "portreeve".into());
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || driver.run())
            .map_err(fail("spawn"))?;
        Ok(Engine::new(handle, thread, watcher))
    }
}

/// Finds out now, and not with the guest's first packet, whether its traffic can leave as asked.
fn try_outbound(egress: &Egress) -> Result<(), StartError> {
    for v6 in [false, true] {
        let options = OutboundOptions {
            bind_address: egress.bind_address(v6),
            bind_interface: egress.bind_interface.clone(),
            ..OutboundOptions::default()
        };
        // A host may lack a family that nothing was asked of.
        if options.bind_address.is_some() || (options.bind_interface.is_some() && !v6) {
            UdpSocket::outbound(v6, &options).map_err(StartError::Outbound)?;
        }
    }
    Ok(())
}
