//! Values that know where they stand in their text, whatever the format.
//!
//! Never means anything: `read` makes a configuration of it.

use std::ops::Range;

use serde_json::Value;

/// A value and where it stands, in bytes.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) content: Content,
}

/// What stands there.
#[derive(Debug)]
pub(crate) enum Content {
    /// Anything without parts.
    Scalar(Value),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A setting of a table.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

/// One step from a value to one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Nth(usize),
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The key's span, for the value of a table.
    pub(crate) key: Option<Range<usize>>,
    pub(crate) value: Range<usize>,
}

impl Node {
    /// The same without places.
    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(nodes) => Value::Array(nodes.iter().map(Self::to_value).collect()),
            Content::Table(entries) => {
                let pairs = entries.iter().map(|e| (e.key.clone(), e.value.to_value()));
                Value::Object(pairs.collect())
            }
        }
    }

    /// Follows a path as far as it leads.
    pub(crate) fn place(&self, path: &[Step]) -> Place {
        self.follow(path).0
    }

    /// Follows a path to its end, if there is one.
    pub(crate) fn exact(&self, path: &[Step]) -> Option<Place> {
        let (place, is_whole) = self.follow(path);
        is_whole.then_some(place)
    }

    fn follow(&self, path: &[Step]) -> (Place, bool) {
        let mut place = Place { key: None, value: self.span.clone() };
        let mut node = self;
        for step in path {
            let next = match (&node.content, step) {
                (Content::Table(entries), Step::Key(key)) => {
                    entries.iter().find(|entry| entry.key == *key).map(|entry| {
                        place.key = Some(entry.key_span.clone());
                        &entry.value
                    })
                }
                (Content::List(nodes), Step::Nth(nth)) => nodes.get(*nth).inspect(|_| {
                    place.key = None;
                }),
                _ => None,
            };
            let Some(next) = next else { return (place, false) };
            place.value = next.span.clone();
            node = next;
        }
        (place, true)
    }

    /// Takes the value at this path out, so that the rest can be read. The answer is whether there
    /// was one.
    pub(crate) fn remove(&mut self, path: &[Step]) -> bool {
        let Some((step, rest)) = path.split_first() else { return false };
        match (&mut self.content, step) {
            (Content::Table(entries), Step::Key(key)) => {
                let Some(at) = entries.iter().position(|entry| entry.key == *key) else {
                    return false;
                };
                if rest.is_empty() {
                    entries.remove(at);
                    return true;
                }
                entries[at].value.remove(rest)
            }
            (Content::List(nodes), Step::Nth(nth)) if *nth < nodes.len() => {
                if rest.is_empty() {
                    nodes.remove(*nth);
                    return true;
                }
                nodes[*nth].remove(rest)
            }
            _ => false,
        }
    }
}

/// A path as people write it: `dns.records[2].ttl`.
pub(crate) fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Nth(nth) => text.push_str(&format!("[{nth}]")),
        }
    }
    text
}

/// The steps of a path as the types write it.
pub(crate) fn path_steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in text.split('.') {
        let (key, numbers) = part.split_at(part.find('[').unwrap_or(part.len()));
        steps.push(Step::Key(key.to_owned()));
        let numbers = numbers.split(['[', ']']).filter_map(|number| number.parse().ok());
        steps.extend(numbers.map(Step::Nth));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are_written() {
        for text in ["name", "dns.records[2].ttl", "publish[0]", "limits.max_flows"] {
            assert_eq!(path_text(&path_steps(text)), text);
        }
    }
}
