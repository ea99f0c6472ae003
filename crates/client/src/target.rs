//! Paths and queries as they go on the wire.
//!
//! Owns their encoding, so that no name can end a path segment or add a parameter.
//! Spec: RFC 3986 §2.3 (what needs no encoding).

use std::fmt::{Display, Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use portreeve_types::api::PREFIX;

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Path and query of a request.
pub(crate) struct Target {
    text: String,
    has_query: bool,
}

impl Target {
    /// `path` as it is written in the API, without the version.
    pub(crate) fn new(path: &str) -> Self {
        Self { text: format!("{PREFIX}{path}"), has_query: false }
    }

    /// Outside the versions of the API.
    pub(crate) fn unversioned(path: &str) -> Self {
        Self { text: path.to_owned(), has_query: false }
    }

    /// Another segment, whatever characters it has.
    pub(crate) fn segment(mut self, segment: impl Display) -> Self {
        self.text.push('/');
        let segment = segment.to_string();
        match segment.as_str() {
            // On their own these would lead elsewhere.
            "." => self.text.push_str("%2E"),
            ".." => self.text.push_str("%2E%2E"),
            other => self.push(other),
        }
        self
    }

    /// A parameter.
    pub(crate) fn query(mut self, name: &str, value: impl Display) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(name);
        self.text.push('=');
        self.push(&value.to_string());
        self
    }

    /// A parameter that may be missing.
    pub(crate) fn maybe(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(crate) fn into_string(self) -> String {
        self.text
    }

    fn push(&mut self, text: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{}", utf8_percent_encode(text, RESERVED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_place() {
        let target = Target::new("/dns/records").segment("a/b?c#d é%").query("x", "1&y=2 +");
        let text = target.maybe("z", Some("~-._")).maybe("w", None::<u8>).into_string();
        assert_eq!(text, "/v1/dns/records/a%2Fb%3Fc%23d%20%C3%A9%25?x=1%26y%3D2%20%2B&z=~-._");
        assert_eq!(Target::new("/flows").segment("..").into_string(), "/v1/flows/%2E%2E");
        assert_eq!(Target::unversioned("/metrics").into_string(), "/metrics");
    }
}
