//! How the guest's MAC address stands in configuration: the address, or `learn`, because TOML has
//! no null to leave it open with.
//!
//! Never learns it: the engine does, from the guest's first frame.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::MacAddr;

/// What the guest's MAC address is set to, in a schema.
pub(crate) struct GuestMacSetting;

impl JsonSchema for GuestMacSetting {
    fn schema_name() -> Cow<'static, str> {
        "GuestMac".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mac = generator.subschema_for::<MacAddr>();
        json_schema!({ "anyOf": [mac, { "type": "string", "const": LEARN }] })
    }
}

pub(crate) fn serialize<S: Serializer>(
    mac: &Option<MacAddr>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match mac {
        Some(mac) => mac.serialize(serializer),
        // Not `None`: TOML would leave it out, and a field left out keeps its default.
        None => serializer.serialize_str(LEARN),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MacAddr>, D::Error> {
    match Option::<Cow<'de, str>>::deserialize(deserializer)?.as_deref() {
        None | Some(LEARN) => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

const LEARN: &str = "learn";
