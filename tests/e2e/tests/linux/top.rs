//! `portreeve top` on a real engine, in a real terminal.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use portreeve_e2e::client::connect;
use portreeve_e2e::control::Place;
use portreeve_e2e::machine::{DEADLINE, User};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::program;
use portreeve_e2e::run::{Run, Running};
use portreeve_e2e::tmux::Tmux;
use rustix::process::Signal;

fn engine(place: &Place) -> Running {
    let options = ["--name", "web", "--control", place.text()];
    Run::usual().with(&options).publish("0:80").publish("0:83").serve(&["line@80", "echo@83"]).up()
}

/// Starts the view, and waits until it has looked twice.
fn watch(tmux: &Tmux, socket: &Path) {
    let portreeve = program::portreeve().display();
    tmux.types(&format!("{portreeve} top --socket {} -i 200ms", socket.display()), "Enter");
    tmux.sees("guest attached");
}

/// A client that has been answered once, and stays.
fn stay(to: std::net::SocketAddr) -> TcpStream {
    let mut client = connect(to);
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    client
}

/// Whether the connection ends by a reset.
fn is_reset(mut client: TcpStream) -> bool {
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let ended = client.read(&mut [0; 1]);
    ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn shows_flows_and_ends_what_it_is_told_to() {
    isolated(|_| {
        let Some(tmux) = Tmux::start(100, 30) else { return };
        let place = Place::of(User::usual());
        let run = engine(&place);
        let first = stay(run.tcp(83, Family::V4));
        let second = stay(run.tcp(83, Family::V6));
        watch(&tmux, place.socket());
        tmux.sees("Flows 2");
        tmux.sees(" web ");
        for client in [&first, &second] {
            tmux.sees(&client.local_addr().unwrap().to_string());
        }

        // One flow is found by its address, and killed; the other goes on.
        tmux.keys(&["/"]);
        tmux.types(&format!("{}", first.local_addr().unwrap()), "Enter");
        tmux.sees("Flows 1 of 2");
        tmux.keys(&["Down", "x"]);
        tmux.sees("Kill flow");
        tmux.keys(&["y"]);
        tmux.sees("killed tcp");
        assert!(is_reset(first));
        // As long as a row is chosen, Escape lets that go, and not the filter.
        tmux.sees("Flows 0 of 1");
        tmux.keys(&["Escape"]);
        tmux.sees("Flows 1 ·");

        // The end of the flow is an event, with who ended it.
        tmux.keys(&["5"]);
        tmux.sees("killed");

        // The port of the other is taken back, and its connection with it.
        tmux.keys(&["2"]);
        tmux.sees("Ports 4");
        tmux.keys(&["/"]);
        tmux.types("83/tcp [::1]", "Enter");
        tmux.sees("Ports 1 of 4");
        tmux.keys(&["Down", "x"]);
        tmux.sees("Unpublish port");
        tmux.sees("it has 1 connection");
        tmux.keys(&["r"]);
        tmux.sees("unpublished 83/tcp -> [::1]");
        assert!(is_reset(second));
        tmux.sees("Ports 0 of 3");
        tmux.keys(&["Escape"]);
        tmux.sees("Ports 3");

        tmux.keys(&["q"]);
        tmux.misses("Ports 3");
        assert_eq!(tmux.is_alternate(), "0");
        run.finish();
    });
}

#[test]
fn an_engine_that_goes_away_is_waited_for() {
    isolated(|_| {
        let Some(tmux) = Tmux::start(80, 24) else { return };
        let place = Place::of(User::usual());
        let run = engine(&place);
        let before = run.id();
        watch(&tmux, place.socket());
        run.signal(Signal::KILL);
        drop(run);
        tmux.sees("GONE for");
        let run = engine(&place);
        tmux.sees("guest attached");
        tmux.sees(&format!("pid {}", run.id()));
        assert_ne!(run.id(), before);
        tmux.keys(&["q"]);
        run.finish();
    });
}

#[test]
fn without_an_engine_it_says_so() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    let place = Place::of(User::usual());
    let socket = place.text();
    let portreeve = program::portreeve().display();
    tmux.types(&format!("{portreeve} top --socket {socket}; echo status $?"), "Enter");
    tmux.sees("status 1");
    let screen = tmux.screen();
    assert!(screen.contains("no engine serves its API there"), "{screen}");
    assert_eq!(tmux.is_alternate(), "0");
}
