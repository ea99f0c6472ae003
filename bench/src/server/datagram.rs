//! The UDP side of the server: counts floods, sends floods, and sends echoes back.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use crate::{
    protocol::{Header, MESSAGE_LEN, Meter, Mode, SLACK, Tally, message},
    socket::send_batch,
    sys::{BATCH, Inbox},
};

/// Finished and running floods by their number.
#[derive(Default)]
pub(super) struct Floods {
    meters: Mutex<HashMap<u64, Meter>>,
}

impl Floods {
    /// What has been counted of a flood; nothing for one that never arrived.
    pub(super) fn tally(&self, run: u64) -> Tally {
        let meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters.get(&run).map(Meter::tally).unwrap_or_default()
    }

    fn add(&self, header: &Header, amount: u64, started: Instant) {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters
            .entry(header.run)
            .or_insert_with(|| Meter::new(header.warmup, header.window))
            .add(amount, started.elapsed());
    }
}

/// Receives for ever.
pub(super) fn serve(socket: &UdpSocket, floods: &Arc<Floods>) {
    let mut inbox = Inbox::new();
    let mut started: HashMap<u64, Instant> = HashMap::new();
    loop {
        // A refused echo of an earlier client is reported here and concerns nobody any more.
        if inbox.receive(socket).is_err() {
            continue;
        }
        let mut echoes = Vec::with_capacity(BATCH);
        let mut flooded: Option<(Header, u64)> = None;
        for (client, datagram) in inbox.datagrams() {
            let Some(header) = Header::decode(datagram) else { continue };
            match header.mode {
                Mode::Echo => echoes.push((Some(client), datagram)),
                Mode::Flood => {
                    flooded = Some(match flooded {
                        Some((first, count)) if first.run == header.run => (first, count + 1),
                        // The rest of an older flood: the newer one is what counts.
                        _ => (header, 1),
                    });
                }
                Mode::FloodBack => {
                    // It may have been asked for twice.
                    if let Entry::Vacant(entry) = started.entry(header.run) {
                        entry.insert(Instant::now());
                        let _ = spawn_flood(socket, client, header, Arc::clone(floods));
                    }
                }
                Mode::Sink | Mode::Source | Mode::Exchange | Mode::FloodReport => {}
            }
        }
        if let Some((header, count)) = flooded {
            floods.add(&header, count, *started.entry(header.run).or_insert_with(Instant::now));
        }
        let mut rest = &echoes[..];
        while !rest.is_empty() {
            // What cannot be sent now is lost, as datagrams are.
            let sent = send_batch(socket, rest.iter().copied()).unwrap_or(1).max(1);
            rest = &rest[sent.min(rest.len())..];
        }
    }
}

fn spawn_flood(
    socket: &UdpSocket,
    client: SocketAddr,
    header: Header,
    floods: Arc<Floods>,
) -> io::Result<()> {
    let socket = socket.try_clone()?;
    thread::Builder::new().name("flood".to_owned()).spawn(move || {
        let datagram: [u8; MESSAGE_LEN] = message(&header);
        let end = header.warmup + header.window + SLACK;
        let started = Instant::now();
        while started.elapsed() < end {
            let copies = std::iter::repeat_n((Some(client), &datagram[..]), BATCH);
            // A full queue, or an ICMP error of an earlier datagram: the flood goes on.
            let sent = send_batch(&socket, copies).unwrap_or(0);
            floods.add(&header, sent as u64, started);
        }
    })?;
    Ok(())
}
