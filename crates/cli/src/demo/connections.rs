//! What a connection is, besides its bytes: refusal, half-close, both directions at once, and many
//! of them.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use portreeve_types::Transport;
use socket2::{Domain, Socket, Type};

use super::SMALL_BUFFER;
use super::checks::{Client, Failed, Measured, PATIENCE, Rate, at, be_patient};
use super::network::Family;
use super::payload::fill;
use super::screen::Screen;
use super::service::{ECHO, HALF_CLOSE, NOBODY};

/// Bytes that each of many clients sends.
const LETTER: usize = 16 << 10;
/// Bytes given to or asked of the kernel at a time.
const PIECE: usize = 64 << 10;

/// Nobody listens in the guest: the client must learn it as if it had asked the guest itself.
pub(super) fn refusal(
    client: &mut Client,
    family: Family,
    _screen: &Screen,
) -> Result<Measured, Failed> {
    let address = client.address(Transport::Tcp, NOBODY, family)?;
    let begun = Instant::now();
    let outcome = TcpStream::connect_timeout(&address, PATIENCE).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read(&mut [0])
    });
    let time = begun.elapsed();
    match outcome {
        Ok(0) => Err("the connection ended in order, as if somebody had served it".to_owned()),
        Ok(_) => Err("somebody answered".to_owned()),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionReset => {
                Ok(Measured { bytes: None, time, rate: Rate::Words("connection reset") })
            }
            io::ErrorKind::ConnectionRefused => {
                Ok(Measured { bytes: None, time, rate: Rate::Words("connection refused") })
            }
            _ => Err(at("waiting to be refused")(error)),
        },
    }
}

/// The client ends its side; the guest, silent until then, answers with everything.
pub(super) fn half_close(
    client: &mut Client,
    family: Family,
    screen: &Screen,
) -> Result<Measured, Failed> {
    let seed = client.next_seed();
    let mut stream = client.connect(HALF_CLOSE, family)?;
    let length = client.sizes.half_close;
    let content = &mut client.buffer[..length];
    fill(content, seed);

    let begun = Instant::now();
    stream.write_all(content).map_err(at("sending"))?;
    screen.advance(1, 3);
    silent(&stream)?;
    stream.shutdown(Shutdown::Write).map_err(at("ending the client's side"))?;
    screen.advance(2, 3);
    let mut answer = Vec::with_capacity(length);
    stream.read_to_end(&mut answer).map_err(at("receiving the answer"))?;
    let time = begun.elapsed();

    if answer.len() != length {
        return Err(format!("{} bytes came back of {length}", answer.len()));
    }
    if answer != *content {
        return Err("what came back is not what was sent".to_owned());
    }
    Ok(Measured { bytes: Some(length), time, rate: Rate::Bytes })
}

/// Everything is echoed while more is sent, through buffers that hold little of it.
pub(super) fn full_duplex(
    client: &mut Client,
    family: Family,
    screen: &Screen,
) -> Result<Measured, Failed> {
    let seed = client.next_seed();
    let mut stream = connect_small(client, family)?;
    let length = client.sizes.echo;
    let content = &mut client.buffer[..length];
    fill(content, seed);
    let content = &*content;
    let mut writing = stream.try_clone().map_err(at("sharing the socket"))?;

    let begun = Instant::now();
    let (sent, heard) = thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let sent = content.chunks(PIECE).try_for_each(|piece| writing.write_all(piece));
            sent.and_then(|()| writing.shutdown(Shutdown::Write))
        });
        let heard = hear_again(&mut stream, content, screen);
        if heard.is_err() {
            // The sender may wait for room that will never come.
            let _ = stream.shutdown(Shutdown::Both);
        }
        (sender.join(), heard)
    });
    let time = begun.elapsed();

    heard?;
    match sent {
        Ok(sent) => sent.map_err(at("sending"))?,
        Err(_) => return Err("the client's sending thread panicked".to_owned()),
    }
    Ok(Measured { bytes: Some(length), time, rate: Rate::Bytes })
}

/// Many clients at the same time, each with something of its own to say.
pub(super) fn many(
    client: &mut Client,
    family: Family,
    screen: &Screen,
) -> Result<Measured, Failed> {
    let count = client.sizes.clients;
    let mut letters = Vec::new();
    for _ in 0..count {
        let mut letter = vec![0; LETTER];
        fill(&mut letter, client.next_seed());
        letters.push(letter);
    }
    let steps = letters.len() * 3;

    let begun = Instant::now();
    let mut streams: Vec<TcpStream> = Vec::new();
    for done in 0..letters.len() {
        streams.push(client.connect(ECHO, family)?);
        screen.advance(done, steps);
    }
    for (done, (stream, letter)) in streams.iter_mut().zip(&letters).enumerate() {
        stream.write_all(letter).map_err(at("sending"))?;
        stream.shutdown(Shutdown::Write).map_err(at("ending a client's side"))?;
        screen.advance(letters.len() + done, steps);
    }
    let mut answers = Vec::new();
    for (done, stream) in streams.iter_mut().enumerate() {
        let mut answer = Vec::with_capacity(LETTER);
        stream.read_to_end(&mut answer).map_err(at("receiving"))?;
        answers.push(answer);
        screen.advance(letters.len() * 2 + done, steps);
    }
    let time = begun.elapsed();

    let wrong = answers.iter().zip(&letters).filter(|(answer, letter)| answer != letter).count();
    if wrong != 0 {
        return Err(format!("{wrong} of {count} got something else back"));
    }
    let bytes = Some(letters.len() * LETTER);
    Ok(Measured { bytes, time, rate: Rate::Count(count, "clients") })
}

/// Before the client has ended its side there is no answer, and no end either.
fn silent(stream: &TcpStream) -> Result<(), Failed> {
    let looked = stream
        .set_nonblocking(true)
        .map(|()| stream.peek(&mut [0]))
        .and_then(|seen| stream.set_nonblocking(false).map(|()| seen));
    match looked.map_err(at("looking for an answer"))? {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(at("looking for an answer")(error)),
        Ok(0) => Err("the guest's side ended before the client's had".to_owned()),
        Ok(_) => Err("the guest answered before the client had ended".to_owned()),
    }
}

/// A connection with little room at the client's end. The room is set before connecting, for the
/// window is negotiated then.
fn connect_small(client: &Client, family: Family) -> Result<TcpStream, Failed> {
    let address = client.address(Transport::Tcp, ECHO, family)?;
    let connected =
        Socket::new(Domain::for_address(address), Type::STREAM, None).and_then(|socket| {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
            socket.set_send_buffer_size(SMALL_BUFFER)?;
            socket.connect_timeout(&address.into(), PATIENCE)?;
            Ok(TcpStream::from(socket))
        });
    let stream = connected.map_err(at("connecting"))?;
    be_patient(&stream)?;
    Ok(stream)
}

/// Compares all that comes with `content`, which must be followed by the end.
fn hear_again(stream: &mut TcpStream, content: &[u8], screen: &Screen) -> Result<(), Failed> {
    let mut piece = vec![0; PIECE];
    let mut heard = 0;
    loop {
        let count = stream.read(&mut piece).map_err(at("receiving"))?;
        if count == 0 {
            break;
        }
        let rest = &content[heard..];
        if rest.get(..count) != Some(&piece[..count]) {
            return Err(format!("what came back differs after {heard} bytes"));
        }
        heard += count;
        screen.advance(heard, content.len());
    }
    if heard != content.len() {
        return Err(format!("{heard} bytes came back of {}", content.len()));
    }
    Ok(())
}
