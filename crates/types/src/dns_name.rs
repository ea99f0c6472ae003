//! The canonical domain name: parsed once, then used to check, to look up and to answer.
//!
//! Never resolves anything. Two spellings of one name (case, trailing dot) are one value; names
//! that differ on the wire are never the same text, whatever bytes their labels have.
//! Spec: RFC 1035 §2.3.4 (sizes) and §5.1 (escapes), RFC 4343 (case).

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A domain name: lower case, without a trailing dot; the root is `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Box<str>);

/// The text is not a domain name that can be configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a domain name: {reason}", .text.escape_debug())]
pub struct DnsNameError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl DnsName {
    /// The name whose labels, from the left, have the given bytes.
    ///
    /// Bytes that text cannot show unambiguously are written as `\ddd` (RFC 1035 §5.1), so that
    /// the label `a.b` is not mistaken for two.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut text = String::with_capacity(64);
        for label in labels {
            if !text.is_empty() {
                text.push('.');
            }
            for byte in label {
                match byte {
                    b'.' | b'\\' | 0..=b' ' | 0x7f.. => {
                        text.push('\\');
                        text.push_str(&format!("{byte:03}"));
                    }
                    _ => text.push(char::from(byte.to_ascii_lowercase())),
                }
            }
        }
        if text.is_empty() {
            text.push('.');
        }
        Self(text.into())
    }

    /// The text: lower case, no trailing dot; `.` for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from the left, as text; none for the root.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.').filter(|label| !label.is_empty())
    }

    /// Whether this is `ancestor` or a name below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        if &*ancestor.0 == "." {
            return true;
        }
        self.0.strip_suffix(&*ancestor.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| Err(DnsNameError { text: text.to_owned(), reason });
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return refuse("it is empty");
        }
        if name.len() > MAX_TEXT {
            return refuse("it has more than 253 characters");
        }
        for label in name.split('.') {
            if label.is_empty() {
                return refuse("it has an empty label");
            }
            if label.len() > MAX_LABEL {
                return refuse("it has a label of more than 63 characters");
            }
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if !label.bytes().all(plain) {
                return refuse("labels are letters, digits, `-` and `_`; write others in punycode");
            }
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DnsName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DnsName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DnsName {
    fn schema_name() -> Cow<'static, str> {
        "DnsName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A domain name, as in db.example.com; case and a trailing dot do not matter.",
            "type": "string",
            "pattern": "^[0-9A-Za-z_-]{1,63}(\\.[0-9A-Za-z_-]{1,63})*\\.?$",
            "maxLength": 254,
        })
    }
}

/// RFC 1035 §2.3.4: 255 octets on the wire are 253 characters as text.
const MAX_TEXT: usize = 253;
/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DnsName {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_name_are_equal() {
        assert_eq!(name("Example.COM."), name("example.com"));
        assert_eq!(name("example.com").to_string(), "example.com");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = ["a".repeat(63).as_str(); 4].join(".");
        for text in ["", ".", "a..b", ".a", "a b", "bücher.de", "a\\.b", &long_label, &long_name] {
            let error = text.parse::<DnsName>().unwrap_err();
            assert_eq!(error.text, text);
        }
        assert!("a".repeat(63).parse::<DnsName>().is_ok());
    }

    #[test]
    fn labels_with_any_bytes_stay_apart() {
        let one = DnsName::from_labels([&b"a.b"[..], b"com"]);
        let two = DnsName::from_labels([&b"A"[..], b"b", b"COM"]);
        assert_eq!(one.as_str(), "a\\046b.com");
        assert_eq!(two.as_str(), "a.b.com");
        assert_eq!(DnsName::from_labels([]).as_str(), ".");
        assert_eq!(DnsName::from_labels([]).labels().count(), 0);
    }

    #[test]
    fn within_compares_whole_labels() {
        assert!(name("a.example.com").is_within(&name("example.com")));
        assert!(name("example.com").is_within(&name("example.com")));
        assert!(!name("badexample.com").is_within(&name("example.com")));
        assert!(!name("com").is_within(&name("example.com")));
        assert!(name("com").is_within(&DnsName::from_labels([])));
    }

    #[test]
    fn serde_canonicalises() {
        let parsed: DnsName = serde_json::from_str("\"DB.Internal.\"").unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), "\"db.internal\"");
        assert!(serde_json::from_str::<DnsName>("\"a..b\"").is_err());
    }
}
