//! The UDP side of the server: counts floods and sends echoes back.

use std::{
    collections::HashMap,
    net::UdpSocket,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::protocol::{Header, Meter, Mode, Tally};

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
}

/// Receives for ever.
pub(super) fn serve(socket: &UdpSocket, floods: &Floods) {
    let mut buffer = vec![0; 65_536];
    let mut started: HashMap<u64, Instant> = HashMap::new();
    loop {
        // A refused echo of an earlier client is reported here and concerns nobody any more.
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let datagram = &buffer[..length];
        let Some(header) = Header::decode(datagram) else { continue };
        match header.mode {
            Mode::Echo => {
                let _ = socket.send_to(datagram, client);
            }
            Mode::Flood => {
                let elapsed = started.entry(header.run).or_insert_with(Instant::now).elapsed();
                let mut meters = floods.meters.lock().unwrap_or_else(PoisonError::into_inner);
                meters
                    .entry(header.run)
                    .or_insert_with(|| Meter::new(header.warmup, header.window))
                    .add(1, elapsed);
            }
            Mode::Sink | Mode::Source | Mode::Exchange | Mode::FloodReport => {}
        }
    }
}
