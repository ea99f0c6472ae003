//! Out of descriptors: clients wait, nobody is turned away, and service goes on by itself.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use portreeve_e2e::client::{connect, reset};
use portreeve_e2e::machine::{User, descriptors};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::Run;

/// Connections that the limit leaves room for.
const ROOM: usize = 2;

#[test]
fn a_listener_survives_the_limit_of_open_files() {
    isolated(|_| {
        for user in User::all() {
            for family in Family::BOTH {
                out_of_descriptors(user, family);
            }
        }
    });
}

fn out_of_descriptors(user: User, family: Family) {
    let run = Run::by(user).publish("0:80").publish("0:81").serve(&["echo@80", "echo@81"]).up();
    let (first, second) = (run.tcp(80, family), run.tcp(81, family));
    let mut served: Vec<_> = (0..4).map(|_| connect(first)).collect();
    served.iter_mut().for_each(|stream| assert!(answers(stream)));
    // The limit is on numbers, of which some below the highest may be free.
    let taken = descriptors(run.id());
    let most = (0..).filter(|number| !taken.contains(number)).nth(ROOM).unwrap();
    run.limit_open_files(most);

    let mut waiting: Vec<_> =
        (0..10).map(|at| connect(if at % 2 == 0 { first } else { second })).collect();
    run.err.find_within(Duration::from_secs(5), |line| line.contains("cannot accept")).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let answered = waiting.iter_mut().filter_map(|stream| quick(stream).then_some(())).count();
    assert!(answered <= ROOM, "{answered} answered");
    // Nobody who is served suffers.
    served.iter_mut().for_each(|stream| assert!(answers(stream)));

    // Each that goes makes room for one that waits, without a pause of its own.
    let started = Instant::now();
    served.clear();
    let soon = Instant::now() + Duration::from_secs(2);
    while waiting.iter_mut().filter_map(|stream| quick(stream).then_some(())).count() < 6 {
        assert!(Instant::now() < soon, "none of those who waited are served");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    run.limit_open_files(most + 100);
    waiting.iter_mut().for_each(|stream| assert!(answers(stream)));
    assert!(answers(&mut connect(first)) && answers(&mut connect(second)));
    drop(waiting);
    run.finish();
}

/// ECONNABORTED, or a dead connection right after accept: neither ends a listener.
#[test]
fn clients_that_vanish_at_once_harm_nobody() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["hush", "echo@80"]).up();
        for family in Family::BOTH {
            let to = run.tcp(80, family);
            for at in 0..300 {
                let stream = connect(to);
                if at % 2 == 0 {
                    reset(stream);
                }
            }
            assert!(answers(&mut connect(to)));
        }
        run.finish();
    });
}

/// One round trip within the deadline.
fn answers(stream: &mut TcpStream) -> bool {
    // Answers to those who did not wait for them come first.
    stream.write_all(b"!").unwrap();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) if byte == *b"!" => return true,
            Ok(1) => {}
            end => panic!("{end:?}"),
        }
    }
}

/// Whether an answer comes at once.
fn quick(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.write_all(b"?").unwrap();
    let answered = stream.read(&mut [0; 1]).is_ok_and(|length| length == 1);
    stream.set_read_timeout(Some(portreeve_e2e::machine::DEADLINE)).unwrap();
    answered
}
