//! Checks the dependency graph that `cargo metadata` reports against the rules.

use std::{collections::HashSet, env, path::Path, process::Command};

use cargo_metadata::{Dependency, DependencyKind, Metadata, Package};

use super::rules::{Ban, DEV_ONLY, DEV_ONLY_REASON, DEV_ONLY_USERS, EXTERNALS, LAYERS, Layer};
use crate::violation::Violation;

/// Every broken dependency rule. `tree` gives, for one package, the output of [`cargo_tree`].
pub(super) fn check(
    metadata: &Metadata,
    tree: impl Fn(&str) -> Result<String, String>,
) -> Result<Vec<Violation>, String> {
    let workspace = metadata.workspace_packages();
    let names: HashSet<&str> = workspace.iter().map(|package| package.name.as_str()).collect();
    let mut violations = Vec::new();
    for package in &workspace {
        layer(metadata, package, &names, &mut violations);
    }
    for external in EXTERNALS {
        match external.ban {
            Ban::Below(layers) => {
                for package in workspace.iter().filter(|p| layers.contains(&p.name.as_str())) {
                    for chain in chains(&tree(&package.name)?, external.packages) {
                        violations.push(Violation {
                            message: format!("depends on {chain}"),
                            ..at(metadata, package, external.reason)
                        });
                    }
                }
            }
            Ban::OnlyIn(users) => {
                for package in workspace.iter().filter(|p| !users.contains(&p.name.as_str())) {
                    let banned = |d: &&Dependency| matches(external.packages, &d.name);
                    for dependency in package.dependencies.iter().filter(banned) {
                        violations.push(Violation {
                            message: format!("depends on {}", dependency.name),
                            ..at(metadata, package, external.reason)
                        });
                    }
                }
            }
            Ban::Everywhere => {
                for package in &metadata.packages {
                    if matches(external.packages, &package.name) {
                        violations.push(Violation {
                            file: "Cargo.lock".to_owned(),
                            line: 0,
                            message: format!(
                                "{} {} is in the graph",
                                package.name, package.version
                            ),
                            reason: external.reason.to_owned(),
                        });
                    }
                }
            }
        }
    }
    Ok(violations)
}

/// What a package brings along when it is used by itself. `cargo metadata` cannot tell: it shows
/// every package with the features that some other crate of the workspace has switched on.
pub(super) fn cargo_tree(root: &Path, package: &str) -> Result<String, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "depth"])
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Checks one crate's edges to other crates of the workspace.
fn layer(
    metadata: &Metadata,
    package: &Package,
    workspace: &HashSet<&str>,
    violations: &mut Vec<Violation>,
) {
    let name = package.name.as_str();
    let Some(Layer { may_use, reason, .. }) = LAYERS.iter().find(|layer| layer.name == name) else {
        violations.push(Violation {
            message: format!("{name} has no row among the layers"),
            ..at(metadata, package, "give every crate its place in xtask/src/layers/rules.rs")
        });
        return;
    };
    for dependency in &package.dependencies {
        let target = dependency.name.as_str();
        if !workspace.contains(target) || target == name {
            continue;
        }
        let is_dev = dependency.kind == DependencyKind::Development;
        if target == DEV_ONLY {
            if !is_dev && !DEV_ONLY_USERS.contains(&name) {
                violations.push(Violation {
                    message: format!("{name} depends on {target} outside [dev-dependencies]"),
                    ..at(metadata, package, DEV_ONLY_REASON)
                });
            }
        } else if may_use.is_some_and(|may_use| !may_use.contains(&target)) {
            let section = if is_dev { " (dev)" } else { "" };
            violations.push(Violation {
                message: format!("{name} may not depend on {target}{section}"),
                ..at(metadata, package, reason)
            });
        }
    }
}

fn at(metadata: &Metadata, package: &Package, reason: &str) -> Violation {
    let manifest = &package.manifest_path;
    let file = manifest.strip_prefix(&metadata.workspace_root).unwrap_or(manifest);
    Violation { file: file.to_string(), line: 0, message: String::new(), reason: reason.to_owned() }
}

fn matches(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *pattern == name,
    })
}

