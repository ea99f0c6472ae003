//! How each engine is started: the only file that knows their command lines.

use std::{
    env,
    ffi::OsString,
    fmt, fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{
    isolation::{Ground, ORDINARY_USER},
    metric::Load,
    process::{Process, server_below},
    topology::{PORT, Place, SECOND_PORT},
};

/// The name of the engine under test.
pub(crate) const PORTREEVE: &str = "portreeve";
/// The peer that ratios are taken to.
pub(crate) const REFERENCE: &str = "pasta";
/// The same peer with the MTU that is ours.
pub(crate) const ETHERNET_REFERENCE: &str = "pasta, MTU 1500";
/// Time for a peer's control socket to appear.
const PATIENCE: Duration = Duration::from_secs(5);

/// A choice of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Pasta,
    Slirp4netns,
    Rootlesskit,
    None,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] =
        [Self::Pasta, Self::Slirp4netns, Self::Rootlesskit, Self::None];
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
            Self::Rootlesskit => "rootlesskit",
            Self::None => "none",
        })
    }
}

/// Something that carries a published port, or the bare link for comparison.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    Portreeve { program: PathBuf },
    Pasta,
    PastaEthernetMtu,
    Slirp4netns,
    Rootlesskit,
    Veth,
    Loopback,
}

/// The engines of a comparison, ours first.
pub(crate) fn engines(peers: &[Peer], portreeve: Option<&Path>) -> Vec<Engine> {
    let ours = portreeve.map(|path| Engine::Portreeve { program: path.to_path_buf() });
    let of = |peer: &Peer| match peer {
        Peer::Pasta => vec![Engine::Pasta, Engine::PastaEthernetMtu],
        Peer::Slirp4netns => vec![Engine::Slirp4netns],
        Peer::Rootlesskit => vec![Engine::Rootlesskit],
        Peer::None => vec![Engine::Veth, Engine::Loopback],
    };
    ours.into_iter().chain(peers.iter().flat_map(of)).collect()
}

/// A started engine with its server.
pub(crate) struct Running {
    /// The last one started is the first to end.
    processes: Vec<Process>,
    /// Where its own processes hang; the server among them is not counted.
    pub(crate) roots: Vec<u32>,
    /// A file the guest's namespace is mounted on.
    mounted: Option<PathBuf>,
}

impl Running {
    /// The file that names the guest's network namespace, known by the server in it.
    pub(crate) fn guest_netns(&self) -> Option<PathBuf> {
        let server = self.processes.iter().find_map(|process| server_below(process.id()))?;
        Some(PathBuf::from(format!("/proc/{server}/ns/net")))
    }

    /// How a process ended that should not have.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.processes.iter_mut().find_map(Process::ended)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        while let Some(process) = self.processes.pop() {
            drop(process);
        }
        if let Some(path) = &self.mounted {
            // What is left mounted ends with the mount namespace of the comparison.
            let _ = unmount(path, UnmountFlags::DETACH);
        }
    }
}

