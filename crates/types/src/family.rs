//! How one address family of the guest's link stands in configuration: its addresses, or `true`
//! or `false`, because TOML has no null to switch a family off with.
//!
//! Never checks the addresses; `addressing` does.

use std::{fmt, marker::PhantomData};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, value::MapAccessDeserializer},
};

/// What a family is set to, in a schema.
#[derive(JsonSchema)]
#[schemars(rename = "{Link}OrSwitch", untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum FamilySetting<Link> {
    /// `false` switches the family off; `true` takes its default addresses.
    Switch(bool),
    /// The addresses.
    Link(Link),
}

pub(crate) fn serialize<Link: Serialize, S: Serializer>(
    link: &Option<Link>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match link {
        Some(link) => link.serialize(serializer),
        // Not `None`: TOML would leave it out, and a field left out is on.
        None => serializer.serialize_bool(false),
    }
}

pub(crate) fn deserialize<'de, Link, D>(deserializer: D) -> Result<Option<Link>, D::Error>
where
    Link: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(FamilyVisitor(PhantomData))
}

struct FamilyVisitor<Link>(PhantomData<Link>);

impl<'de, Link: Default + Deserialize<'de>> de::Visitor<'de> for FamilyVisitor<Link> {
    type Value = Option<Link>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("false, true, or the addresses of guest and gateway")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
        Ok(on.then(Link::default))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Link::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}
