//! The configuration of one engine and its guest: all that `portreeve run` and `portreeve serve`
//! can be told, as one value.
//!
//! Connects the files below: `duration` is how times are written, `addresses` the guest's side of
//! the link, `link` how a machine is attached, `control` how the engine is controlled, `check`
//! what the types alone cannot say. Never reads a file: `portreeve-config` does.

mod addresses;
mod check;
mod control;
mod duration;
mod link;

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DnsConfig, Egress, Limits, PublishSpec, SourceMode};

pub use addresses::{AddressesConfig, GuestAddress, ParseGuestAddressError};
pub use check::ConfigFault;
pub use control::{ControlConfig, ControlSocket};
pub use duration::{ParseDurationError, parse_duration};
pub use link::{DatagramPaths, FdKind, InheritedLink, LinkConfig, VhostUserLink};

/// All that an engine and its guest are told. A field left out keeps its default, which is the
/// command line's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    /// A name for the guest: its host name, and the name shown for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What to publish: texts as behind `-p`, guest ports, or maps as in Compose.
    pub publish: Vec<PublishSpec>,
    /// Publish every port that the guest listens on, on the same number where that is free
    /// (`run` only).
    pub publish_all: bool,
    /// Whom the guest sees as the client of a published port.
    pub source: SourceMode,
    /// At the end: how long clients may take nothing before what the guest sent last is given up.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationText")]
    pub drain: Duration,
    /// The file that the published ports are written to; as JSON if its name ends in `.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports_file: Option<PathBuf>,
    /// Do not print the published ports.
    pub quiet: bool,
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as
    /// `portreeve=debug`.
    pub log: String,
    /// How it is written: as lines for people, or as one JSON object a line.
    pub log_format: LogFormat,
    /// The command to run, and its arguments (`run` only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The descriptor that a newline is written to once the ports are bound (`serve` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_fd: Option<i32>,
    /// End when the guest goes; without, the next one is waited for (`serve` only).
    pub exit_with_guest: bool,
    /// How the guest is attached (`serve` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkConfig>,
    /// The guest's link and its addresses.
    pub addresses: AddressesConfig,
    /// What the guest may reach.
    pub egress: Egress,
    /// How the guest's names are resolved.
    pub dns: DnsConfig,
    /// Every limit of the engine. `--connect-timeout` is `connect_timeout_ms`.
    pub limits: Limits,
    /// How the engine is controlled while it runs.
    pub control: ControlConfig,
}

/// How the program's log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            name: None,
            publish: Vec::new(),
            publish_all: false,
            source: SourceMode::default(),
            drain: Duration::from_secs(2),
            ports_file: None,
            quiet: false,
            log: "warn".to_owned(),
            log_format: LogFormat::Text,
            command: Vec::new(),
            ready_fd: None,
            exit_with_guest: false,
            link: None,
            addresses: AddressesConfig::default(),
            egress: Egress::default(),
            dns: DnsConfig::default(),
            limits: Limits::default(),
            control: ControlConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Configuration {
        toml::from_str(
            r#"
            name = "web"
            publish = ["8080:80", 53, { target = 443, published = 8443, source = "preserve" }]
            publish_all = true
            source = "proxy-v2"
            drain = "1m30s"
            ports_file = "/run/ports.json"
            quiet = true
            log = "portreeve=debug"
            command = ["sleep", "1"]
            ready_fd = 5
            exit_with_guest = true
            link = { dgram = { path = "/a", remote = "/b" } }
            [addresses]
            mtu = 9000
            address = ["10.1.2.3/24"]
            gateway = ["10.1.2.1"]
            mac = "02:00:00:00:00:07"
            ipv6 = false
            [egress]
            host = { ports = [80] }
            [dns]
            upstreams = ["1.1.1.1"]
            records = [{ name = "db.test", addresses = ["10.0.0.7"] }]
            [limits]
            max_flows = 7
            [control]
            socket = "/run/web.sock"
            ui = "127.0.0.1:8000"
            "#,
        )
        .unwrap()
    }

    #[test]
    fn every_format_gives_back_what_it_was_given() {
        for configuration in [Configuration::default(), full()] {
            let text = toml::to_string(&configuration).unwrap();
            assert_eq!(toml::from_str::<Configuration>(&text).unwrap(), configuration, "{text}");
            let json = serde_json::to_string(&configuration).unwrap();
            assert_eq!(serde_json::from_str::<Configuration>(&json).unwrap(), configuration);
        }
    }

    #[test]
    fn nothing_is_all_defaults() {
        assert_eq!(toml::from_str::<Configuration>("").unwrap(), Configuration::default());
        assert_eq!(Configuration::default().faults(), []);
        assert_eq!(full().faults(), []);
    }

    #[test]
    fn the_schema_describes_every_field_and_refuses_others() {
        let schema = serde_json::to_value(schemars::schema_for!(Configuration)).unwrap();
        let described = |schema: &serde_json::Value, what: &str| {
            for (field, property) in schema["properties"].as_object().unwrap() {
                let said = &property["description"];
                assert!(said.is_string(), "{what}.{field}: {property:#}");
            }
            assert_eq!(schema["additionalProperties"], false, "{what}");
        };
        described(&schema, "");
        for name in ["AddressesConfig", "ControlConfig", "Egress", "DnsConfig", "Limits"] {
            described(&schema["$defs"][name], name);
        }
    }
}