/// The way to each banned package in the output of `cargo tree --prefix depth`, as `a → b → c`.
fn chains(tree: &str, banned: &[&str]) -> Vec<String> {
    let mut way: Vec<&str> = Vec::new();
    let mut chains = Vec::new();
    for line in tree.lines() {
        // `2libc v0.2.1 (*)`: depth and name, for a name never starts with a digit.
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let Ok(depth) = line[..line.len() - rest.len()].parse::<usize>() else { continue };
        let name = rest.split_whitespace().next().unwrap_or_default();
        way.truncate(depth);
        let inside_banned = way.iter().any(|above| matches(banned, above));
        way.push(name);
        if !inside_banned && matches(banned, name) {
            chains.push(way.join(" → "));
        }
    }
    chains
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A workspace as `cargo metadata` would print it: (name, [(dependency, kind)]), and the
    /// names of packages from outside.
    fn metadata(packages: &[(&str, &[(&str, &str)])], outside: &[&str]) -> Metadata {
        let package = |name: &str, dependencies: Vec<Value>| {
            json!({
                "name": name, "version": "1.0.0", "id": name, "license": null, "source": null,
                "dependencies": dependencies, "targets": [], "features": {},
                "manifest_path": format!("/w/crates/{name}/Cargo.toml"), "edition": "2024",
            })
        };
        let dependency = |(to, kind): &(&str, &str)| {
            json!({"name": to, "req": "*", "kind": kind, "optional": false,
                   "uses_default_features": true, "features": [], "target": null,
                   "rename": null, "registry": null, "source": null})
        };
        let ours =
            packages.iter().map(|(name, to)| package(name, to.iter().map(dependency).collect()));
        let theirs = outside.iter().map(|name| package(name, Vec::new()));
        let listed: Vec<_> = ours.chain(theirs).collect();
        let members: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
        serde_json::from_value(json!({
            "packages": listed, "workspace_members": members, "workspace_default_members": members,
            "resolve": null, "target_directory": "/w/target", "workspace_root": "/w",
            "version": 1, "metadata": null,
        }))
        .expect("the shape of cargo metadata")
    }

    fn messages(metadata: &Metadata, tree: &str) -> Vec<String> {
        let found = check(metadata, |_| Ok(tree.to_owned())).expect("a tree");
        found.into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn downward_edges_pass() {
        let graph = metadata(
            &[
                ("portreeve-core", &[("portreeve-types", "normal"), ("portreeve-testkit", "dev")]),
                ("portreeve-types", &[("serde", "normal")]),
                ("portreeve-testkit", &[("portreeve-core", "normal")]),
            ],
            &["serde"],
        );
        assert_eq!(
            messages(&graph, "0portreeve-core v0.1.0\n1serde v1.0.0\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn upward_edges_fail() {
        let graph = metadata(
            &[
                ("portreeve-types", &[("portreeve-core", "normal")]),
                ("portreeve-core", &[("portreeve-testkit", "normal")]),
                ("portreeve-testkit", &[]),
                ("portreeve-sandbox", &[("portreeve-core", "dev")]),
                ("portreeve-novel", &[]),
            ],
            &[],
        );
        let found = messages(&graph, "");
        for expected in [
            "portreeve-types may not depend on portreeve-core",
            "portreeve-core depends on portreeve-testkit outside [dev-dependencies]",
            "portreeve-sandbox may not depend on portreeve-core (dev)",
            "portreeve-novel has no row among the layers",
        ] {
            assert!(found.iter().any(|message| message == expected), "{expected}: {found:?}");
        }
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn bans_reach_through_other_packages() {
        let graph = metadata(
            &[
                ("portreeve-core", &[("helper", "normal"), ("libc", "normal")]),
                ("portreeve-link", &[("mio", "normal")]),
            ],
            &["helper", "libc", "mio", "openssl-sys", "socket2"],
        );
        let tree = "0portreeve-core v0.1.0\n1helper v1.0.0\n2socket2 v0.6.0\n1libc v0.2.0\n";
        assert_eq!(
            messages(&graph, tree),
            [
                "depends on portreeve-core → helper → socket2",
                "depends on libc",
                "depends on mio",
                "openssl-sys 1.0.0 is in the graph",
            ]
        );
    }

    #[test]
    fn a_chain_ends_with_the_first_banned_package() {
        let tree = "0a v1\n1rustix v1\n2libc v1\n2bitflags v2\n1b v1\n2libc v1 (*)\n";
        assert_eq!(chains(tree, &["rustix", "libc"]), ["a → rustix", "a → b → libc"]);
    }
}
