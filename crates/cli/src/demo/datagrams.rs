//! UDP: datagrams that the guest sends back, a few of them under way at any time.
//!
//! Owns the count. UDP may lose; between two programs of one machine that do not outrun each other
//! it must not, and whatever is lost, doubled or changed is told.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use portreeve_types::Transport;

use super::checks::{Client, Failed, Measured, Rate, at};
use super::network::Family;
use super::payload::fill;
use super::screen::Screen;
use super::service::ECHO;

/// Payload of one datagram: fits into one packet everywhere.
const PAYLOAD: usize = 1_200;
/// Datagrams under way: few enough for every queue and socket buffer between here and the guest.
const WINDOW: u32 = 32;
/// After so long without any answer, what is under way is lost.
const SILENCE: Duration = Duration::from_millis(500);
/// So many silences end the check.
const MOST_SILENCES: u32 = 4;

/// Who has come back.
struct Tally {
    back: Vec<bool>,
    count: u32,
    doubled: u32,
}

/// Sends numbered datagrams and waits for each of them.
pub(super) fn echo(
    client: &mut Client,
    family: Family,
    screen: &Screen,
) -> Result<Measured, Failed> {
    let seed = client.next_seed();
    let total = client.sizes.datagrams;
    let socket = connect(client.address(Transport::Udp, ECHO, family)?);
    let socket = socket.map_err(at("opening a socket"))?;
    let mut tally = Tally { back: vec![false; total as usize], count: 0, doubled: 0 };
    let (mut sent, mut under_way, mut silences) = (0, 0, 0);
    let mut buffer = [0; PAYLOAD + 1];

    let begun = Instant::now();
    while tally.count < total && silences < MOST_SILENCES {
        while under_way < WINDOW && sent < total {
            socket.send(&datagram(seed, sent)).map_err(at("sending"))?;
            sent += 1;
            under_way += 1;
        }
        if under_way == 0 {
            break;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => {
                under_way -= tally.take(&buffer[..length], seed)?.min(under_way);
                screen.advance(tally.count as usize, total as usize);
            }
            Err(error) if is_silence(&error) => {
                under_way = 0;
                silences += 1;
            }
            Err(error) => return Err(at("receiving")(error)),
        }
    }
    let time = begun.elapsed();

    let lost = total - tally.count;
    if lost != 0 || tally.doubled != 0 {
        return Err(format!("{lost} lost and {} doubled of {total}", tally.doubled));
    }
    let bytes = Some(total as usize * PAYLOAD);
    Ok(Measured { bytes, time, rate: Rate::Count(total, "datagrams") })
}

impl Tally {
    /// Counts an answer; the result is by how many fewer are under way.
    fn take(&mut self, answer: &[u8], seed: u64) -> Result<u32, Failed> {
        let number = answer.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
        let Some(back) = self.back.get_mut(number as usize) else {
            return Err("a datagram came that was never sent".to_owned());
        };
        if *answer != datagram(seed, number) {
            return Err(format!("datagram {number} was changed on its way"));
        }
        if *back {
            self.doubled += 1;
            return Ok(0);
        }
        *back = true;
        self.count += 1;
        Ok(1)
    }
}

/// The payload with this number.
fn datagram(seed: u64, number: u32) -> [u8; PAYLOAD] {
    let mut payload = [0; PAYLOAD];
    fill(&mut payload, seed + u64::from(number));
    payload[..4].copy_from_slice(&number.to_le_bytes());
    payload
}

/// Connected, so that answers from any other address than the one used would not come.
fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if address.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(SILENCE))?;
    Ok(socket)
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_datagram_counts_once_and_as_sent() {
        let mut tally = Tally { back: vec![false; 3], count: 0, doubled: 0 };
        assert_eq!(tally.take(&datagram(1, 2), 1), Ok(1));
        assert_eq!(tally.take(&datagram(1, 2), 1), Ok(0));
        assert_eq!((tally.count, tally.doubled), (1, 1));
        assert!(tally.take(&datagram(1, 3), 1).is_err(), "never sent");
        assert!(tally.take(&datagram(2, 1), 1).is_err(), "another content");
        assert!(tally.take(&datagram(1, 1)[..PAYLOAD - 1], 1).is_err(), "cut");
        assert!(tally.take(&[], 1).is_err());
    }
}
