//! Which source address the guest sees on a published port.
//!
//! Never decides anything: the engine applies the mode.
//! Spec: the PROXY protocol, versions 1 and 2 (haproxy `doc/proxy-protocol.txt`).

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which source address the guest sees on a published port.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SourceMode {
    /// The gateway's address and a port of the engine's choice.
    #[default]
    Gateway,
    /// The client's own address and port. A client on loopback is seen as the gateway, because
    /// the guest could not answer a loopback address.
    Preserve,
    /// The gateway's address; a PROXY protocol version 1 line in front of the stream names the
    /// client. TCP only.
    ProxyV1,
    /// The gateway's address; a PROXY protocol version 2 header names the client.
    ProxyV2,
}

/// The text names no source mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a source mode: choose gateway, preserve, proxy-v1 or proxy-v2", .0.escape_debug())]
pub struct ParseSourceModeError(String);

impl SourceMode {
    /// Every mode, the default first.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Preserve, Self::ProxyV1, Self::ProxyV2];

    /// The name in configuration and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Preserve => "preserve",
            Self::ProxyV1 => "proxy-v1",
            Self::ProxyV2 => "proxy-v2",
        }
    }
}

impl fmt::Display for SourceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for SourceMode {
    type Err = ParseSourceModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| text == mode.as_str())
            .ok_or_else(|| ParseSourceModeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_serde_agree() {
        for mode in SourceMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        assert_eq!(SourceMode::default(), SourceMode::Gateway);
    }

    #[test]
    fn the_error_lists_the_choices() {
        let error = "proxy".parse::<SourceMode>().unwrap_err().to_string();
        for mode in SourceMode::ALL {
            assert!(error.contains(mode.as_str()), "{error}");
        }
        assert!("Preserve".parse::<SourceMode>().is_err());
    }
}
