//! A name server in somebody's namespace, which can be told to misbehave.
//!
//! Answers for its zone over UDP and TCP and remembers every query. Never recursive.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dns::{Query, Record};
use crate::machine::DEADLINE;
use crate::network::Namespace;

/// What a server does with queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers.
    Answer,
    /// Answers this late.
    Late(Duration),
    /// Does not answer.
    Silent,
    /// Says that it failed.
    Fail,
    /// Over UDP it says only that the answer is longer.
    Truncate,
    /// First comes an answer to a query with another id, then one to another question, then its own.
    Forge,
}

/// One server.
#[derive(Debug)]
pub struct NameServer {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    zone: BTreeMap<String, Vec<String>>,
    ttl: u32,
    manner: Mutex<Manner>,
    asked: Mutex<Vec<(Query, bool)>>,
    over: AtomicBool,
}

/// How often a thread looks whether the server is over.
const LOOK: Duration = Duration::from_millis(20);

impl NameServer {
    /// On port 53 of an address. An entry of the zone is a name and an address, or a name and
    /// `text N` for a text of N bytes.
    pub fn start(place: &Namespace, address: IpAddr, zone: &[(&str, &str)]) -> Self {
        Self::with_ttl(place, address, zone, 60)
    }

    /// The same, with records to be kept so many seconds.
    pub fn with_ttl(place: &Namespace, address: IpAddr, zone: &[(&str, &str)], ttl: u32) -> Self {
        let mut names = BTreeMap::<String, Vec<String>>::new();
        for (name, data) in zone {
            names.entry((*name).to_owned()).or_default().push((*data).to_owned());
        }
        let state = Arc::new(State {
            zone: names,
            ttl,
            manner: Mutex::new(Manner::Answer),
            asked: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let (udp, tcp) = place.run(|| {
            (UdpSocket::bind((address, 53)).unwrap(), TcpListener::bind((address, 53)).unwrap())
        });
        udp.set_read_timeout(Some(LOOK)).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let of_udp = Arc::clone(&state);
        std::thread::spawn(move || of_udp.serve_udp(&udp));
        let of_tcp = Arc::clone(&state);
        std::thread::spawn(move || of_tcp.serve_tcp(&tcp));
        Self { state }
    }

    /// Changes its manner.
    pub fn be(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// How often it was asked for a name, over UDP and over TCP.
    pub fn asked(&self, name: &str) -> (usize, usize) {
        let asked = self.state.asked.lock().unwrap();
        let count = |tcp| asked.iter().filter(|(q, by)| q.name == name && *by == tcp).count();
        (count(false), count(true))
    }

    /// How often it was asked for anything.
    pub fn asked_at_all(&self) -> usize {
        self.state.asked.lock().unwrap().len()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn serve_udp(self: &Arc<Self>, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while !self.over.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let Some(query) = Query::read(&buffer[..length]) else { continue };
            self.asked.lock().unwrap().push((query.clone(), false));
            let (state, socket) = (Arc::clone(self), socket.try_clone().unwrap());
            std::thread::spawn(move || {
                for answer in state.answers(&query, false) {
                    let _ = socket.send_to(&answer, from);
                }
            });
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        while !self.over.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    let state = Arc::clone(self);
                    // Its end is that of the connection.
                    std::thread::spawn(move || state.serve_stream(stream).unwrap_or_default());
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    fn serve_stream(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut bytes = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut bytes)?;
            let Some(query) = Query::read(&bytes) else { return Ok(()) };
            self.asked.lock().unwrap().push((query.clone(), true));
            for answer in self.answers(&query, true) {
                let length = u16::try_from(answer.len()).unwrap();
                stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
            }
        }
    }

    fn answers(&self, query: &Query, tcp: bool) -> Vec<Vec<u8>> {
        let manner = *self.manner.lock().unwrap();
        let records = self.records(query);
        let code = if self.zone.contains_key(&query.name) { 0 } else { 3 };
        let whole = query.answer(code, false, &records);
        let fits = tcp || whole.len() <= query.size.into();
        let honest = if fits { whole } else { query.answer(code, true, &[]) };
        match manner {
            Manner::Answer => vec![honest],
            Manner::Late(by) => {
                std::thread::sleep(by);
                vec![honest]
            }
            Manner::Silent => vec![],
            Manner::Fail => vec![query.answer(2, false, &[])],
            Manner::Truncate if tcp => vec![honest],
            Manner::Truncate => vec![query.answer(0, true, &[])],
            Manner::Forge if tcp => vec![honest],
            Manner::Forge => {
                let wrong = Record::address(&query.spelled, [198, 51, 100, 66].into(), 60);
                let other_id = Query { id: query.id ^ 1, ..query.clone() };
                let other_name = Query { spelled: "forged.test".into(), ..query.clone() };
                vec![
                    other_id.answer(0, false, std::slice::from_ref(&wrong)),
                    other_name.answer(0, false, &[wrong]),
                    honest,
                ]
            }
        }
    }

    fn records(&self, query: &Query) -> Vec<Record> {
        let data = self.zone.get(&query.name).into_iter().flatten();
        let records = data.map(|data| match data.strip_prefix("text ") {
            Some(length) => {
                let text = "t".repeat(length.parse().unwrap());
                Record::text(&query.spelled, &text, self.ttl)
            }
            None => Record::address(&query.spelled, data.parse().unwrap(), self.ttl),
        });
        records.filter(|record| record.kind == query.kind).collect()
    }
}
