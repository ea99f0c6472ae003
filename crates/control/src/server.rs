//! The server: where it listens, its one thread, its end.
//!
//! Owns the order of it: everything that can fail is done by the caller's thread, before any
//! client is answered; the end stops accepting, lets answers under way be finished, joins the
//! thread and removes the socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use portreeve::{Handle, fd_limit};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::connections::Connections;
use crate::endpoints;
use crate::error::Error;
use crate::guard::Guard;
use crate::peer::Doorkeeper;
use crate::place::Place;
use crate::serve::{self, Service};
use crate::state::{Api, ConfigProvider};
use crate::token::Token;

/// A control API that is being served. Dropping it ends it and removes its socket.
#[derive(Debug)]
pub struct Server {
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    place: Option<Place>,
    path: Option<PathBuf>,
    address: Option<SocketAddr>,
}

/// What a server is to be. See [`Server::builder`].
pub struct Builder {
    engine: Handle,
    name: String,
    mode: String,
    socket: Option<PathBuf>,
    tcp: Option<(SocketAddr, Token)>,
    config: Option<Arc<dyn ConfigProvider>>,
}

impl Server {
    /// A server for this engine; say where it listens, and [`start`](Builder::start) it.
    pub fn builder(engine: Handle) -> Builder {
        Builder {
            engine,
            name: String::new(),
            mode: "embedded".to_owned(),
            socket: None,
            tcp: None,
            config: None,
        }
    }

    /// The socket's path, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Where the page is served over TCP, if it is; the port is the kernel's choice where it was 0.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody listens to it only if the thread has failed.
        let _ = self.ending.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control API's thread had failed");
        }
        drop(self.place.take());
    }
}

impl Builder {
    /// The guest's name, which `GET /v1/health` says. A socket in a directory of that name takes
    /// the directory with it at the end, if nothing else is in it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What the process does, for `GET /v1/health`: `run`, `serve`, or a word of yours.
    #[must_use]
    pub fn mode(mut self, mode: impl Into<String>) -> Self {
        self.mode = mode.into();
        self
    }

    /// Listens at this path. Its directory, and the one above that, are made if they are missing;
    /// nobody but this user may be able to enter the directory.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// Listens on this loopback address, for the page and for whoever shows the token.
    #[must_use]
    pub fn tcp(mut self, address: SocketAddr, token: Token) -> Self {
        self.tcp = Some((address, token));
        self
    }

    /// Answers questions about the configuration.
    #[must_use]
    pub fn config(mut self, config: Arc<dyn ConfigProvider>) -> Self {
        self.config = Some(config);
        self
    }

    /// Starts it: when this returns, clients are answered.
    ///
    /// # Errors
    /// When a path or an address cannot be had, is another's, or is open to others.
    pub fn start(self) -> Result<Server, Error> {
        if self.socket.is_none() && self.tcp.is_none() {
            return Err(Error::Nowhere);
        }
        let doorkeeper = Doorkeeper::new()?;
        let tcp = self.tcp.map(|(address, token)| listen(address, token)).transpose()?;
        let unix = self.socket.as_ref().map(|path| Place::take(path, &self.name)).transpose()?;
        let (unix, place) = unix.unzip();
        // From here on, so that whoever asks for the past finds some.
        self.engine.keep_events();
        let api = Api::new(self.engine, self.name, self.mode, self.config);
        let (ending, watched) = watch::channel(false);
        let service = Service {
            router: endpoints::router(api),
            connections: Connections::new(most_connections()),
            ending: watched,
        };
        let runtime = runtime().map_err(Error::Thread)?;
        let address = tcp.as_ref().map(|(listener, _)| listener.local_addr()).transpose();
        let address = address.map_err(Error::Thread)?;
        let unix = unix.map(UnixListener::from);
        let listeners = Listeners { unix, tcp, doorkeeper };
        let thread = std::thread::Builder::new().name("portreeve-control".into());
        let thread = thread.spawn(move || work(runtime, listeners, service));
        let thread = Some(thread.map_err(Error::Thread)?);
        Ok(Server { ending, thread, place, path: self.socket, address })
    }
}

/// What is listened at.
struct Listeners {
    unix: Option<UnixListener>,
    tcp: Option<(TcpListener, Guard)>,
    doorkeeper: Doorkeeper,
}

/// The server's thread, from its beginning to its end.
fn work(runtime: Runtime, listeners: Listeners, service: Service) {
    // Of this thread and those it starts (setpriority(2): on Linux a thread's). Where processors
    // are short, a capture that is written out gives way to the traffic that it shows.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the control API keeps its priority");
    }
    runtime.block_on(async {
        if let Err(error) = serve_all(listeners, &service).await {
            tracing::error!(%error, "the control API's sockets");
        }
        // Connections have seen the end too, and each has its own bound for it.
        let Service { connections, .. } = service;
        connections.empty(GRACE).await;
    });
    // A call of an engine that does not answer cannot be waited for.
    runtime.shutdown_background();
}

async fn serve_all(listeners: Listeners, service: &Service) -> io::Result<()> {
    let Listeners { unix, tcp, doorkeeper } = listeners;
    let mut tasks = Vec::new();
    if let Some(unix) = unix {
        let unix = tokio::net::UnixListener::from_std(unix)?;
        tasks.push(tokio::spawn(serve::unix(unix, doorkeeper, service.clone())));
    }
    if let Some((listener, guard)) = tcp {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tasks.push(tokio::spawn(serve::tcp(listener, guard, service.clone())));
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

fn listen(address: SocketAddr, token: Token) -> Result<(TcpListener, Guard), Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback(address));
    }
    let failed = |source| Error::Tcp { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, Guard::new(bound, token)))
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(CALLS)
        .thread_name("portreeve-call")
        .thread_keep_alive(Duration::from_secs(5))
        .build()
}

/// How much the API gives way to everybody else; 19 would be all the way.
const NICENESS: i32 = 5;
/// The share of the descriptors that the API's clients may have: the rest is for connections of
/// the guest.
fn most_connections() -> usize {
    let (limit, _) = fd_limit();
    usize::try_from(limit / 8).unwrap_or(usize::MAX).clamp(16, MAX_CONNECTIONS)
}

/// Calls of the library that wait for the engine at once.
const CALLS: usize = 4;
const MAX_CONNECTIONS: usize = 1_024;
/// A little more than what one connection is given.
const GRACE: Duration = Duration::from_millis(600);
