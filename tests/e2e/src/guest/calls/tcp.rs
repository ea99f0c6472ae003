//! TCP connections of the guest's own.
//!
//! | call | what it does, and what it answers |
//! |---|---|
//! | `connect ADDR [within=MS] [from=ADDR]` | opens and closes: `connected MS`, or the errno |
//! | `echo ADDR N [small]` | both ways at once: `N ok Fin`, or how it ended |
//! | `upload ADDR N [pause=MS] [small]` | sends, FIN: what the service says of it |
//! | `download ADDR [word=W] [pause=MS] [small]` | says a word, takes all: `N ok Fin` |
//! | `answer ADDR N` | sends, FIN, then takes all: `N ok Fin` |
//! | `after ADDR N` | takes all up to FIN, then sends, FIN: `N ok Fin` of what it took |
//! | `line ADDR [word=W]` | one line and its answer |
//! | `lines ADDR COUNT` | as many at once, all open before the first says a word: `COUNT ok` |
//! | `series ADDR COUNT` | one after another: `COUNT ok` |
//! | `rounds ADDR COUNT` | so many lines and answers on one connection: `COUNT ok` |
//! | `proxy ADDR PORT` | from now on everything that comes to PORT goes on to ADDR |
//! | `seen ADDR` | what a `peer` service says, and the own address: `PEER LOCAL OWN` |
//! | `scan ADDR FIRST LAST` | tries every port: those that are open |
//! | `reset ADDR [n=N]` | sends a byte, takes N, resets: `reset` |
//! | `leave ADDR N` | sends, and the whole program exits at once |
//! | `hold ADDR COUNT` | opens and keeps: `held COUNT`, or `held SOME then ERRNO` |
//! | `drop` | closes all that are held |
//! | `http ADDR HOST PATH` | fetches: `STATUS LENGTH ok` |

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portreeve_e2e::content::{self, Checker, Way};
use socket2::{Domain, SockRef, Socket, Type};

use super::{PATIENCE, Words, errno, timed};

static HELD: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

/// The least that the kernel takes for a buffer is a few KiB.
const SMALL: usize = 4096;

pub(super) fn call(words: &Words) -> io::Result<String> {
    match words.text(1) {
        "connect" => {
            let started = Instant::now();
            let outcome = match open(words) {
                Ok(_) => "connected".to_owned(),
                Err(error) => errno(&error),
            };
            Ok(timed(started, &outcome))
        }
        "echo" => echo(words),
        "upload" => upload(words),
        "download" => download(words),
        "answer" => {
            let mut stream = open(words)?;
            content::send(&mut stream, Way::ToGuest, words.number(3))?;
            stream.shutdown(Shutdown::Write)?;
            Ok(take(&mut stream, Way::FromGuest, Duration::ZERO))
        }
        "after" => {
            let mut stream = open(words)?;
            let taken = take(&mut stream, Way::FromGuest, Duration::ZERO);
            content::send(&mut stream, Way::ToGuest, words.number(3))?;
            stream.shutdown(Shutdown::Write)?;
            Ok(taken)
        }
        "line" => line(&mut open(words)?, &word(words)),
        "lines" => lines(words),
        "series" => {
            for at in 0..words.number(3) {
                let text = at.to_string();
                let answer = line(&mut open(words)?, &text)?;
                if answer != text {
                    return Ok(format!("{answer} at {at}"));
                }
            }
            Ok(format!("{} ok", words.number(3)))
        }
        "rounds" => {
            let mut stream = open(words)?;
            for at in 0..words.number(3) {
                let width = usize::try_from(at % 2000).map_err(io::Error::other)?;
                let text = format!("{at:>width$}");
                if line(&mut stream, &text)? != text {
                    return Ok(format!("wrong at {at}"));
                }
            }
            Ok(format!("{} ok", words.number(3)))
        }
        "proxy" => proxy(words),
        "seen" => {
            let mut stream = open(words)?;
            let own = stream.local_addr()?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(format!("{} {own}", text.trim()))
        }
        "scan" => {
            let open = (words.number(3)..=words.number(4)).filter(|port| {
                let mut to = words.address();
                to.set_port(u16::try_from(*port).unwrap());
                connect(to, words).is_ok()
            });
            let open: Vec<_> = open.map(|port| port.to_string()).collect();
            Ok(open.join(" "))
        }
        "reset" => {
            let mut stream = open(words)?;
            stream.write_all(b"x")?;
            let mut bytes = vec![0; words.named("n").unwrap_or(0)];
            stream.read_exact(&mut bytes)?;
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            Ok("reset".into())
        }
        "leave" => {
            let mut stream = open(words)?;
            content::send(&mut stream, Way::ToGuest, words.number(3))?;
            std::process::exit(0)
        }
        "hold" => hold(words),
        "drop" => {
            HELD.lock().unwrap().clear();
            Ok("dropped".into())
        }
        "http" => http(words),
        what => panic!("{what}: no such call"),
    }
}

