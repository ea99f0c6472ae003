//! From a tree to a configuration, or to all that is wrong with it.
//!
//! Owns going on behind a fault: what is wrong is taken out, and the rest read again, until
//! nothing is. Never words a fault: `words` does.

use portreeve_types::{Configuration, PublishSpec};
use serde_path_to_error::Segment;

use crate::error::Mark;
use crate::tree::{Content, Node, Place, Step, path_steps, path_text};
use crate::words;

/// Makes the configuration, and checks it.
pub(crate) fn configuration(text: &str, mut tree: Node) -> Result<Configuration, Vec<Mark>> {
    let mut marks = misplaced_lists(&tree);
    if !marks.is_empty() {
        return Err(marks);
    }
    let mut removed: Vec<Vec<Step>> = Vec::new();
    let configuration = loop {
        let error = match serde_path_to_error::deserialize::<_, Configuration>(tree.to_value()) {
            Ok(configuration) => break Some(configuration),
            Err(error) => error,
        };
        let path: Vec<Step> = error.path().iter().filter_map(step).collect();
        // What is around a part that was taken out may be wrong only because of that.
        if !removed.iter().any(|part| part.len() > path.len() && part.starts_with(&path)) {
            marks.push(mark(text, &tree, &path, &error.inner().to_string()));
        }
        if marks.len() == MAX_FAULTS || !tree.remove(&path) {
            break None;
        }
        removed.push(path);
    };
    if let Some(configuration) = &configuration {
        for fault in configuration.faults() {
            let path = path_steps(&fault.setting);
            marks.push(Mark {
                span: tree.place(&path).value,
                message: format!("{}: {}", fault.setting, fault.reason),
                setting: fault.setting,
                label: "not this".to_owned(),
                help: None,
            });
        }
    }
    match configuration {
        Some(configuration) if marks.is_empty() => Ok(configuration),
        _ => Err(marks),
    }
}

/// Serde would take the values of a list for a table's, by their order.
fn misplaced_lists(tree: &Node) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut expect_table = |node: &Node, setting: String| {
        if let Content::List(_) = node.content {
            let what = if setting.is_empty() { String::new() } else { format!("{setting}: ") };
            marks.push(Mark {
                span: node.span.clone(),
                message: format!("{what}a list, expected a table"),
                label: "expected a table".to_owned(),
                setting,
                help: None,
            });
        }
    };
    expect_table(tree, String::new());
    let Content::Table(entries) = &tree.content else { return marks };
    for entry in entries.iter().filter(|entry| SECTIONS.contains(&entry.key.as_str())) {
        expect_table(&entry.value, entry.key.clone());
        let Content::Table(inner) = &entry.value.content else { continue };
        for inner in inner.iter() {
            match (&inner.value.content, inner.key.as_str()) {
                (Content::List(records), "records") => {
                    for (nth, record) in records.iter().enumerate() {
                        expect_table(record, format!("{}.records[{nth}]", entry.key));
                    }
                }
                (Content::List(_), "dgram" | "fd") => {
                    expect_table(&inner.value, format!("{}.{}", entry.key, inner.key));
                }
                _ => {}
            }
        }
    }
    marks
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Nth(*index)),
        Segment::Map { key } | Segment::Enum { variant: key } => Some(Step::Key(key.clone())),
        Segment::Unknown => None,
    }
}

fn mark(text: &str, tree: &Node, path: &[Step], said: &str) -> Mark {
    let Place { key, value } = tree.place(path);
    let setting = path_text(path);
    let worded = words::of(said, &setting);
    // Which of several is meant is a key in a table, and a value anywhere else.
    let unknown = worded.unknown.as_ref().map(|name| [path, &[Step::Key(name.clone())]].concat());
    let inner_key = unknown.and_then(|path| tree.exact(&path).and_then(|place| place.key));
    let own_key = if worded.is_about_key { key } else { None };
    let mut mark = Mark {
        span: inner_key.or(own_key).unwrap_or(value),
        setting,
        message: worded.message,
        label: worded.label,
        help: worded.help,
    };
    if let [Step::Key(list), Step::Nth(_)] = path
        && list == "publish"
        && said.starts_with("invalid publish")
    {
        narrow_to_part(text, &mut mark);
    }
    mark
}

/// A publish specification says itself which of its parts is wrong.
fn narrow_to_part(text: &str, mark: &mut Mark) {
    let Some(written) = text.get(mark.span.clone()) else { return };
    if written.starts_with(['{', '[']) || written.contains(['\n', ' ']) {
        return;
    }
    let inner = written.trim_matches(['"', '\'']);
    let Err(error) = inner.parse::<PublishSpec>() else { return };
    // An escape in front of the part would shift it.
    if inner.contains('\\') {
        return;
    }
    let start = mark.span.start + (written.len() - written.trim_start_matches(['"', '\'']).len());
    let part = error.span();
    mark.span = start + part.start..(start + part.end).max(start + part.start + 1);
    mark.label = error.suggestion().map_or_else(
        || "this part".to_owned(),
        |suggestion| format!("did you mean `{suggestion}`?"),
    );
    mark.message = format!("{}: {}", mark.setting, error.message());
    mark.help = Some(error.help().to_owned());
}

/// Settings that are tables.
const SECTIONS: &[&str] = &["link", "addresses", "egress", "dns", "limits", "control"];
/// So many are shown at once; whoever has more will see the others next time.
const MAX_FAULTS: usize = 16;
