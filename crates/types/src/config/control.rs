//! How a running engine is controlled: its socket, and the page in a browser.
//!
//! Never listens: the control server does.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::{convert::Infallible, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How the engine is controlled while it runs. A field left out keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// Where the control socket is: a path, `default` for the usual place, or `none`.
    pub socket: ControlSocket,
    /// A loopback address and port for the page in a browser; left out, it is on the socket only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ui: Option<SocketAddr>,
    /// A file whose first line is the token for that page; left out, a new one is made and shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui_token_file: Option<PathBuf>,
}

/// Where the control socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSocket {
    /// In the usual directory, under the guest's name.
    #[default]
    Default,
    /// Nowhere.
    None,
    /// At this path.
    Path(PathBuf),
}

impl fmt::Display for ControlSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::None => f.write_str("none"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for ControlSocket {
    type Err = Infallible;

    /// `default`, `none`, or a path; `./none` is a path.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "default" => Self::Default,
            "none" => Self::None,
            path => Self::Path(path.into()),
        })
    }
}

impl Serialize for ControlSocket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default | Self::None => serializer.collect_str(self),
            // A path that is no text cannot be written down.
            Self::Path(path) => path.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ControlSocket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Ok(socket) = Cow::<'de, str>::deserialize(deserializer)?.parse();
        Ok(socket)
    }
}

impl JsonSchema for ControlSocket {
    fn schema_name() -> Cow<'static, str> {
        "ControlSocket".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A path, `default` for the usual place, or `none`.",
            "type": "string",
            "minLength": 1,
        })
    }
}
