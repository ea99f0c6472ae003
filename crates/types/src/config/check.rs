//! What the types alone cannot say about a configuration.
//!
//! Owns the names of settings in faults: paths such as `dns.records[2].ttl`, which whoever has
//! read a file can find there.

use std::fmt;

use super::Configuration;
use super::link::MAX_QUEUE_PAIRS;
use crate::{Addressing, Announce, LinkConfig};

/// One setting with a value it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct ConfigFault {
    /// The setting, as a path: `dns.records[2].ttl`.
    pub setting: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ConfigFault {
    /// A fault of the setting at this path.
    pub fn new(setting: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { setting: setting.into(), reason: reason.to_string() }
    }
}

impl Configuration {
    /// Checks every field, as far as that is possible without the host it is for.
    ///
    /// The answer has at most one fault for each section, in the order of the fields.
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if let Some(name) = &self.name {
            let announce = Announce { hostname: Some(name.clone()), ..Announce::default() };
            if name.len() > MAX_HOST_NAME {
                faults.push(ConfigFault::new("name", "a host name has at most 64 characters"));
            } else if let Err(error) = announce.validate() {
                faults.push(ConfigFault::new("name", error));
            }
        }
        if self.command.first().is_some_and(String::is_empty) {
            faults.push(ConfigFault::new("command[0]", "the name of the command is empty"));
        }
        if let Some(fd) = self.ready_fd
            && fd < 0
        {
            faults.push(ConfigFault::new("ready_fd", format_args!("{fd} is no descriptor")));
        }
        if let Some((kind, pairs)) = self.link.as_ref().and_then(LinkConfig::queue_pairs)
            && !(1..=MAX_QUEUE_PAIRS).contains(&pairs)
        {
            let reason = format!("{pairs} must be 1 to {MAX_QUEUE_PAIRS}");
            faults.push(ConfigFault::new(format!("link.{kind}.queue_pairs"), reason));
        }
        faults.extend(self.addresses.addressing(Addressing::default()).err());
        if let Err(error) = self.egress.validate() {
            let addresses = &self.egress.bind_addresses;
            let doubled = |nth: &usize| {
                addresses[..*nth].iter().any(|one| one.is_ipv6() == addresses[*nth].is_ipv6())
            };
            let nth = (0..addresses.len()).find(doubled).unwrap_or(0);
            faults.push(ConfigFault::new(format!("egress.bind_addresses[{nth}]"), error));
        }
        if let Err(error) = self.dns.validate() {
            faults.push(ConfigFault::new(format!("dns.{}", error.field), error.reason));
        }
        if let Err(error) = self.limits.validate() {
            let reason = format!("{} {}", error.value, error.requirement);
            faults.push(ConfigFault::new(format!("limits.{}", error.field), reason));
        }
        if let Some(ui) = self.control.ui.filter(|ui| !ui.ip().is_loopback()) {
            let reason = format!("{ui} is no loopback address, and the page is for this host only");
            faults.push(ConfigFault::new("control.ui", reason));
        }
        faults
    }
}

/// sethostname(2).
const MAX_HOST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_says_where_it_is_wrong() {
        let configuration: Configuration = toml::from_str(
            r#"
            name = "a b"
            command = [""]
            ready_fd = -1
            addresses.mtu = 100
            egress.bind_addresses = ["10.0.0.1", "::1", "10.0.0.2"]
            dns.records = [{ name = "a", addresses = [] }]
            limits.mailbox = 0
            control.ui = "0.0.0.0:80"
            "#,
        )
        .unwrap();
        let settings: Vec<_> = configuration.faults().into_iter().map(|f| f.setting).collect();
        assert_eq!(
            settings,
            [
                "name",
                "command[0]",
                "ready_fd",
                "addresses.mtu",
                "egress.bind_addresses[2]",
                "dns.records[0].addresses",
                "limits.mailbox",
                "control.ui",
            ]
        );
    }
}
