//! The server's event loop: accepts, reads the header, answers requests, and hands streams over
//! to `bulk.rs`. Idle connections cost it one entry each and no thread.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
};

use rustix::event::epoll;

use super::{bulk, datagram::Floods};
use crate::protocol::{HEADER_LEN, Header, MESSAGE_LEN, Mode};

/// A connection that has not been handed over.
struct Connection {
    stream: TcpStream,
    header: Option<Header>,
    /// Bytes that do not make a header or a message yet.
    partial: Vec<u8>,
}

/// What becomes of a connection after its input was handled.
enum Next {
    Stay,
    Close,
    HandOver(Header),
}

/// The listener's key in the epoll set; connections use their fd.
const LISTENER: u64 = u64::MAX;

/// Accepts and answers for ever.
pub(super) fn serve(listener: TcpListener, floods: &Floods) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let readable = epoll::EventFlags::IN;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), readable)?;
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                accept(&listener, poll.as_fd(), &mut connections)?;
                continue;
            }
            let Some(connection) = connections.get_mut(&key) else { continue };
            match connection.handle_readable(&mut buffer, floods) {
                Next::Stay => {}
                Next::Close => drop(connections.remove(&key)),
                Next::HandOver(header) => {
                    if let Some(connection) = connections.remove(&key) {
                        epoll::delete(&poll, &connection.stream)?;
                        let already = connection.partial.len() as u64;
                        bulk::spawn(connection.stream, header, already)?;
                    }
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: impl AsFd,
    connections: &mut HashMap<u64, Connection>,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let key = u64::try_from(stream.as_raw_fd()).map_err(io::Error::other)?;
        epoll::add(&poll, &stream, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?;
        connections.insert(key, Connection { stream, header: None, partial: Vec::new() });
    }
}

impl Connection {
    fn handle_readable(&mut self, buffer: &mut [u8], floods: &Floods) -> Next {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Next::Close,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Stay,
            Err(_) => return Next::Close,
        };
        self.partial.extend_from_slice(&buffer[..count]);
        if self.header.is_none() && self.partial.len() >= HEADER_LEN {
            let Some(header) = Header::decode(&self.partial) else { return Next::Close };
            self.partial.drain(..HEADER_LEN);
            self.header = Some(header);
        }
        match self.header {
            None => Next::Stay,
            Some(header) => match header.mode {
                Mode::Exchange => self.answer(),
                Mode::FloodReport => {
                    let tally = floods.tally(header.run).encode();
                    let _ = self.stream.write_all(&tally);
                    Next::Close
                }
                Mode::Sink | Mode::Source => Next::HandOver(header),
                Mode::Flood | Mode::FloodBack | Mode::Echo => Next::Close,
            },
        }
    }

    fn answer(&mut self) -> Next {
        let whole = self.partial.len() / MESSAGE_LEN * MESSAGE_LEN;
        // A client has a few messages in flight at most: they always fit the socket's buffer.
        if self.stream.write_all(&self.partial[..whole]).is_err() {
            return Next::Close;
        }
        self.partial.drain(..whole);
        Next::Stay
    }
}
