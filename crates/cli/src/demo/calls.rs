//! The guest's own connections: the client outside asks the guest to make them, and is at their
//! other end.
//!
//! Owns both sides of that: the request ([`Call`]), what the guest does with it, and the checks.
//! The services that the guest calls are sockets of this process on loopback, which the guest
//! reaches under its gateway's address because they were opened to it, and by no other way.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::bulk::{self, PIECE};
use super::checks::{Client, Failed, Measured, PATIENCE, Rate, at, be_patient};
use super::network::Family;
use super::payload::{digest, fill};
use super::screen::Screen;
use super::service::Storage;

/// Where the guest is asked to make a call.
pub(super) const CALL: u16 = 7039;

/// A call that the guest is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    what: What,
    to: SocketAddr,
    /// Bytes, or questions.
    amount: u64,
    seed: u64,
}

/// What kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Send bytes and end.
    Send,
    /// Receive bytes until the end; they must be those of the seed.
    Receive,
    /// Only connect.
    Connect,
    /// Ask a name server so many questions.
    Ask,
}

const KINDS: [What; 4] = [What::Send, What::Receive, What::Connect, What::Ask];
const CALL_LEN: usize = 35;
const REPORT_LEN: usize = 12;
/// Questions under way at once.
const QUESTIONS: u64 = 64;

impl Call {
    fn encode(&self) -> [u8; CALL_LEN] {
        let mut bytes = [0; CALL_LEN];
        bytes[0] = self.what as u8;
        let address = match self.to.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        bytes[1..17].copy_from_slice(&address.octets());
        bytes[17..19].copy_from_slice(&self.to.port().to_le_bytes());
        bytes[19..27].copy_from_slice(&self.amount.to_le_bytes());
        bytes[27..35].copy_from_slice(&self.seed.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; CALL_LEN]) -> Option<Self> {
        let word = |at: usize| u64::from_le_bytes(piece(bytes, at));
        let address = Ipv6Addr::from(piece::<16>(bytes, 1)).to_canonical();
        let port = u16::from_le_bytes(piece(bytes, 17));
        let what = *KINDS.get(usize::from(bytes[0]))?;
        Some(Self { what, to: (address, port).into(), amount: word(19), seed: word(27) })
    }
}

