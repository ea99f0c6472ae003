//! `cargo xtask layers`: dependencies point down only, and each layer keeps its promises.
//!
//! `rules.rs` holds the rules as data; `dependencies.rs` checks them against what cargo
//! reports, `sources.rs` against the source text.

mod dependencies;
mod rules;
mod sources;

use std::path::Path;

use cargo_metadata::MetadataCommand;

use crate::{source, violation};

/// Checks the workspace below `root`.
pub(crate) fn run(root: &Path) -> Result<String, String> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .exec()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let mut violations =
        dependencies::check(&metadata, |package| dependencies::cargo_tree(root, package))?;
    violations.extend(sources::check(&source::files(root)?));
    violation::report("layers", violations)
}
