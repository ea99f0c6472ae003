//! A real virtual machine: QEMU without KVM, Debian's kernel, and the guest's program in it.
//!
//! Owns the process and its console, over which the guest's program says what it has to say and
//! takes orders. What the machine is made of is built by the scripts in `vm/`, once, into
//! `target/vm`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::calls::{Caller, Calls};
use crate::lines::Lines;
use crate::machine::{has_tool, skip};
use crate::program;

/// Kernel and file system of a machine.
#[derive(Debug)]
pub struct Image {
    kernel: PathBuf,
    initrd: PathBuf,
}

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    console: ChildStdin,
    /// What its console says.
    pub out: Lines,
    calls: Calls,
}

/// Emulated and on a busy machine, to the services; some seconds where nothing else runs.
const BOOT: Duration = Duration::from_secs(90);

impl Image {
    /// Builds it, if that has not been done; `None`, said aloud, where it cannot be had.
    pub fn get() -> Option<&'static Self> {
        static IMAGE: OnceLock<Result<Image, String>> = OnceLock::new();
        if !has_tool("qemu-system-x86_64", "qemu-system-x86") {
            return None;
        }
        match IMAGE.get_or_init(Self::build) {
            Ok(image) => Some(image),
            Err(why) => {
                skip(&format!("virtual machines: {why}"));
                None
            }
        }
    }

    fn build() -> Result<Self, String> {
        let directory = program::target_directory().join("vm");
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        script("kernel", &[&directory])?;
        script("initrd", &[&directory, &program::guest()])?;
        Ok(Self { kernel: directory.join("kernel/vmlinuz"), initrd: directory.join("initrd") })
    }

    /// Starts a machine whose network card is on this `-netdev`, called `net`, and waits for
    /// nothing.
    pub fn boot(&self, netdev: &str, services: &[&str]) -> Machine {
        self.start(&["-netdev", netdev], "", services)
    }

    /// Starts a machine that shares its memory, with a vhost-user network card on this `-chardev`,
    /// called `card`, and this many pairs of queues.
    pub fn boot_sharing(&self, chardev: &str, queues: u16, services: &[&str]) -> Machine {
        let netdev = format!("vhost-user,id=net,chardev=card,queues={queues}");
        let memory = "memory-backend-memfd,id=memory,size=256M,share=on";
        let numa = "node,memdev=memory";
        // The guest uses as many pairs as it has processors.
        let processors = queues.to_string();
        let sharing = ["-object", memory, "-numa", numa, "-smp", &processors];
        let card = ["-chardev", chardev, "-netdev", &netdev];
        // With interrupts by message, QEMU 7.2 without KVM crashes where the back end is another
        // process.
        let device = if queues > 1 { ",mq=on,vectors=0" } else { ",vectors=0" };
        self.start(&[&sharing[..], &card].concat(), device, services)
    }

    fn start(&self, options: &[&str], device: &str, services: &[&str]) -> Machine {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "q35", "-m", "256", "-nodefaults", "-display", "none"]);
        qemu.args(["-serial", "stdio"]).args(options);
        qemu.args(["-device", &format!("virtio-net-pci,netdev=net,romfile={device}")]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        let services = services.join(",");
        qemu.args(["-append", &format!("console=ttyS0 quiet panic=-1 services={services}")]);
        qemu.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = qemu.spawn().unwrap();
        let console = child.stdin.take().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        Machine { child, console, out, calls: Calls::default() }
    }
}

fn script(name: &str, arguments: &[&Path]) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm").join(name);
    let output = Command::new(&path).args(arguments).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("its script failed").to_owned())
}

impl Machine {
    /// Waits for something that its console says.
    pub fn hear(&self, wanted: &str) -> String {
        let heard = self.out.find_within(BOOT, |line| line.contains(wanted));
        heard.unwrap_or_else(|_| panic!("no `{wanted}`: {}", self.out.so_far()))
    }

    /// Waits until the services listen.
    pub fn up(&self) {
        self.hear("listening");
    }

    /// Starts the guest anew; the machine that it runs on goes on.
    pub fn reboot(&mut self) {
        self.console.write_all(b"exit 0\n").unwrap();
    }
}

impl Caller for Machine {
    fn orders(&self) -> impl Write {
        &self.console
    }

    fn lines(&self) -> &Lines {
        &self.out
    }

    fn calls(&self) -> &Calls {
        &self.calls
    }

    fn words(&self) -> String {
        self.out.so_far()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.out.so_far());
        }
    }
}
