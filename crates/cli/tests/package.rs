//! What a package is made of is there, or is made.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Manifest {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    deb: Deb,
}

#[derive(Deserialize)]
struct Deb {
    assets: Vec<[String; 3]>,
    #[serde(rename = "license-file")]
    license_file: [String; 2],
}

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn deb() -> Deb {
    let text = std::fs::read_to_string(here().join("Cargo.toml")).expect("the manifest");
    let manifest: Manifest = toml::from_str(&text).expect("[package.metadata.deb]");
    manifest.package.metadata.deb
}

/// Whether a path, which may have a `*` in its name, leads anywhere.
fn is_there(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let Some((before, after)) = name.split_once('*') else { return path.exists() };
    let folder = std::fs::read_dir(path.parent().expect("a folder"));
    let mut names = folder.into_iter().flatten().flatten().map(|file| file.file_name());
    names.any(|name| {
        let name = name.to_string_lossy();
        name.starts_with(before) && name.ends_with(after)
    })
}

#[test]
fn everything_in_the_package_is_there_or_is_made() {
    let dist = tempfile::tempdir().expect("a directory");
    let made = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "-p", "xtask", "--", "dist"])
        .args(["--program", env!("CARGO_BIN_EXE_portreeve")])
        .arg("--out")
        .arg(dist.path())
        .current_dir(here())
        .status()
        .expect("cargo");
    assert!(made.success());
    let deb = deb();
    assert!(here().join(&deb.license_file[0]).exists());
    for [source, _, mode] in &deb.assets {
        assert!(mode == "644" || mode == "755", "{source}: {mode}");
        let path = match source.strip_prefix("../../target/dist/") {
            Some(made) => dist.path().join(made),
            // The command itself.
            None if source.starts_with("target/") => continue,
            None => here().join(source),
        };
        assert!(is_there(&path), "{source}");
    }
}
