//! TOML into a tree.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::error::Mark;
use crate::tree::{Content, Entry, Node};

/// Reads the text.
pub(crate) fn tree(text: &str) -> Result<Node, Vec<Mark>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { span: 0..text.len(), content: content_of_table(table.get_ref()) });
    }
    let mark = |error: &toml::de::Error| Mark {
        span: error.span().unwrap_or(0..0),
        message: format!("this is no TOML: {}", error.message()),
        label: "here".to_owned(),
        ..Mark::default()
    };
    // What follows a fault is often one only because of it.
    Err(errors.iter().take(1).map(mark).collect())
}

fn node(value: &Spanned<DeValue<'_>>) -> Node {
    let content = match value.get_ref() {
        DeValue::String(text) => Content::Scalar(Value::String(text.to_string())),
        DeValue::Integer(number) => Content::Scalar(integer(number.as_str(), number.radix())),
        DeValue::Float(number) => {
            let float = number.as_str().replace('_', "").parse::<f64>();
            let float = float.ok().and_then(serde_json::Number::from_f64);
            // Infinity and NaN are no number anywhere in a configuration.
            Content::Scalar(
                float.map_or_else(|| Value::String(number.as_str().to_owned()), Value::Number),
            )
        }
        DeValue::Boolean(on) => Content::Scalar(Value::Bool(*on)),
        DeValue::Datetime(time) => Content::Scalar(Value::String(time.to_string())),
        DeValue::Array(values) => Content::List(values.iter().map(node).collect()),
        DeValue::Table(table) => content_of_table(table),
    };
    Node { span: value.span(), content }
}

fn content_of_table(table: &DeTable<'_>) -> Content {
    let entry = |(key, value): (&Spanned<DeString<'_>>, &_)| Entry {
        key: key.get_ref().to_string(),
        key_span: key.span(),
        value: node(value),
    };
    Content::Table(table.iter().map(entry).collect())
}

fn integer(digits: &str, radix: u32) -> Value {
    let digits = digits.replace('_', "");
    if let Ok(number) = i64::from_str_radix(&digits, radix) {
        return number.into();
    }
    match u64::from_str_radix(&digits, radix) {
        Ok(number) => number.into(),
        // Too large for any field, which will say so.
        Err(_) => Value::String(digits),
    }
}
