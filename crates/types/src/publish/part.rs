//! A part of a specification's text that knows where in the text it stands.
//!
//! Never interprets the text.

use std::ops::Range;

/// `whole[start..end]`. Cuts are made at ASCII characters only, so they are on char boundaries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    whole: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Part<'a> {
    pub(super) fn whole(text: &'a str) -> Self {
        Self { whole: text, start: 0, end: text.len() }
    }

    pub(super) fn text(self) -> &'a str {
        &self.whole[self.start..self.end]
    }

    pub(super) fn span(self) -> Range<usize> {
        self.start..self.end
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The part of the same text at `range` of this part.
    pub(super) fn cut(self, range: Range<usize>) -> Self {
        Self { whole: self.whole, start: self.start + range.start, end: self.start + range.end }
    }

    /// Everything of this part from `at` on.
    pub(super) fn from(self, at: usize) -> Self {
        self.cut(at..self.end - self.start)
    }

    /// The empty part at this part's end: where something is missing.
    pub(super) fn after(self) -> Self {
        Self { start: self.end, ..self }
    }

    /// From the start of this part to the end of `last`, which comes later in the same text.
    pub(super) fn to(self, last: Self) -> Self {
        Self { end: last.end, ..self }
    }

    pub(super) fn split_once(self, at: char) -> Option<(Self, Self)> {
        let found = self.text().find(at)?;
        Some((self.cut(0..found), self.from(found + at.len_utf8())))
    }

    pub(super) fn rsplit_once(self, at: char) -> Option<(Self, Self)> {
        let found = self.text().rfind(at)?;
        Some((self.cut(0..found), self.from(found + at.len_utf8())))
    }

    pub(super) fn strip_prefix(self, prefix: &str) -> Option<Self> {
        self.text().starts_with(prefix).then(|| self.from(prefix.len()))
    }

    /// The first character for which `wanted` is true, as a part.
    pub(super) fn find(self, wanted: impl Fn(char) -> bool) -> Option<Self> {
        let (at, c) = self.text().char_indices().find(|(_, c)| wanted(*c))?;
        Some(self.cut(at..at + c.len_utf8()))
    }

    /// The whole text with `with` in place of this part.
    pub(super) fn replaced(self, with: &str) -> String {
        format!("{}{with}{}", &self.whole[..self.start], &self.whole[self.end..])
    }
}
