//! The engine that is measured: `portreeve run` with the load generator's server as its guest.

use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Command},
    time::{Duration, Instant},
};

use super::http::Connection;
use crate::client::{Direction, Outcome};
use crate::compare::generator::Client;
use crate::compare::process::Process;

/// Time for the engine to start, and for one measurement beyond its window.
const PATIENCE: Duration = Duration::from_secs(60);
/// The port in the guest.
const GUEST_PORT: u16 = 9000;

/// A running engine; ended when dropped.
pub(super) struct Subject {
    _process: Process,
    folder: PathBuf,
    target: SocketAddr,
}

impl Subject {
    pub(super) fn start(portreeve: &Path) -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("portreeve-bench-control-{}", process::id()));
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        // Free now, and nobody else is likely to take it within the next milliseconds.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(portreeve);
        command.arg("run").arg("--control").arg(folder.join("control.sock"));
        command.args(["-p", &format!("127.0.0.1:{port}:{GUEST_PORT}/tcp"), "--"]);
        command.arg(env::current_exe()?).args(["server", "--port", &GUEST_PORT.to_string()]);
        let process = Process::start(command, &folder.join("log")).map_err(io::Error::other)?;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let subject = Self { _process: process, folder, target };
        subject.wait()?;
        Ok(subject)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    pub(super) fn connect(&self) -> io::Result<Connection> {
        Connection::open(&self.socket())
    }

    /// One stream at full speed.
    pub(super) fn stream(&self, direction: Direction, window: Duration) -> io::Result<Outcome> {
        let direction = match direction {
            Direction::Send => "send",
            Direction::Receive => "receive",
        };
        self.client(window, &["stream", "--direction", direction])
    }

    /// Connections, one request each, as many as go.
    pub(super) fn connections(&self, window: Duration) -> io::Result<Outcome> {
        self.client(window, &["connect", "--in-flight", "16"])
    }

    /// Opens idle connections and holds them until the client is dropped.
    pub(super) fn hold(&self, idle: usize) -> io::Result<Client> {
        let mut command = self.command(Duration::from_millis(1));
        command.args(["exchange", "--hold", "--idle", &idle.to_string()]);
        let mut client = Client::start(command).map_err(io::Error::other)?;
        match client.line(PATIENCE).map_err(io::Error::other)?.as_str() {
            "opened" => Ok(client),
            other => Err(io::Error::other(format!("opening {idle} connections: {other}"))),
        }
    }

    fn client(&self, window: Duration, arguments: &[&str]) -> io::Result<Outcome> {
        let mut command = self.command(window);
        command.args(arguments);
        let mut client = Client::start(command).map_err(io::Error::other)?;
        let line = client.line(window + PATIENCE).map_err(io::Error::other)?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    fn command(&self, window: Duration) -> Command {
        // This program, even when its file has been replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.args(["client", "--target", &self.target.to_string(), "--warmup-ms", "200"]);
        command.args(["--window-ms", &window.as_millis().to_string()]);
        command
    }

    /// Until both its guest and its API answer.
    fn wait(&self) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answered = self
                .connect()
                .and_then(|mut api| api.ask("GET", "/v1/health", ""))
                .is_ok_and(|answer| answer.status == 200);
            if answered && self.client(Duration::from_millis(1), &["probe"]).is_ok() {
                return Ok(());
            }
            if Instant::now() > until {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("the engine does not answer: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // What is left is in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
