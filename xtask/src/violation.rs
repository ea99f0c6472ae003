//! One broken rule: where, what, and why the rule exists. The only thing the checks hand back.

use std::fmt;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// File, or manifest, relative to the workspace root.
    pub(crate) file: String,
    /// 1-based line; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// What was found.
    pub(crate) message: String,
    /// Why the rule exists and what to do instead.
    pub(crate) reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}\n    reason: {}", self.message, self.reason)
    }
}

/// Turns the list of a check into its result: a line of success, or every violation.
pub(crate) fn report(check: &str, mut violations: Vec<Violation>) -> Result<String, String> {
    if violations.is_empty() {
        return Ok(format!("{check}: ok"));
    }
    violations.sort();
    violations.dedup();
    let mut text = String::new();
    for violation in &violations {
        text.push_str(&format!("{violation}\n"));
    }
    text.push_str(&format!("{check}: {} violation(s)", violations.len()));
    Err(text)
}
