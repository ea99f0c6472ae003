//! Whether the host's name servers answer.
//!
//! Owns one question to each, all at once and bounded in time. Asks for the name servers of the
//! root: every resolver knows them or knows whom to ask. Spec: RFC 1035 §4.1.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take. Nobody waits longer for a page.
const PATIENCE: Duration = Duration::from_secs(1);
/// glibc asks three; this many are asked here.
pub(super) const MOST: usize = 8;

/// What came of asking one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An answer, after this long.
    Answered(Duration),
    /// It answered that it could not find out (SERVFAIL).
    ServerFailure,
    /// None, and why.
    Nothing(String),
}

/// Asks the first servers of a list at the same time.
pub(super) fn ask(servers: &[SocketAddr]) -> Vec<(SocketAddr, Answer)> {
    thread::scope(|scope| {
        let asked: Vec<_> = servers
            .iter()
            .take(MOST)
            .map(|&server| (server, scope.spawn(move || ask_one(server))))
            .collect();
        let answer = |thread: thread::ScopedJoinHandle<'_, Answer>| {
            thread.join().unwrap_or_else(|_| Answer::Nothing("asking failed".to_owned()))
        };
        asked.into_iter().map(|(server, thread)| (server, answer(thread))).collect()
    })
}

fn ask_one(server: SocketAddr) -> Answer {
    match exchange(server) {
        Ok(answer) => answer,
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {
            Answer::Nothing(format!("no answer within {} s", PATIENCE.as_secs()))
        }
        Err(error) => Answer::Nothing(error.to_string()),
    }
}

fn exchange(server: SocketAddr) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // So that a refusal (ICMP) is an error of this socket, and only this server is heard.
    socket.connect(server)?;
    let began = Instant::now();
    let question = question(std::process::id() as u16);
    socket.send(&question)?;
    let mut buf = [0; 1500];
    loop {
        let left = PATIENCE.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buf)?;
        match response_code(&question, &buf[..length]) {
            Some(SERVFAIL) => return Ok(Answer::ServerFailure),
            Some(_) => return Ok(Answer::Answered(began.elapsed())),
            // Not to this question.
            None => {}
        }
    }
}

/// `. IN NS`, recursion desired.
fn question(id: u16) -> [u8; 17] {
    let [a, b] = id.to_be_bytes();
    [a, b, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]
}

/// The code of the response to this question; `None` when it is something else.
fn response_code(question: &[u8; 17], message: &[u8]) -> Option<u8> {
    let head = message.first_chunk::<12>()?;
    let answers = head[..2] == question[..2] && head[2] & 0x80 != 0;
    answers.then_some(head[3] & 0x0f)
}

const SERVFAIL: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// A server on loopback that answers one question with these flags.
    fn server(flags: Option<[u8; 2]>) -> (SocketAddr, thread::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let address = socket.local_addr().unwrap();
        let serve = move || {
            let mut buf = [0; 512];
            let (length, client) = socket.recv_from(&mut buf).unwrap();
            assert_eq!(buf[12..length], [0, 0, 2, 0, 1], "the root's name servers");
            let Some(flags) = flags else {
                // Silent for longer than anybody waits.
                return thread::sleep(PATIENCE + Duration::from_millis(200));
            };
            let mut other = buf;
            other[0] ^= 0xff;
            other[2] = 0x81;
            socket.send_to(&other[..length], client).unwrap();
            buf[2..4].copy_from_slice(&flags);
            socket.send_to(&buf[..length], client).unwrap();
        };
        (address, thread::spawn(serve))
    }

    #[test]
    fn answers_failures_silence_and_refusals_are_told_apart() {
        let (good, one) = server(Some([0x81, 0x80]));
        let (bad, two) = server(Some([0x81, 0x82]));
        let (silent, three) = server(None);
        let nobody = {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap()
        };
        let began = Instant::now();
        let answers = ask(&[good, bad, silent, nobody]);
        assert!(began.elapsed() < 2 * PATIENCE, "all at once: {:?}", began.elapsed());
        assert!(matches!(answers[0].1, Answer::Answered(_)), "{answers:?}");
        assert_eq!(answers[1].1, Answer::ServerFailure);
        assert_eq!(answers[2].1, Answer::Nothing("no answer within 1 s".to_owned()));
        assert!(
            matches!(&answers[3].1, Answer::Nothing(why) if why.contains("refused")),
            "{answers:?}"
        );
        for thread in [one, two, three] {
            thread.join().unwrap();
        }
    }
}
