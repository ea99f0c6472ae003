//! The view in a real terminal: `tmux` is the terminal, and what it shows is looked at.
//!
//! The engine is the canned one of `examples/canned.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "what a test's own helpers cannot do fails the test, and what is skipped is said"
)]

#[path = "../../../tests/e2e/src/tmux.rs"]
#[expect(unreachable_pub, reason = "it is public where it is at home")]
mod tmux;

use std::process::Command;

use tmux::Tmux;

/// The view of the canned engine.
fn canned() -> String {
    // Beside this test: target/debug/deps/terminal-… and target/debug/examples/canned.
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/canned");
    assert!(path.exists(), "build the example too: cargo build -p portreeve-top --examples");
    path.into_os_string().into_string().unwrap()
}

/// How a shell starts the view, and says what it left of the terminal.
fn script(view: &str) -> String {
    format!("stty -a >before; {view}; stty -a >after; cmp before after && echo terminal as before")
}

#[test]
fn shows_obeys_and_gives_the_terminal_back() {
    let Some(tmux) = Tmux::start(100, 30) else { return };
    tmux.types(&script(&format!("{} 40", canned())), "Enter");
    tmux.sees("guest attached");
    tmux.sees("Flows 45");
    tmux.sees("12.3 MB");
    assert_eq!(tmux.is_alternate(), "1");

    tmux.keys(&["3"]);
    tmux.sees("source_mac");
    tmux.keys(&["1", "/"]);
    tmux.types("tcp mirror", "Enter");
    tmux.sees("Flows 1 of 45");
    tmux.keys(&["Down", "x"]);
    tmux.sees("Kill flow 2.1?");
    tmux.keys(&["y"]);
    tmux.sees("killed tcp 10.0.2.15:40112");
    tmux.sees("no flow matches the filter");
    // A key that follows Escape at once is one with Alt.
    tmux.keys(&["Escape"]);
    tmux.sees("Flows 44");
    tmux.keys(&["2", "Down", "x"]);
    tmux.sees("Unpublish port 1?");
    tmux.keys(&["d"]);
    tmux.sees("unpublished 80/tcp -> 127.0.0.1:8080");
    tmux.sees("Ports 3");

    tmux.keys(&["q"]);
    tmux.sees("ended: Quit");
    tmux.sees("terminal as before");
    assert_eq!(tmux.is_alternate(), "0");
}

#[test]
fn follows_the_size_of_the_terminal() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    tmux.types(&format!("{} 4", canned()), "Enter");
    tmux.sees("ACTIVITY");
    assert!(!tmux.screen().contains("STATE"), "{}", tmux.screen());
    tmux.resize(140, 50);
    tmux.sees("STATE");
    tmux.sees("Events the last");
    tmux.resize(20, 6);
    tmux.sees("RATE/s");
    tmux.resize(80, 24);
    tmux.sees("ACTIVITY");
}

#[test]
fn a_signal_ends_it_and_leaves_the_terminal_as_it_was() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3)] {
        let view = format!("sh -c 'echo $$ >pid; exec {} 1'", canned());
        tmux.types(&script(&view), "Enter");
        tmux.sees("Flows 6");
        let pid = std::fs::read_to_string(tmux.directory().join("pid")).unwrap();
        let killed = Command::new("kill").args([&format!("-{name}"), pid.trim()]).status();
        assert!(killed.unwrap().success());
        tmux.sees(&format!("ended: Signal({number})"));
        tmux.sees("terminal as before");
        assert_eq!(tmux.is_alternate(), "0");
        tmux.types("clear; rm before after", "Enter");
        tmux.misses("terminal as before");
    }
}

#[test]
fn it_ends_with_its_terminal() {
    // Gone altogether, as when a window is closed: there is nothing to read, for ever.
    let Some(tmux) = Tmux::start(80, 24) else { return };
    tmux.types(&format!("sh -c 'echo $$ >pid; trap \"\" HUP; exec {} 1'", canned()), "Enter");
    tmux.sees("Flows 6");
    let pid = std::fs::read_to_string(tmux.directory().join("pid")).unwrap();
    let process = std::path::Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    drop(tmux);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while process.exists() {
        assert!(std::time::Instant::now() < until, "{} goes on", process.display());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_panic_leaves_the_terminal_as_it_was() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    tmux.types(&script(&format!("RUST_BACKTRACE=0 {} 1 panic", canned())), "Enter");
    tmux.sees("Flows 6");
    tmux.sees("asked to");
    tmux.sees("error: the thread that asks the engine has panicked");
    tmux.sees("terminal as before");
    assert_eq!(tmux.is_alternate(), "0");
}

#[test]
fn an_engine_that_goes_away_is_waited_for() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    tmux.types(&format!("{} 1 gone", canned()), "Enter");
    tmux.sees("guest attached");
    tmux.sees("GONE for");
    tmux.sees("connection refused");
    tmux.sees("guest attached");
}

#[test]
fn control_z_stops_it_and_fg_brings_it_back() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    tmux.types(&format!("{} 1", canned()), "Enter");
    tmux.sees("Flows 6");
    tmux.keys(&["C-z"]);
    tmux.misses("Flows 6");
    assert_eq!(tmux.is_alternate(), "0");
    tmux.types("echo in the $((40 + 2))nd shell", "Enter");
    tmux.sees("in the 42nd shell");
    tmux.types("fg", "Enter");
    tmux.sees("Flows 6");
    tmux.keys(&["q"]);
    tmux.sees("ended: Quit");
}

#[test]
fn colours_and_letters_are_as_the_environment_says() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    tmux.types(&format!("LC_ALL=C NO_COLOR=1 {} 1", canned()), "Enter");
    tmux.sees("12.3 MB");
    let styled = tmux.styled_screen();
    assert!(styled.is_ascii(), "{styled}");
    assert!(!styled.contains("\x1b[38;") && !styled.contains("\x1b[3;"), "{styled:?}");
    for color in 30..38 {
        assert!(!styled.contains(&format!("\x1b[{color}m")), "{styled:?}");
    }
    tmux.keys(&["q"]);
    tmux.sees("ended: Quit");

    tmux.types(&format!("LC_ALL=C.UTF-8 {} 1", canned()), "Enter");
    tmux.sees("█");
    let styled = tmux.styled_screen();
    let colors = ["\x1b[36m", "\x1b[38;5;6m"];
    assert!(colors.iter().any(|color| styled.contains(color)), "{styled:?}");
}

#[test]
fn where_there_is_no_terminal_it_says_so() {
    let output = Command::new(canned()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no terminal"), "{said}");
}
