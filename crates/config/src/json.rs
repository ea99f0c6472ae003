//! JSON into a tree.
//!
//! serde_json says no places, but lends the text of a part: where that begins in memory says where
//! it stands.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::error::Mark;
use crate::tree::{Content, Entry, Node};

/// Reads the text.
pub(crate) fn tree(text: &str) -> Result<Node, Vec<Mark>> {
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| mark(text, &error))?;
    node(text, whole)
}

fn node(text: &str, raw: &RawValue) -> Result<Node, Vec<Mark>> {
    let part = raw.get();
    let wrong = |error: serde_json::Error| mark(part, &error);
    let content = match part.as_bytes().first() {
        Some(b'{') => {
            let Pairs(pairs) = serde_json::from_str(part).map_err(wrong)?;
            let mut entries: Vec<Entry> = Vec::new();
            for (Key(key), raw) in pairs {
                let key_span = key_span(text, &key, raw);
                if entries.iter().any(|entry| entry.key == key) {
                    return Err(vec![Mark {
                        span: key_span,
                        message: format!("`{}` is given twice", key.escape_debug()),
                        label: "given already".to_owned(),
                        ..Mark::default()
                    }]);
                }
                let value = node(text, raw)?;
                entries.push(Entry { key: key.into_owned(), key_span, value });
            }
            Content::Table(entries)
        }
        Some(b'[') => {
            let raws: Vec<&RawValue> = serde_json::from_str(part).map_err(wrong)?;
            Content::List(raws.into_iter().map(|raw| node(text, raw)).collect::<Result<_, _>>()?)
        }
        _ => Content::Scalar(serde_json::from_str(part).map_err(wrong)?),
    };
    Ok(Node { span: span_in(text, part), content })
}

/// Where a part that was borrowed from the text stands in it.
fn span_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + part.len()
}

/// The key, quotes and all, stands in front of the value.
fn key_span(text: &str, key: &str, value: &RawValue) -> Range<usize> {
    let value = span_in(text, value.get());
    let before = text[..value.start].trim_end().trim_end_matches(':').trim_end();
    // One without escapes is as long as it says.
    let start = before.len().saturating_sub(key.len() + 2);
    start..before.len()
}

fn mark(text: &str, error: &serde_json::Error) -> Vec<Mark> {
    let line_starts = text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some(start)
    });
    let line_start = line_starts.take(error.line()).last().unwrap_or(0);
    let at = (line_start + error.column()).saturating_sub(1);
    // An end too soon is behind the last that there is.
    let at = if error.is_eof() { text.trim_end().len() } else { at };
    let at = text.floor_char_boundary(at.min(text.len()));
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    vec![Mark {
        span: at..at + 1,
        message: format!("this is no JSON: {message}"),
        label: "here".to_owned(),
        ..Mark::default()
    }]
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object as it is written, with what is doubled.
struct Pairs<'a>(Vec<(Key<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> de::Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}
