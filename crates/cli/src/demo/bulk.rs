//! The largest part of the demonstration: many bytes in one direction over one connection.
//!
//! Owns what the clock covers: from the first byte until the receiver has the last one. Making the
//! bytes and hashing them is done before and after.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use super::checks::{Client, Failed, Measured, Rate, at};
use super::network::Family;
use super::payload::{DIGEST_LEN, digest, fill};
use super::screen::Screen;
use super::service::{SINK, SOURCE};

/// Bytes given to or asked of the kernel at a time.
pub(super) const PIECE: usize = 256 << 10;

/// The client sends; the guest says how much it has, then what it has.
pub(super) fn into_guest(
    client: &mut Client,
    family: Family,
    screen: &Screen,
) -> Result<Measured, Failed> {
    let seed = client.next_seed();
    let mut stream = client.connect(SINK, family)?;
    let length = client.sizes.bulk;
    let content = &mut client.buffer[..length];
    fill(content, seed);
    let expected = digest(content);
    stream.write_all(&length_field(length)).map_err(at("asking the guest"))?;

    let begun = Instant::now();
    send(&mut stream, content, screen)?;
    let mut received = [0; 8];
    stream.read_exact(&mut received).map_err(at("waiting for the guest to have it all"))?;
    let time = begun.elapsed();

    if received != length_field(length) {
        return Err(format!("the guest has {} bytes of {length}", u64::from_le_bytes(received)));
    }
    let mut theirs = [0; DIGEST_LEN];
    stream.write_all(&[0]).map_err(at("asking for the digest"))?;
    stream.read_exact(&mut theirs).map_err(at("waiting for the digest"))?;
    same(&expected, &theirs)?;
    Ok(Measured { bytes: Some(length), time, rate: Rate::Bytes })
}

/// The guest sends, then says what it has sent.
pub(super) fn out_of_guest(
    client: &mut Client,
    family: Family,
    screen: &Screen,
) -> Result<Measured, Failed> {
    let seed = client.next_seed();
    let mut stream = client.connect(SOURCE, family)?;
    let length = client.sizes.bulk;
    let content = &mut client.buffer[..length];
    let mut request = [0; 16];
    request[..8].copy_from_slice(&length_field(length));
    request[8..].copy_from_slice(&seed.to_le_bytes());
    stream.write_all(&request).map_err(at("asking the guest"))?;
    stream.read_exact(&mut [0]).map_err(at("waiting for the guest to be ready"))?;

    let begun = Instant::now();
    stream.write_all(&[0]).map_err(at("telling the guest to begin"))?;
    receive(&mut stream, content, screen)?;
    let time = begun.elapsed();

    let mut theirs = [0; DIGEST_LEN];
    stream.read_exact(&mut theirs).map_err(at("waiting for the digest"))?;
    same(&digest(content), &theirs)?;
    match stream.read(&mut [0]).map_err(at("waiting for the end"))? {
        0 => Ok(Measured { bytes: Some(length), time, rate: Rate::Bytes }),
        _ => Err("more came than was sent".to_owned()),
    }
}

/// Sends all of `content`, piece by piece.
pub(super) fn send(stream: &mut TcpStream, content: &[u8], screen: &Screen) -> Result<(), Failed> {
    let mut sent = 0;
    for piece in content.chunks(PIECE) {
        stream.write_all(piece).map_err(at("sending"))?;
        sent += piece.len();
        screen.advance(sent, content.len());
    }
    Ok(())
}

/// Fills `content` with what comes, which must not end before.
pub(super) fn receive(
    stream: &mut TcpStream,
    content: &mut [u8],
    screen: &Screen,
) -> Result<(), Failed> {
    let (mut received, length) = (0, content.len());
    while received < length {
        let end = length.min(received + PIECE);
        match stream.read(&mut content[received..end]).map_err(at("receiving"))? {
            0 => return Err(format!("the stream ended after {received} bytes of {length}")),
            count => received += count,
        }
        screen.advance(received, length);
    }
    Ok(())
}

fn length_field(length: usize) -> [u8; 8] {
    (length as u64).to_le_bytes()
}

fn same(ours: &[u8; DIGEST_LEN], theirs: &[u8; DIGEST_LEN]) -> Result<(), Failed> {
    if ours == theirs {
        Ok(())
    } else {
        Err("the content was changed on its way: SHA-256 differs".to_owned())
    }
}
