//! Which inherited descriptor is meant: by its number, or by the name that a service manager gave
//! it.
//!
//! Never opens or looks at one.
//! Spec: sd_listen_fds(3), systemd.socket(5) (`FileDescriptorName=`).

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An inherited descriptor: `3`, or `web` for sockets that socket activation handed over under
/// that name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Descriptor {
    /// By its number, from 3 on.
    Number(i32),
    /// By its name in `LISTEN_FDNAMES`.
    Name(String),
}

/// The text is neither a number from 3 on nor a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseDescriptorError(String);

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => fmt::Display::fmt(number, f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Descriptor {
    type Err = ParseDescriptorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |message: String| Err(ParseDescriptorError(message));
        if text.is_empty() {
            return refuse("the number or name of the file descriptor is missing".to_owned());
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && (text.len() == 1 || !text.starts_with('0')) {
            return match text.parse() {
                Ok(fd @ FIRST_INHERITED_FD..) => Ok(Self::Number(fd)),
                Ok(fd) => refuse(format!(
                    "file descriptor {fd} is a standard stream, not an inherited socket"
                )),
                Err(_) => refuse(format!("`{text}` is not the number of a file descriptor")),
            };
        }
        match unusable_descriptor_name(text) {
            None => Ok(Self::Name(text.to_owned())),
            Some(_) => refuse(format!(
                "`{}` is neither the number of a file descriptor nor the name of one",
                text.escape_debug()
            )),
        }
    }
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i32(*number),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DescriptorVisitor)
    }
}

impl JsonSchema for Descriptor {
    fn schema_name() -> Cow<'static, str> {
        "Descriptor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An inherited descriptor: its number, or its name in LISTEN_FDNAMES.",
            "anyOf": [
                { "type": "integer", "minimum": FIRST_INHERITED_FD },
                { "type": "string", "minLength": 1, "maxLength": MAX_NAME },
            ],
        })
    }
}

/// Why no socket can be named so, if so.
pub(crate) fn unusable_descriptor_name(name: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-\\".contains(&byte);
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MAX_NAME {
        Some("it is longer than 255 bytes")
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        Some("it must begin with a letter")
    } else if !name.bytes().all(plain) {
        Some("it may have letters, digits and any of ._@-")
    } else {
        None
    }
}

struct DescriptorVisitor;

impl de::Visitor<'_> for DescriptorVisitor {
    type Value = Descriptor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of an inherited descriptor, or its name")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Descriptor, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Descriptor, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Descriptor, E> {
        self.visit_str(&number.to_string())
    }
}

/// 0 to 2 are the standard streams; sd_listen_fds(3) hands sockets over from 3 on.
pub(crate) const FIRST_INHERITED_FD: i32 = 3;
/// systemd.socket(5).
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_told_apart() {
        let parse = |text: &str| text.parse::<Descriptor>();
        assert_eq!(parse("3"), Ok(Descriptor::Number(3)));
        for name in ["web", "web.socket", "_x", "a@b-1.socket", "a\\x2db"] {
            assert_eq!(parse(name), Ok(Descriptor::Name(name.into())), "{name}");
            assert_eq!(parse(name).unwrap().to_string(), name);
        }
        for text in ["", "0", "2", "-1", "03", "3x", "99999999999", "a b", "a:b", "a/b", "é"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for json in ["3", "\"web\""] {
            let read: Descriptor = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
        assert!(serde_json::from_str::<Descriptor>("1").is_err());
    }
}
