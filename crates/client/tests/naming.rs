//! Engines found by name. A process of its own: the directory comes from the environment.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;

use portreeve_client::instance::{self, SOCKET_FILE};
use portreeve_client::{Address, Client, Error};

/// The environment of a process cannot be changed safely, so the test runs itself again.
const INNER: &str = "PORTREEVE_TEST_INNER";

#[test]
fn engines_are_found_by_name() {
    if std::env::var_os(INNER).is_some() {
        return inner();
    }
    let folder = tempfile::tempdir().expect("a directory");
    let test = std::env::current_exe().expect("this test");
    let status = Command::new(test)
        .args(["--exact", "engines_are_found_by_name", "--nocapture"])
        .env(INNER, "1")
        .env("PORTREEVE_RUNTIME_DIR", folder.path().join("made/later"))
        .status();
    assert!(status.expect("the test runs again").success());
}

fn inner() {
    let dir = instance::runtime_dir();
    assert_eq!(instance::list().expect("no directory, no engine"), []);
    let error = Client::new(&Address::Only).expect_err("none");
    assert_eq!(error.to_string(), "no engine runs");

    let serve = |name: &str| {
        fs::create_dir_all(dir.join(name)).expect("a directory");
        UnixListener::bind(dir.join(name).join(SOCKET_FILE)).expect("a socket")
    };
    let web = serve("web");
    drop(serve("gone"));
    fs::create_dir(dir.join("empty")).expect("a directory");
    fs::write(dir.join("file"), "").expect("a file");
    let _hidden = serve(".hidden");
    let names = || {
        let names = instance::list().expect("a list");
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["web"]);
    let only = Client::new(&Address::Only).expect("the only one");
    assert_eq!(only.socket(), dir.join("web/control.sock"));
    assert_eq!(only.name().map(ToString::to_string).as_deref(), Some("web"));

    let _db = serve("db");
    assert_eq!(names(), ["db", "web"]);
    let several = Client::new(&Address::Only).expect_err("two");
    assert!(matches!(&several, Error::NotOne { known } if known.len() == 2), "{several:?}");
    for name in ["gone", "wbe"] {
        let client = Client::named(&name.parse().expect("a name")).expect("a client");
        let error = client.health().expect_err("no engine");
        assert_eq!(error.to_string(), format!("no engine called `{name}` runs"));
        assert_eq!(error.help().as_deref(), Some("running are: db, web"));
    }
    // One whose queue is full still runs, and looking does not wait for it.
    let full = (0..5000).find_map(|_| instance::list().err());
    assert!(full.is_none(), "{full:?}");
    assert_eq!(names(), ["db", "web"]);
    drop(web);
}
