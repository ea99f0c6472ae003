//! Connections that are held and never read: saying how each ends.
//!
//! Owns one thread for any number of them.

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;

use crate::say;

/// How often newcomers are looked for.
const INTERVAL: Duration = Duration::from_millis(5);

pub(crate) struct Watch {
    newcomers: Sender<TcpStream>,
}

impl Watch {
    pub(crate) fn start(name: &str) -> Self {
        let (newcomers, arrivals) = channel();
        let name = name.to_owned();
        std::thread::spawn(move || watch(&name, &arrivals));
        Self { newcomers }
    }

    pub(crate) fn add(&self, stream: TcpStream) {
        self.newcomers.send(stream).unwrap();
    }
}

fn watch(name: &str, arrivals: &Receiver<TcpStream>) {
    let Ok(first) = arrivals.recv() else { return };
    let mut held = vec![first];
    loop {
        held.extend(arrivals.try_iter());
        let pause = Timespec::try_from(INTERVAL).unwrap();
        let mut fds: Vec<_> =
            held.iter().map(|stream| PollFd::new(stream, PollFlags::RDHUP)).collect();
        rustix::event::poll(&mut fds, Some(&pause)).unwrap();
        let over: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut over = over.into_iter();
        held.retain(|stream| {
            let ended = over.next().unwrap_or(false);
            if ended {
                let how = match SockRef::from(stream).take_error() {
                    Ok(Some(error)) => format!("{:?}", error.kind()),
                    Ok(None) => "Fin".into(),
                    Err(error) => error.to_string(),
                };
                say(format_args!("{name} ended {how}"));
            }
            !ended
        });
    }
}
