//! The engine's process as the API shows it: health, version, live changes.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in time, written as in RFC 3339 with microseconds, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub SystemTime);

/// Whether the engine is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`: the engine's loop answers.
    pub status: String,
    /// The guest's name.
    pub name: String,
    /// The engine's process.
    pub pid: u32,
    /// What the process does: `run` or `serve`, or what the embedding program says.
    pub mode: String,
    /// When the engine was started.
    pub started: Timestamp,
    /// Whether a guest is at the other end of the link.
    pub guest: bool,
}

/// Which program answers, and which API it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// The program's version.
    pub version: String,
    /// Versions of the API it speaks.
    pub api: Vec<String>,
}

/// Limits to change; those left out stay as they are.
pub type LimitsChange = serde_json::Map<String, serde_json::Value>;

/// One setting and what became of its change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The setting, as a path in the configuration: `limits.max_flows`, `publish[8080:80]`.
    pub setting: String,
    /// What was done, or why it needs a restart.
    pub what: String,
}

/// What a reload of the configuration did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadReport {
    /// In force now.
    pub applied: Vec<Change>,
    /// Different in the file, and in force only after a restart.
    pub needs_restart: Vec<Change>,
    /// Could not be done; what was before stays.
    pub failed: Vec<Change>,
}

impl ReloadReport {
    /// Whether nothing differed.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty() && self.failed.is_empty()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_rfc3339_micros(self.0))
    }
}

impl FromStr for Timestamp {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text).map(Self)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A point in time as in RFC 3339, in UTC.",
            "type": "string",
            "format": "date-time",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_rfc_3339() {
        let time = Timestamp(UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001));
        let json = serde_json::to_string(&time).unwrap();
        assert_eq!(json, r#""2023-11-14T22:13:20.000001Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
    }
}