fn word(words: &Words) -> String {
    words.named("word").unwrap_or_else(|| "hello".into())
}

fn open(words: &Words) -> io::Result<TcpStream> {
    connect(words.address(), words)
}

fn connect(to: SocketAddr, words: &Words) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if words.has("small") {
        // Before the handshake, or the window would stay as it is.
        socket.set_recv_buffer_size(SMALL)?;
        socket.set_send_buffer_size(SMALL)?;
    }
    if let Some(from) = words.named::<SocketAddr>("from") {
        socket.bind(&from.into())?;
    }
    socket.connect_timeout(&to.into(), words.milliseconds("within").unwrap_or(PATIENCE))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes bytes to the end: `N ok END`.
fn take(stream: &mut TcpStream, way: Way, pause: Duration) -> String {
    let mut checker = Checker::new(way);
    let mut buffer = vec![0; 64 << 10];
    let end = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break "Fin".to_owned(),
            Ok(length) => checker.feed(&buffer[..length]),
            Err(error) => break errno(&error),
        }
        std::thread::sleep(pause);
    };
    format!("{} {end}", checker.verdict())
}

fn echo(words: &Words) -> io::Result<String> {
    let mut stream = open(words)?;
    let mut writer = stream.try_clone()?;
    let length = words.number(3);
    let sent = std::thread::spawn(move || -> io::Result<()> {
        content::send(&mut writer, Way::ToGuest, length)?;
        writer.shutdown(Shutdown::Write)
    });
    let taken = take(&mut stream, Way::ToGuest, Duration::ZERO);
    match sent.join().unwrap() {
        Ok(()) => Ok(taken),
        Err(error) => Ok(format!("{taken} sending {}", errno(&error))),
    }
}

fn upload(words: &Words) -> io::Result<String> {
    let mut stream = open(words)?;
    let length = words.number(3);
    let pause = words.milliseconds("pause").unwrap_or_default();
    let mut sent = 0;
    while sent < length {
        let piece = content::piece(Way::ToGuest, sent, (length - sent).min(16 << 10));
        stream.write_all(piece)?;
        sent += piece.len() as u64;
        std::thread::sleep(pause);
    }
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

fn download(words: &Words) -> io::Result<String> {
    let mut stream = open(words)?;
    if let Some(word) = words.named::<String>("word") {
        stream.write_all(word.as_bytes())?;
    }
    let pause = words.milliseconds("pause").unwrap_or_default();
    Ok(take(&mut stream, Way::FromGuest, pause))
}

fn line(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(format!("{text}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

fn lines(words: &Words) -> io::Result<String> {
    let count = words.number(3);
    let opened: io::Result<Vec<_>> = std::thread::scope(|scope| {
        let small = || std::thread::Builder::new().stack_size(128 << 10);
        let threads: Vec<_> =
            (0..count).map(|_| small().spawn_scoped(scope, || open(words)).unwrap()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (at, mut stream) in opened?.into_iter().enumerate() {
        let text = at.to_string();
        let answer = line(&mut stream, &text)?;
        if answer != text {
            return Ok(format!("{answer} at {at}"));
        }
    }
    Ok(format!("{count} ok"))
}

/// A server that makes connections of its own for those that it gets.
fn proxy(words: &Words) -> io::Result<String> {
    let to = words.address();
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, words.parsed(3)))?;
    std::thread::spawn(move || {
        for inbound in listener.incoming().flatten() {
            let both = move || -> io::Result<()> {
                let outbound = TcpStream::connect_timeout(&to, PATIENCE)?;
                let (back, forth) = (outbound.try_clone()?, inbound.try_clone()?);
                let back = std::thread::spawn(move || pass_on(back, inbound));
                pass_on(forth, outbound)?;
                back.join().unwrap()
            };
            std::thread::spawn(move || both().map_err(|error| println!("proxy: {error}")));
        }
    });
    Ok("proxying".into())
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}

fn hold(words: &Words) -> io::Result<String> {
    for at in 0..words.number(3) {
        match open(words) {
            Ok(stream) => HELD.lock().unwrap().push(stream),
            Err(error) => return Ok(format!("held {at} then {}", errno(&error))),
        }
    }
    Ok(format!("held {}", words.number(3)))
}

/// RFC 9112, as far as one answer with a known length goes.
fn http(words: &Words) -> io::Result<String> {
    let mut stream = open(words)?;
    let (host, path) = (words.text(3), words.text(4));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = BufReader::new(&mut stream);
    let (mut status, mut length) = (String::new(), 0);
    answer.read_line(&mut status)?;
    loop {
        let mut header = String::new();
        answer.read_line(&mut header)?;
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().map_err(io::Error::other)?;
        }
    }
    let body = content::receive(&mut answer, Way::FromGuest).map_err(|(_, error)| error)?;
    let whole = if body.received() == length { "" } else { " of more" };
    Ok(format!("{} {}{whole}", status.split(' ').nth(1).unwrap_or("?"), body.verdict()))
}