fn piece<const N: usize>(bytes: &[u8; CALL_LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

/// The guest's side: reads one request, makes the call, says what came of it.
pub(super) fn make(mut stream: TcpStream, storage: &Storage) -> io::Result<()> {
    let mut request = [0; CALL_LEN];
    stream.read_exact(&mut request)?;
    let Some(call) = Call::decode(&request) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let (errno, amount) = match carry_out(&call, storage) {
        Ok(amount) => (0, amount),
        Err(error) => (error.raw_os_error().unwrap_or(-1), 0),
    };
    let mut report = [0; REPORT_LEN];
    report[..4].copy_from_slice(&errno.to_le_bytes());
    report[4..].copy_from_slice(&amount.to_le_bytes());
    stream.write_all(&report)
}

fn carry_out(call: &Call, storage: &Storage) -> io::Result<u64> {
    if call.what == What::Ask {
        return ask(call);
    }
    let length = usize::try_from(call.amount).unwrap_or(usize::MAX);
    let buffer = storage.borrow(length, |content| fill(content, call.seed));
    let mut stream = TcpStream::connect_timeout(&call.to, PATIENCE)?;
    stream.set_nodelay(true)?;
    match call.what {
        What::Send => {
            buffer.chunks(PIECE).try_for_each(|piece| stream.write_all(piece))?;
            stream.shutdown(Shutdown::Write)?;
            // The other side has all of it when it ends its own.
            let heard = stream.read(&mut [0])?;
            Ok(if heard == 0 { call.amount } else { 0 })
        }
        What::Receive => {
            let (mut heard, mut piece) = (0, vec![0; PIECE]);
            loop {
                let count = stream.read(&mut piece)?;
                if count == 0 {
                    return Ok(heard as u64);
                }
                if buffer.get(heard..heard + count) != Some(&piece[..count]) {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                heard += count;
            }
        }
        What::Connect | What::Ask => Ok(0),
    }
}

/// Asks for the gateway's own name, many questions at a time, and counts the answers.
fn ask(call: &Call) -> io::Result<u64> {
    let any: IpAddr = if call.to.is_ipv6() { [0; 16].into() } else { [0; 4].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(call.to)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = [0; 1500];
    let (mut asked, mut answered) = (0, 0);
    while answered < call.amount {
        while asked < call.amount && asked - answered < QUESTIONS {
            // The low half is meant: identifications wrap.
            socket.send(&question(asked as u16))?;
            asked += 1;
        }
        let length = socket.recv(&mut answer)?;
        // A response (QR) without error (RCODE) with at least one record. RFC 1035 §4.1.1.
        let good = length > 12 && answer[2] & 0x80 != 0 && answer[3] & 0x0f == 0 && answer[7] != 0;
        if !good {
            return Err(io::ErrorKind::InvalidData.into());
        }
        answered += 1;
    }
    Ok(answered)
}

/// A question for the gateway's IPv4 address. RFC 1035 §4.1.
fn question(id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in ["gateway", "portreeve", "internal"] {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// The guest opens a connection and sends.
pub(super) fn sends(
    client: &mut Client,
    family: Family,
    screen: &Screen,
) -> Result<Measured, Failed> {
    let (seed, length) = (client.next_seed(), client.sizes.bulk);
    let (listener, to) = client.service(family)?;
    let call = Call { what: What::Send, to, amount: length as u64, seed };
    let control = request(client, family, &call)?;
    let mut stream = accept(&listener)?;
    let content = &mut client.buffer[..length];
    let begun = Instant::now();
    bulk::receive(&mut stream, content, screen)?;
    let time = begun.elapsed();
    if stream.read(&mut [0]).map_err(at("waiting for the end"))? != 0 {
        return Err("more came than was sent".to_owned());
    }
    drop(stream);
    let theirs = digest(content);
    fill(content, seed);
    if theirs != digest(content) {
        return Err("the content was changed on its way: SHA-256 differs".to_owned());
    }
    reported(control, call.amount)?;
    Ok(Measured { bytes: Some(length), time, rate: Rate::Bytes })
}

/// The guest opens a connection and receives.
pub(super) fn receives(
    client: &mut Client,
    family: Family,
    screen: &Screen,
) -> Result<Measured, Failed> {
    let (seed, length) = (client.next_seed(), client.sizes.bulk);
    let (listener, to) = client.service(family)?;
    let call = Call { what: What::Receive, to, amount: length as u64, seed };
    let content = &mut client.buffer[..length];
    fill(content, seed);
    let control = request(client, family, &call)?;
    let mut stream = accept(&listener)?;
    let begun = Instant::now();
    bulk::send(&mut stream, &client.buffer[..length], screen)?;
    drop(stream);
    reported(control, call.amount)?;
    Ok(Measured { bytes: Some(length), time: begun.elapsed(), rate: Rate::Bytes })
}

/// The guest asks its gateway's name server.
pub(super) fn asks(client: &mut Client, family: Family, _: &Screen) -> Result<Measured, Failed> {
    let questions = client.sizes.questions;
    let to = (client.gateway(family)?, 53).into();
    let call = Call { what: What::Ask, to, amount: questions.into(), seed: 0 };
    let begun = Instant::now();
    let control = request(client, family, &call)?;
    reported(control, call.amount)?;
    let rate = Rate::Count(questions, "answers");
    Ok(Measured { bytes: None, time: begun.elapsed(), rate })
}

/// The guest tries a port of this host that was not opened to it, though somebody listens.
pub(super) fn shut_out(
    client: &mut Client,
    family: Family,
    _: &Screen,
) -> Result<Measured, Failed> {
    let loopback: IpAddr =
        if family == Family::V6 { Ipv6Addr::LOCALHOST.into() } else { [127, 0, 0, 1].into() };
    let listener = TcpListener::bind((loopback, 0)).map_err(at("listening"))?;
    let port = listener.local_addr().map_err(at("listening"))?.port();
    let to = (client.gateway(family)?, port).into();
    let call = Call { what: What::Connect, to, amount: 0, seed: 0 };
    let begun = Instant::now();
    let control = request(client, family, &call)?;
    let errno = report(control)?.0;
    let time = begun.elapsed();
    listener.set_nonblocking(true).map_err(at("looking for a connection"))?;
    if listener.accept().is_ok() {
        return Err("the guest reached a service that was not opened to it".to_owned());
    }
    match io::Error::from_raw_os_error(errno).kind() {
        io::ErrorKind::ConnectionRefused => {
            Ok(Measured { bytes: None, time, rate: Rate::Words("connection refused") })
        }
        _ => Err(format!("the guest's connection was not refused: errno {errno}")),
    }
}

fn request(client: &Client, family: Family, call: &Call) -> Result<TcpStream, Failed> {
    let mut control = client.connect(CALL, family)?;
    control.write_all(&call.encode()).map_err(at("asking the guest to call"))?;
    Ok(control)
}

fn accept(listener: &TcpListener) -> Result<TcpStream, Failed> {
    listener.set_nonblocking(true).map_err(at("waiting for the guest's connection"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(at("accepting the guest"))?;
                be_patient(&stream)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Err("the guest did not connect".to_owned());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(at("accepting the guest")(error)),
        }
    }
}

/// The guest's word that all of it went through.
fn reported(control: TcpStream, expected: u64) -> Result<(), Failed> {
    match report(control)? {
        (0, amount) if amount == expected => Ok(()),
        (0, amount) => Err(format!("the guest counted {amount} of {expected}")),
        (errno, _) => Err(format!("in the guest: {}", io::Error::from_raw_os_error(errno))),
    }
}

fn report(mut control: TcpStream) -> Result<(i32, u64), Failed> {
    let mut bytes = [0; REPORT_LEN];
    control.read_exact(&mut bytes).map_err(at("waiting for the guest's report"))?;
    let (errno, amount) = bytes.split_at(4);
    let errno = errno.first_chunk().map_or(-1, |bytes| i32::from_le_bytes(*bytes));
    Ok((errno, amount.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_as_it_was_written() {
        for (what, to) in KINDS.into_iter().zip(["10.0.0.1:80", "[fd00::1]:53"].iter().cycle()) {
            let call = Call { what, to: to.parse().unwrap(), amount: 7, seed: 1 << 40 };
            assert_eq!(Call::decode(&call.encode()), Some(call));
        }
        assert_eq!(Call::decode(&[9; CALL_LEN]), None);
    }
}
