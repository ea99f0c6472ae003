//! An `/etc` for `portreeve` alone, so that its resolvers can be changed while it runs.
//!
//! Owns a directory with the few files that programs cannot do without. Never touches the real one.

use std::fs;
use std::path::Path;

use crate::run::open_directory;

/// The directory, removed in the end.
#[derive(Debug)]
pub struct Etc(tempfile::TempDir);

const FILES: [&str; 8] = [
    "passwd",
    "group",
    "nsswitch.conf",
    "hosts",
    "host.conf",
    "ld.so.cache",
    "services",
    "protocols",
];

impl Etc {
    /// With this `resolv.conf`.
    pub fn with_resolvers(text: &str) -> Self {
        let etc = Self(open_directory());
        for file in FILES {
            // Some machines have not all of them.
            let _ = fs::copy(Path::new("/etc").join(file), etc.path().join(file));
        }
        etc.rewrite(text);
        etc
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes over `resolv.conf`.
    pub fn rewrite(&self, text: &str) {
        fs::write(self.path().join("resolv.conf"), text).unwrap();
    }

    /// Puts another file in the place of `resolv.conf`, as most programs do.
    pub fn replace(&self, text: &str) {
        let new = self.path().join("resolv.conf.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path().join("resolv.conf")).unwrap();
    }
}
