//! The machine a comparison ran on, as far as it bears on the figures.

use std::{collections::BTreeMap, fs, process::Command, thread};

use serde::Serialize;

use super::engine::{Engine, find};
use crate::socket::CONGESTION_CONTROL;

/// Kernel, processors, limits and versions.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Environment {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    /// Load average of the last minute before the run: others at work spoil the figures.
    pub(crate) load: String,
    /// Of the sockets of the load generator.
    pub(crate) congestion_control: &'static str,
    /// Of everybody else's sockets.
    pub(crate) default_congestion_control: String,
    /// Socket buffer limits inside the comparison.
    pub(crate) buffers: BTreeMap<String, String>,
    pub(crate) versions: BTreeMap<String, String>,
}

impl Environment {
    pub(crate) fn read(engines: &[Engine]) -> Self {
        let kernel = rustix::system::uname();
        let mut buffers: BTreeMap<String, String> = memory_sysctls().into_iter().collect();
        for name in ["tcp_rmem", "tcp_wmem"] {
            buffers.insert(format!("net.ipv4.{name}"), sysctl(&format!("ipv4/{name}")));
        }
        Self {
            date: said(Command::new("date").args(["-u", "+%F"])).unwrap_or_default(),
            kernel: format!(
                "{} {} {}",
                kernel.sysname().to_string_lossy(),
                kernel.release().to_string_lossy(),
                kernel.machine().to_string_lossy()
            ),
            processor: processor(),
            processors: thread::available_parallelism().map_or(0, usize::from),
            load: load(),
            congestion_control: CONGESTION_CONTROL,
            default_congestion_control: sysctl("ipv4/tcp_congestion_control"),
            buffers,
            versions: versions(engines),
        }
    }

    /// When and on which machine, in a few words.
    pub(crate) fn machine(&self) -> String {
        format!("{}; {}; {} × {}", self.date, self.kernel, self.processors, self.processor)
    }
}

/// The buffer limits that belong to the whole machine. They are compared before and after a
/// run: some tools raise them and so spoil every later measurement.
pub(crate) fn memory_sysctls() -> Vec<(String, String)> {
    ["rmem_default", "rmem_max", "wmem_default", "wmem_max"]
        .iter()
        .map(|name| (format!("net.core.{name}"), sysctl(&format!("core/{name}"))))
        .collect()
}

fn sysctl(name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map(|(_, name)| name.trim().to_owned()).unwrap_or_default()
}

fn versions(engines: &[Engine]) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for engine in engines {
        let (name, version) = match engine {
            Engine::Portreeve { program } => {
                ("portreeve", said(Command::new(program).arg("--version")))
            }
            // Debian's pasta does not know its own version.
            Engine::Pasta | Engine::PastaEthernetMtu => ("passt", package("passt")),
            Engine::Slirp4netns => ("slirp4netns", package("slirp4netns")),
            Engine::Rootlesskit => ("rootlesskit", package("rootlesskit")),
            Engine::Veth | Engine::Loopback => continue,
        };
        versions.insert(name.to_owned(), version.unwrap_or_else(|| "unknown".to_owned()));
    }
    versions
}

fn package(name: &str) -> Option<String> {
    find("dpkg-query")?;
    said(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", name]))
        .map(|version| format!("{version} (Debian)"))
}

/// The first line of a command's output.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}
