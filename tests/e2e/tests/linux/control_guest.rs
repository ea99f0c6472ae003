//! The guest never reaches the control API, and neither does another user.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use portreeve_e2e::control::{Api, Place};
use portreeve_e2e::machine::{ORDINARY_UID, User, am_root, eventually, has_tool};
use portreeve_e2e::network::isolated;
use portreeve_e2e::run::Run;

/// Where the engine of this name has its socket when nothing else is said.
fn usual_socket(user: User, name: &str) -> PathBuf {
    let directory = match user {
        User::Root => PathBuf::from("/run/portreeve"),
        User::Ordinary if am_root() => format!("/tmp/portreeve-{ORDINARY_UID}").into(),
        User::Ordinary => format!("/tmp/portreeve-{}", rustix::process::geteuid().as_raw()).into(),
    };
    directory.join(name).join("control.sock")
}

/// A name that no other test takes.
fn name(word: &str) -> String {
    format!("e2e-{word}-{}", std::process::id())
}

#[test]
fn the_usual_socket_is_there_for_its_user_and_gone_in_the_end() {
    isolated(|_| {
        for user in User::all() {
            let name = name("usual");
            let socket = usual_socket(user, &name);
            let run = Run::by(user).with(&["--name", &name]).serve(&["line@80"]).up();
            let health = Api::at(&socket).get("/v1/health");
            assert_eq!((&health["name"], &health["mode"]), (&name.clone().into(), &"run".into()));
            assert_eq!(health["pid"], run.id());
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode(&socket), 0o600);
            assert_eq!(mode(socket.parent().unwrap()), 0o700);
            assert_eq!(mode(socket.parent().unwrap().parent().unwrap()), 0o700);
            // The name is taken, and whoever chose it is to know.
            let second = Run::by(user).with(&["--name", &name]).command(&["true"]).outcome();
            assert_eq!(second.code, Some(125), "{second:?}");
            let taken = format!("the name {name} is taken by process {}", run.id());
            assert!(second.err.contains(&taken), "{}", second.err);
            run.finish();
            assert!(!socket.parent().unwrap().exists(), "left behind");
        }
    });
}

#[test]
fn what_a_killed_engine_left_is_replaced() {
    isolated(|_| {
        let user = User::usual();
        let name = name("stale");
        let socket = usual_socket(user, &name);
        let run = Run::by(user).with(&["--name", &name]).serve(&["line@80"]).up();
        Api::at(&socket).get("/v1/health");
        run.signal(rustix::process::Signal::KILL);
        drop(run);
        assert!(socket.exists(), "nobody was there to remove it");
        let run = Run::by(user).with(&["--name", &name]).serve(&["line@80"]).up();
        assert_eq!(Api::at(&socket).get("/v1/health")["pid"], run.id());
        run.finish();
        assert!(!socket.exists());
    });
}

#[test]
fn a_guest_finds_no_way_to_the_usual_socket() {
    isolated(|_| {
        for user in User::all() {
            let name = name("hidden");
            let socket = usual_socket(user, &name);
            let path = socket.to_str().unwrap();
            let run = Run::by(user).with(&["--name", &name]);
            let guest = run.guest_program();
            let outcome = run.command(&[&guest, "intrude", path]).outcome();
            check(&outcome.out);
            let path_line = outcome.out.lines().next().unwrap_or_default();
            assert!(path_line.contains("No such file"), "not hidden: {path_line}");
        }
    });
}

#[test]
fn a_guest_that_sees_the_socket_is_refused_by_its_network() {
    isolated(|_| {
        for user in User::all() {
            let place = Place::of(user);
            let run = Run::by(user).with(&["--control", place.text()]);
            let guest = run.guest_program();
            let outcome = run.command(&[&guest, "intrude", place.text()]).outcome();
            check(&outcome.out);
            assert!(outcome.out.starts_with("path: HTTP/1.1 403 "), "{}", outcome.out);
        }
    });
}

/// No way led to an answer that says anything.
fn check(said: &str) {
    assert!(said.ends_with("done\n"), "{said}");
    for line in said.lines() {
        assert!(!line.contains(" 200 "), "the guest got in: {said}");
    }
    assert!(said.contains("listed: 0\n"), "{said}");
    assert!(said.contains("abstract: Connection refused"), "{said}");
}

