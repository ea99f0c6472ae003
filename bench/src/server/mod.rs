//! The server of the load generator: one port, every mode.
//!
//! `exchange.rs` is its event loop and answers short requests; `bulk.rs` gives each stream a
//! thread; `datagram.rs` is the UDP side; `names.rs` is a name server beside them.

mod bulk;
mod datagram;
mod exchange;
mod names;

use std::{
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::Arc,
    thread,
};

use crate::socket::{make_room, raise_fd_limit, set_congestion_control};

/// A bound server.
pub(crate) struct Server {
    listener: TcpListener,
    datagrams: UdpSocket,
    names: Option<UdpSocket>,
}

impl Server {
    /// Listens on `port` on every IPv4 address, TCP and UDP; port 0 is the kernel's choice.
    pub(crate) fn bind(port: u16) -> io::Result<Self> {
        raise_fd_limit()?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        // std listens with a backlog of 128; a second listen(2) only changes the backlog.
        rustix::net::listen(&listener, 4096)?;
        set_congestion_control(&listener)?;
        let port = listener.local_addr()?.port();
        let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        make_room(&datagrams)?;
        Ok(Self { listener, datagrams, names: None })
    }

    /// Answers questions about names too, on the given UDP port.
    pub(crate) fn with_names(mut self, port: u16) -> io::Result<Self> {
        let names = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        make_room(&names)?;
        self.names = Some(names);
        Ok(self)
    }

    /// Serves for ever.
    pub(crate) fn run(self) -> io::Result<()> {
        let floods = Arc::new(datagram::Floods::default());
        let counted = Arc::clone(&floods);
        thread::Builder::new()
            .name("datagrams".to_owned())
            .spawn(move || datagram::serve(&self.datagrams, &counted))?;
        if let Some(names) = self.names {
            thread::Builder::new().name("names".to_owned()).spawn(move || names::serve(&names))?;
        }
        exchange::serve(self.listener, &floods)
    }

    #[cfg(test)]
    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    #[cfg(test)]
    pub(crate) fn names_port(&self) -> Option<u16> {
        Some(self.names.as_ref()?.local_addr().expect("bound").port())
    }
}
