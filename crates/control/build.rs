//! Lists the page's files, so that they are in the program: `ui/*` by name and content.
//!
//! Nothing is built from them: what is in the directory is what is served.

use std::path::Path;
use std::{env, fs, io};

/// What a browser loads. Other files (tests, notes) are not served.
const SERVED: [&str; 4] = ["html", "js", "css", "svg"];

fn main() -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui");
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        let served =
            path.extension().is_some_and(|kind| SERVED.iter().any(|served| kind == *served));
        if served && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut table = String::from("&[\n");
    for path in files {
        let name = path.file_name().unwrap_or_default();
        table += &format!("    ({name:?}, include_bytes!({path:?})),\n");
    }
    table += "]\n";
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("ui.rs"), table)
}
