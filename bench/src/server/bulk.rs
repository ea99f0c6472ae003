//! Streams at full speed, one thread each: the sink that counts and the source that fills.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Instant,
};

use crate::protocol::{Header, Meter, Mode, SLACK};

/// Large enough that the cost of a system call does not show.
const CHUNK: usize = 256 * 1024;

/// Serves the stream on a thread of its own; `already` bytes of it have been read.
pub(super) fn spawn(stream: TcpStream, header: Header, already: u64) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    thread::Builder::new().name("bulk".to_owned()).spawn(move || {
        // A client that vanishes ends its stream; it has its own way to notice.
        let _ = if header.mode == Mode::Source {
            source(&stream, &header)
        } else {
            sink(&stream, &header, already)
        };
    })?;
    Ok(())
}

fn sink(mut stream: &TcpStream, header: &Header, already: u64) -> io::Result<()> {
    let started = Instant::now();
    let mut meter = Meter::new(header.warmup, header.window);
    meter.add(already, started.elapsed());
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        meter.add(count as u64, started.elapsed());
    }
    stream.write_all(&meter.tally().encode())
}

/// The stream ends with its own length (without these 8 bytes), so that a loss shows.
fn source(mut stream: &TcpStream, header: &Header) -> io::Result<()> {
    let started = Instant::now();
    let end = header.warmup + header.window + SLACK;
    let buffer = vec![0x5a; CHUNK];
    let mut total = 0u64;
    while started.elapsed() < end {
        total += stream.write(&buffer)? as u64;
    }
    stream.write_all(&total.to_be_bytes())?;
    stream.shutdown(Shutdown::Write)
}