#[test]
fn another_user_is_refused_even_at_an_open_socket() {
    if !am_root() || !has_tool("setpriv", "util-linux") || !has_tool("curl", "curl") {
        return;
    }
    isolated(|_| {
        let place = Place::of(User::Root);
        let run = Run::by(User::Root).with(&["--control", place.text()]).serve(&["line@80"]).up();
        let api = place.api();
        api.get("/v1/health");
        let ask = || {
            let mut curl = Command::new("setpriv");
            curl.args(["--reuid", "61002", "--regid", "61002", "--clear-groups", "curl", "-s"]);
            curl.args(["--max-time", "10", "--unix-socket", place.text(), "http://x/v1/health"]);
            String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned()
        };
        assert_eq!(ask(), "", "the directory keeps others out");
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(place.socket().parent().unwrap(), 0o755);
        open(place.socket(), 0o666);
        let answer = ask();
        assert!(answer.contains("urn:portreeve:problem:forbidden"), "{answer:?}");
        assert!(answer.contains("user 61002"), "{answer}");
        // Nothing follows a refusal: the connection is closed.
        let mut stream = api.connect();
        stream
            .write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        run.finish();
    });
}

#[test]
fn a_place_that_is_open_to_others_is_refused() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let directory = place.socket().parent().unwrap();
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let run = Run::usual().with(&["--control", place.text()]).command(&["true"]);
        let outcome = run.outcome();
        assert_eq!(outcome.code, Some(125));
        assert!(outcome.err.contains("mode 0755"), "{}", outcome.err);
    });
}

#[test]
fn without_a_place_the_command_runs_all_the_same() {
    isolated(|_| {
        let outcome = Run::usual().with(&["--control", "none"]).command(&["true"]).outcome();
        assert_eq!((outcome.code, &*outcome.err), (Some(0), ""));
        let mut launcher = Run::usual().command(&["true"]).launcher();
        let output = launcher.env("PORTREEVE_RUNTIME_DIR", "/proc/portreeve").output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{err}");
        assert!(err.contains("warning") && err.contains("/proc/portreeve"), "{err}");
        assert!(output.stdout.is_empty());
    });
}

#[test]
fn the_page_is_for_whoever_has_the_token() {
    isolated(|_| {
        let ui = ["--ui", "127.0.0.1:0"];
        let run = Run::usual().with(&ui).with(&["--control", "none"]).serve(&["line@80"]).up();
        let mut page = String::new();
        eventually("the page's address is told", || {
            let err = run.err.so_far();
            page =
                err.lines().find_map(|line| line.split_once("page: ")).unwrap_or(("", "")).1.into();
            !page.is_empty()
        });
        let (address, token) = page.split_once("/ui/?token=").unwrap();
        let address = address.strip_prefix("http://").unwrap().to_owned();
        let ask = |head: &str| {
            let mut stream = std::net::TcpStream::connect(&address).unwrap();
            stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let host = format!("host: {address}\r\n");
        let bearer = format!("authorization: Bearer {token}\r\n");
        let health = "GET /v1/health HTTP/1.1\r\n";
        for (head, status) in [
            (format!("{health}{host}{bearer}"), "200"),
            (format!("{health}{host}"), "401"),
            (format!("{health}{host}authorization: Bearer {}\r\n", "0".repeat(32)), "401"),
            (format!("{health}host: evil.test\r\n{bearer}"), "403"),
            (format!("{health}{host}{bearer}origin: http://evil.test\r\n"), "403"),
            (format!("GET /ui/ HTTP/1.1\r\n{host}"), "401"),
            (format!("GET /ui/?token={token} HTTP/1.1\r\n{host}"), "200"),
            (format!("GET /metrics HTTP/1.1\r\n{host}"), "401"),
        ] {
            let answer = ask(&head);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        }
        let page = ask(&format!("GET /ui/?token={token} HTTP/1.1\r\n{host}"));
        let cookie = page.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        assert!(page.contains("content-security-policy: default-src 'self'"), "{page}");
        let cookie = cookie.split(';').next().unwrap();
        let with_cookie =
            |path: &str| ask(&format!("GET {path} HTTP/1.1\r\n{host}cookie: {cookie}\r\n"));
        assert!(with_cookie("/ui/app.js").starts_with("HTTP/1.1 200 "));
        assert!(with_cookie("/v1/health").starts_with("HTTP/1.1 401 "), "a cookie is no token");
        run.finish();
        let refused = Run::usual().with(&["--ui", "0.0.0.0:0"]).command(&["true"]).outcome();
        assert_eq!(refused.code, Some(125));
        assert!(refused.err.contains("loopback"), "{}", refused.err);
    });
}