impl Engine {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Portreeve { .. } => PORTREEVE,
            Self::Pasta => REFERENCE,
            Self::PastaEthernetMtu => ETHERNET_REFERENCE,
            Self::Slirp4netns => "slirp4netns",
            Self::Rootlesskit => "RootlessKit builtin",
            Self::Veth => "bare veth",
            Self::Loopback => "bare loopback",
        }
    }

    /// The MTU the guest sees.
    pub(crate) fn mtu(&self) -> &'static str {
        match self {
            Self::Portreeve { .. } | Self::PastaEthernetMtu | Self::Veth => "1500",
            Self::Pasta | Self::Slirp4netns => "65520",
            Self::Rootlesskit => "no link: accepted outside, dialled inside over loopback",
            Self::Loopback => "65536",
        }
    }

    /// No engine: what the machine does without one.
    pub(crate) fn is_bare(&self) -> bool {
        matches!(self, Self::Veth | Self::Loopback)
    }

    /// Whether its guest's own connections are measured.
    pub(crate) fn has_guest(&self) -> bool {
        !matches!(self, Self::Loopback | Self::Rootlesskit)
    }

    pub(crate) fn place(&self) -> Place {
        if matches!(self, Self::Loopback) { Place::Loopback } else { Place::Client }
    }

    /// What it is measured with. A quick run leaves out what the summary does not compare.
    pub(crate) fn loads(&self, quick: bool) -> Vec<Load> {
        let keep = |load: &Load| match (self, load) {
            (Self::Portreeve { .. }, _) => true,
            (Self::Veth | Self::Loopback, Load::Idle) => false,
            // The gateway's DNS is ours alone; peers hand the host's servers on.
            (_, Load::NamesCached | Load::NamesFresh) => false,
            // No guest, or one whose own connections are slirp4netns's.
            (engine, load) if load.is_outbound() && !engine.has_guest() => false,
            _ if !quick => true,
            (Self::Loopback, _) => false,
            (Self::Pasta, load) => *load != Load::Idle,
            (Self::PastaEthernetMtu, load) => load.is_stream(),
            (_, load) => load.is_stream() || *load == Load::ConnectMany,
        };
        Load::ALL.into_iter().filter(keep).collect()
    }

    /// `Err` says what is missing.
    pub(crate) fn available(&self, ground: &Ground) -> Result<(), String> {
        let installed = |program: &str| match find(program) {
            Some(_) => Ok(()),
            None => Err(format!("{program} is not installed")),
        };
        match self {
            Self::Portreeve { program } if !program.is_file() => Err("not built".to_owned()),
            Self::Portreeve { .. } | Self::Veth | Self::Loopback => Ok(()),
            Self::Pasta | Self::PastaEthernetMtu => installed("pasta"),
            Self::Slirp4netns => installed("slirp4netns"),
            Self::Rootlesskit => {
                installed("rootlesskit")?;
                installed("slirp4netns")?;
                installed("newuidmap")?;
                ground.no_subordinate_ids.clone().map_or(Ok(()), Err)
            }
        }
    }

    /// The program and its arguments before those of the server, as the report shows them.
    fn command(&self) -> Vec<String> {
        let text = match self {
            Self::Portreeve { .. } => format!(
                "portreeve run -p 0.0.0.0:{PORT}:{PORT}/tcp+udp -p 0.0.0.0:{SECOND_PORT}:{PORT} \
                 --mtu 1500 --"
            ),
            Self::Pasta => pasta(65_520),
            Self::PastaEthernetMtu => pasta(1_500),
            Self::Slirp4netns => "slirp4netns --configure --mtu=65520".to_owned(),
            Self::Rootlesskit => format!(
                "rootlesskit --net=slirp4netns --mtu=65520 --disable-host-loopback \
                 --port-driver=builtin -p 0.0.0.0:{PORT}:{PORT}/tcp -p 0.0.0.0:{PORT}:{PORT}/udp"
            ),
            Self::Veth | Self::Loopback => String::new(),
        };
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Starts the engine and, in its guest, the server.
    pub(crate) fn start(&self, ground: &Ground, log: &Path) -> Result<Running, String> {
        let server = server(ground);
        let mut words: Vec<OsString> = self.command().into_iter().map(OsString::from).collect();
        let mut command = Command::new(&ground.program);
        command.arg("enter");
        match self {
            Self::Slirp4netns => return slirp4netns(ground, &words, log),
            Self::Pasta | Self::PastaEthernetMtu => return join(ground, &words, log),
            Self::Portreeve { program } => words[0] = program.into(),
            Self::Rootlesskit => {
                let home = ground.scratch.join("home");
                command.args(["--user", &ORDINARY_USER.to_string()]);
                command.env("HOME", &home).env("XDG_RUNTIME_DIR", &home).current_dir(&home);
            }
            Self::Veth | Self::Loopback => {}
        }
        command.arg("--").args(words).args(server);
        let process = Process::start(command, log)?;
        let roots = if self.is_bare() { Vec::new() } else { vec![process.id()] };
        Ok(Running { processes: vec![process], roots, mounted: None })
    }
}

fn pasta(mtu: u32) -> String {
    // -T and -U: the guest's own forwards, which would be looked for every second, are off.
    format!(
        "pasta --runas 0 --config-net --foreground -m {mtu} -t {PORT} -u {PORT} -T none -U none"
    )
}

fn server(ground: &Ground) -> Vec<OsString> {
    let mut words = vec![ground.program.clone().into_os_string()];
    words.extend(["server", "--port", &PORT.to_string()].map(OsString::from));
    words
}

