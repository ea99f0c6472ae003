//! What is said about a wrong publish specification: which part, why, and what would be right.
//!
//! Never decides what is wrong: the parsers hand a `Fault` over. Text of the specification may
//! come from anywhere, so what could move a terminal's cursor is made visible here.

use std::{borrow::Cow, fmt, ops::Range};

use miette::{Diagnostic, LabeledSpan, SourceCode};

use super::{parse, part::Part};
use crate::MAX_SPEC_LEN;

/// A publish specification that cannot be understood.
///
/// [`Display`](fmt::Display) is complete in one line. As a [`Diagnostic`] it shows the
/// specification with a mark under the wrong part.
#[derive(Clone, PartialEq, Eq)]
pub struct SpecError(Box<Report>);

#[derive(Clone, PartialEq, Eq)]
struct Report {
    spec: String,
    span: Range<usize>,
    /// `spec` with everything invisible made visible.
    shown: String,
    /// `shown`, with a blank behind it where the mark would else have nothing to stand under.
    source: String,
    /// `span` in `source`; never empty.
    mark: Range<usize>,
    message: String,
    label: Cow<'static, str>,
    suggestion: Option<String>,
    help: Cow<'static, str>,
}

/// One wrong part, as a parser found it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    message: String,
    label: Cow<'static, str>,
    help: Cow<'static, str>,
    pub(super) suggestion: Option<String>,
}

impl SpecError {
    pub(super) fn new(spec: &str, fault: Fault) -> Self {
        let spec = &spec[..spec.floor_char_boundary(MAX_SPEC_LEN)];
        let span = fault.span.start.min(spec.len())..fault.span.end.min(spec.len());
        let (shown, mut mark) = visible(spec, &span);
        let mut source = shown.clone();
        if mark.is_empty() {
            if mark.start == source.len() {
                source.push(' ');
            }
            mark.end = source.ceil_char_boundary(mark.start + 1);
        }
        Self(Box::new(Report {
            spec: spec.to_owned(),
            shown,
            source,
            mark,
            message: visible(&fault.message, &(0..0)).0,
            label: fault.label,
            suggestion: fault.suggestion.and_then(corrected),
            help: fault.help,
            span,
        }))
    }

    /// The specification as it was given, cut to [`MAX_SPEC_LEN`]; for a map, what it would be as
    /// `key=value,…`.
    pub fn spec(&self) -> &str {
        &self.0.spec
    }

    /// The wrong part, in bytes of [`SpecError::spec`]; empty where something is missing.
    pub fn span(&self) -> Range<usize> {
        self.0.span.clone()
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// A specification that is right and may be what was meant.
    pub fn suggestion(&self) -> Option<&str> {
        self.0.suggestion.as_deref()
    }

    /// How such a specification is written.
    pub fn help(&self) -> &str {
        &self.0.help
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid publish specification `{}`: {}", self.0.shown, self.0.message)?;
        match &self.0.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpecError")
            .field("spec", &self.0.spec)
            .field("span", &self.0.span)
            .field("message", &self.0.message)
            .field("suggestion", &self.0.suggestion)
            .field("help", &self.0.help)
            .finish()
    }
}

impl std::error::Error for SpecError {}

impl Diagnostic for SpecError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.0.help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.0.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Range { start, end } = self.0.mark;
        let label = LabeledSpan::new(Some(self.0.label.to_string()), start, end - start);
        Some(Box::new(std::iter::once(label)))
    }
}

impl Fault {
    /// `message` says what is wrong and, in general, what would be right; `label` stands under
    /// the part and says what it should be.
    pub(super) fn at(
        part: Part<'_>,
        label: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            span: part.span(),
            message: message.into(),
            label: label.into(),
            help: FORM.into(),
            suggestion: None,
        }
    }

    pub(super) fn help(self, help: impl Into<Cow<'static, str>>) -> Self {
        Self { help: help.into(), ..self }
    }

    /// A whole specification that may have been meant. Dropped if it turns out wrong itself.
    pub(super) fn suggest(self, suggestion: impl Into<Option<String>>) -> Self {
        Self { suggestion: suggestion.into(), ..self }
    }
}

/// Follows suggestions until one is right, so that none is made that would fail in its turn.
fn corrected(mut suggestion: String) -> Option<String> {
    for _ in 0..MAX_CORRECTIONS {
        match parse::parse(&suggestion) {
            Ok(_) => return Some(suggestion),
            Err(fault) => suggestion = fault.suggestion?,
        }
    }
    None
}

/// Replaces what a terminal would act on, or would not show, and moves `span` along.
fn visible(text: &str, span: &Range<usize>) -> (String, Range<usize>) {
    let mut shown = String::with_capacity(text.len());
    let mut moved = 0..0;
    for (at, c) in text.char_indices() {
        if at == span.start {
            moved.start = shown.len();
        }
        if at == span.end {
            moved.end = shown.len();
        }
        shown.push(visible_char(c));
    }
    if span.start == text.len() {
        moved.start = shown.len();
    }
    if span.end == text.len() {
        moved.end = shown.len();
    }
    (shown, moved)
}

fn visible_char(c: char) -> char {
    match c {
        // Unicode's pictures of the ASCII control characters.
        '\0'..='\x1f' => {
            char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        '\x7f' => '\u{2421}',
        // C1 controls; zero-width, line-breaking, bidirectional and other format characters.
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

const MAX_CORRECTIONS: usize = 4;

/// Said where nothing more particular helps.
const FORM: &str = "the form is [HOST_IP:][HOST_PORT[-LAST]:]GUEST_PORT[-LAST][/PROTO]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_terminal() {
        let error = "8080:80\x1b[2J\u{202e}\n".parse::<crate::PublishSpec>().unwrap_err();
        let line = error.to_string();
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(line.contains("␛[2J\u{fffd}␊"), "{line:?}");
        assert_eq!(error.spec(), "8080:80\x1b[2J\u{202e}\n");
    }

    #[test]
    fn spans_move_with_the_pictures() {
        assert_eq!(visible("a\0b", &(2..3)), ("a␀b".into(), 4..5));
        assert_eq!(visible("a\0b", &(1..2)), ("a␀b".into(), 1..4));
        assert_eq!(visible("a\0", &(2..2)), ("a␀".into(), 4..4));
        assert_eq!(visible("", &(0..0)), (String::new(), 0..0));
    }
}
