//! YAML into a tree.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use crate::error::Mark;
use crate::tree::{Content, Entry, Node};

/// Reads the text.
pub(crate) fn tree(text: &str) -> Result<Node, Vec<Mark>> {
    // A file of comments only is no value, and says nothing.
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(says_nothing) {
        return Ok(Node { span: 0..text.len(), content: Content::Table(Vec::new()) });
    }
    let raw: Spanned<Raw> = serde_saphyr::from_str(text).map_err(|error| {
        let plain = error.without_snippet();
        let message = plain.to_string();
        // The place is shown; it need not be said.
        let message = message.split(" at line ").next().unwrap_or(&message);
        // Nor what a programmer could do.
        let message = message.split(", set ").next().unwrap_or(message);
        vec![Mark {
            span: error.location().map_or(0..0, |location| span(text, &location)),
            message: format!("this is no YAML: {message}"),
            label: "here".to_owned(),
            ..Mark::default()
        }]
    })?;
    Ok(node(text, raw))
}

fn node(text: &str, raw: Spanned<Raw>) -> Node {
    let span = span(text, &raw.referenced);
    let content = match raw.value {
        Raw::Scalar(value) => Content::Scalar(value),
        Raw::List(raws) => Content::List(raws.into_iter().map(|raw| node(text, raw)).collect()),
        Raw::Table(pairs) => {
            let entry = |(key, value): (Spanned<String>, _)| Entry {
                key_span: self::span(text, &key.referenced),
                key: key.value,
                value: node(text, value),
            };
            Content::Table(pairs.into_iter().map(entry).collect())
        }
    };
    Node { span, content }
}

/// The place in bytes: one character at least, where the text has one.
fn span(text: &str, location: &Location) -> Range<usize> {
    let span = location.span();
    let start = match span.byte_offset() {
        Some(start) => usize::try_from(start).unwrap_or(usize::MAX).min(text.len()),
        None => 0,
    };
    let length = usize::try_from(span.byte_len().unwrap_or(0)).unwrap_or(0);
    let line = text[start..].find('\n').unwrap_or(text.len() - start);
    if length > 0 {
        return start..(start + length).min(text.len());
    }
    start..start + line.clamp(0, 1)
}

/// A value of any kind.
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Self>>),
    Table(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(on.into()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(number.into()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(text.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut raws = Vec::new();
        while let Some(raw) = list.next_element()? {
            raws.push(raw);
        }
        Ok(Raw::List(raws))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Raw::Table(pairs))
    }
}
