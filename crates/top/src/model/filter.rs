//! What the user wants to see: words, all of which a row must contain.

/// Words in lower case; a row passes if it contains every one of them. None: all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    text: String,
    words: Vec<String>,
}

impl Filter {
    /// What the user has typed.
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.trim().to_owned(),
            words: text.split_whitespace().map(str::to_lowercase).collect(),
        }
    }

    /// Whether a row with this text, in lower case, passes.
    pub(crate) fn passes(&self, lowercase: &str) -> bool {
        self.words.iter().all(|word| lowercase.contains(word.as_str()))
    }

    /// Whether it lets everything pass.
    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// As the user typed it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_must_be_there_in_any_order_and_case() {
        let row = "tcp 10.0.2.15:40112 example.org:443 relaying";
        for (filter, passes) in [
            ("", true),
            ("  ", true),
            ("tcp", true),
            ("TCP", true),
            ("443 tcp", true),
            ("ample.or", true),
            ("udp", false),
            ("tcp udp", false),
        ] {
            assert_eq!(Filter::new(filter).passes(row), passes, "{filter:?}");
        }
        assert!(Filter::new(" ").is_empty());
        assert_eq!(Filter::new(" a b ").text(), "a b");
    }
}