/// A server in a network namespace of its own, without any link yet.
fn guest(ground: &Ground, log: &Path) -> Result<Process, String> {
    let mut guest = Command::new(&ground.program);
    guest.args(["enter", "--new-netns", "--"]).args(server(ground));
    let guest = Process::start(guest, log)?;
    let own = fs::read_link("/proc/self/ns/net").map_err(|error| error.to_string())?;
    let theirs = format!("/proc/{}/ns/net", guest.id());
    wait_for("the guest's namespace", || {
        fs::read_link(&theirs).is_ok_and(|namespace| namespace != own)
    })?;
    Ok(guest)
}

/// pasta joins the server's namespace. It could also start the server itself, but then in a user
/// namespace, where a process may not choose its congestion control. It gives up the right to
/// look into /proc early, so that the namespace needs a name of its own.
fn join(ground: &Ground, words: &[OsString], log: &Path) -> Result<Running, String> {
    let guest = guest(ground, log)?;
    let path = ground.scratch.join("guest-netns");
    let mount = || {
        fs::File::create(&path)?;
        mount_bind(format!("/proc/{}/ns/net", guest.id()), &path)?;
        std::io::Result::Ok(())
    };
    mount().map_err(|error| format!("{}: {error}", path.display()))?;
    let mut running = Running { roots: Vec::new(), processes: vec![guest], mounted: Some(path) };
    let mut command = Command::new(&ground.program);
    command.args(["enter", "--"]).args(words).arg("--netns-only").arg("--netns");
    command.args(running.mounted.as_deref());
    let engine = Process::start(command, log)?;
    running.roots.push(engine.id());
    running.processes.push(engine);
    Ok(running)
}

/// slirp4netns joins the server's namespace and is then told over its API what to forward.
fn slirp4netns(ground: &Ground, words: &[OsString], log: &Path) -> Result<Running, String> {
    let guest = guest(ground, log)?;
    let socket = ground.scratch.join("slirp4netns.sock");
    let _ = fs::remove_file(&socket);
    let mut command = Command::new(&ground.program);
    command.args(["enter", "--"]).args(words).arg("--api-socket").arg(&socket);
    command.args([&guest.id().to_string(), "tap0"]);
    let engine = Process::start(command, log)?;
    wait_for("the API socket", || UnixStream::connect(&socket).is_ok())?;
    for proto in ["tcp", "udp"] {
        let request = serde_json::json!({"execute": "add_hostfwd", "arguments": {
            "proto": proto, "host_addr": "0.0.0.0", "host_port": PORT, "guest_port": PORT}});
        let answer = call(&socket, &request.to_string()).map_err(|error| error.to_string())?;
        if !answer.contains("return") {
            return Err(format!("add_hostfwd {proto}: {answer}"));
        }
    }
    Ok(Running { roots: vec![engine.id()], processes: vec![guest, engine], mounted: None })
}

fn call(socket: &Path, request: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while !there() {
        if Instant::now() > until {
            return Err(format!("{what} did not appear within {PATIENCE:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A program on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

impl Serialize for Engine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Engine", 3)?;
        fields.serialize_field("name", self.name())?;
        fields.serialize_field("mtu", self.mtu())?;
        fields.serialize_field("command", &self.shown())?;
        fields.end()
    }
}

impl Engine {
    /// The command line without machine paths.
    pub(crate) fn shown(&self) -> String {
        let server = format!("portreeve-bench server --port {PORT}");
        let command = self.command().join(" ");
        let command = match self {
            Self::Pasta | Self::PastaEthernetMtu => {
                format!("{command} --netns-only --netns PATH, where PATH is the namespace of")
            }
            Self::Slirp4netns => format!(
                "{command} --api-socket SOCKET PID tap0 and add_hostfwd for tcp and udp, where \
                 PID is"
            ),
            Self::Portreeve { .. } | Self::Rootlesskit | Self::Veth | Self::Loopback => command,
        };
        format!("{command} {server}").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_ours_is_measured_whole() {
        let all = engines(&Peer::ALL, Some(Path::new("portreeve")));
        let mut names: Vec<_> = all.iter().map(Engine::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert_eq!(all[0].loads(true), Load::ALL);
        assert!(!engines(&Peer::ALL, None).iter().any(|engine| engine.name() == PORTREEVE));
    }

    #[test]
    fn commands_show_no_path() {
        for engine in engines(&Peer::ALL, Some(Path::new("/somewhere/portreeve"))) {
            assert!(!engine.shown().contains("/somewhere"), "{}", engine.shown());
        }
    }
}
