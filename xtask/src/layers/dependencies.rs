//! Checks the dependency graph that `cargo metadata` reports against the rules.

use std::collections::{HashMap, HashSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

use super::rules::{Ban, DEV_ONLY, DEV_ONLY_REASON, DEV_ONLY_USERS, EXTERNALS, LAYERS, Layer};
use crate::violation::Violation;

/// Every broken dependency rule.
pub(super) fn check(metadata: &Metadata) -> Vec<Violation> {
    let workspace = metadata.workspace_packages();
    let names: HashSet<&str> = workspace.iter().map(|package| package.name.as_str()).collect();
    let mut violations = Vec::new();
    for package in &workspace {
        layer(metadata, package, &names, &mut violations);
    }
    let graph = Graph::new(metadata);
    for external in EXTERNALS {
        match external.ban {
            Ban::Below(layers) => {
                for package in workspace.iter().filter(|p| layers.contains(&p.name.as_str())) {
                    for chain in graph.chains(package, external.packages) {
                        violations.push(Violation {
                            message: format!("depends on {chain}"),
                            ..at(metadata, package, external.reason)
                        });
                    }
                }
            }
            Ban::OnlyIn(users) => {
                for package in &workspace {
                    let may = users.contains(&package.name.as_str());
                    for dependency in package.dependencies.iter().filter(|_| !may) {
                        if matches(external.packages, &dependency.name) {
                            violations.push(Violation {
                                message: format!("depends on {}", dependency.name),
                                ..at(metadata, package, external.reason)
                            });
                        }
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
    violations
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

/// What ships: the resolved graph without development edges.
struct Graph<'a> {
    names: HashMap<&'a PackageId, &'a str>,
    edges: HashMap<&'a PackageId, Vec<&'a PackageId>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        let names = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
        let mut edges: HashMap<_, Vec<_>> = HashMap::new();
        for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
            for dependency in &node.deps {
                if dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                    edges.entry(&node.id).or_default().push(&dependency.pkg);
                }
            }
        }
        Self { names, edges }
    }

    /// The shortest way to each banned package, as `a → b → c`.
    fn chains(&self, from: &'a Package, banned: &[&str]) -> Vec<String> {
        let mut chains = Vec::new();
        let mut seen = HashSet::from([&from.id]);
        let mut queue = VecDeque::from([(&from.id, from.name.to_string())]);
        while let Some((id, chain)) = queue.pop_front() {
            for next in self.edges.get(id).into_iter().flatten() {
                if !seen.insert(*next) {
                    continue;
                }
                let name = self.names.get(next).copied().unwrap_or_default();
                let chain = format!("{chain} → {name}");
                if matches(banned, name) {
                    chains.push(chain);
                } else {
                    queue.push_back((*next, chain));
                }
            }
        }
        chains
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A workspace as `cargo metadata` would print it: (name, [(dependency, kind)]).
    fn metadata(packages: &[(&str, &[(&str, &str)])], outside: &[(&str, &[&str])]) -> Metadata {
        let package = |name: &str, dependencies: Vec<Value>| {
            json!({
                "name": name, "version": "1.0.0", "id": name, "license": null, "source": null,
                "dependencies": dependencies, "targets": [], "features": {},
                "manifest_path": format!("/w/crates/{name}/Cargo.toml"), "edition": "2024",
            })
        };
        let mut listed = Vec::new();
        let mut nodes = Vec::new();
        for (name, dependencies) in packages {
            listed.push(package(
                name,
                dependencies
                    .iter()
                    .map(|(to, kind)| {
                        json!({"name": to, "req": "*", "kind": kind, "optional": false,
                               "uses_default_features": true, "features": [], "target": null,
                               "rename": null, "registry": null, "source": null})
                    })
                    .collect(),
            ));
            let deps: Vec<_> = dependencies
                .iter()
                .map(|(to, kind)| {
                    json!({"name": to, "pkg": to, "dep_kinds": [{"kind": kind, "target": null}]})
                })
                .collect();
            nodes.push(json!({"id": name, "dependencies": [], "deps": deps, "features": []}));
        }
        for (name, dependencies) in outside {
            listed.push(package(name, Vec::new()));
            let deps: Vec<_> = dependencies
                .iter()
                .map(|to| {
                    json!({"name": to, "pkg": to, "dep_kinds": [{"kind": null, "target": null}]})
                })
                .collect();
            nodes.push(json!({"id": name, "dependencies": [], "deps": deps, "features": []}));
        }
        let members: Vec<_> = packages.iter().map(|(name, _)| *name).collect();
        serde_json::from_value(json!({
            "packages": listed, "workspace_members": members, "workspace_default_members": members,
            "resolve": {"nodes": nodes, "root": null}, "target_directory": "/w/target",
            "workspace_root": "/w", "version": 1, "metadata": null,
        }))
        .expect("the shape of cargo metadata")
    }

    fn messages(metadata: &Metadata) -> Vec<String> {
        check(metadata).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn downward_edges_pass() {
        let graph = metadata(
            &[
                ("portreeve-core", &[("portreeve-types", "normal"), ("portreeve-testkit", "dev")]),
                ("portreeve-types", &[("serde", "normal")]),
                ("portreeve-testkit", &[("portreeve-core", "normal")]),
            ],
            &[("serde", &[])],
        );
        assert_eq!(messages(&graph), Vec::<String>::new());
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
        let found = messages(&graph);
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
                ("portreeve-core", &[("helper", "normal")]),
                ("portreeve-link", &[("mio", "normal")]),
            ],
            &[("helper", &["libc"]), ("libc", &[]), ("mio", &[]), ("openssl-sys", &[])],
        );
        assert_eq!(
            messages(&graph),
            [
                "depends on portreeve-core → helper → libc",
                "depends on mio",
                "openssl-sys 1.0.0 is in the graph",
            ]
        );
    }
}
