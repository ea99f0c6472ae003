//! DPDK's own vhost-user front end, without a virtual machine: `dpdk-testpmd` with `virtio-user`.
//!
//! Where the command is missing (Debian: `dpdk-dev`, a large package) this says so and passes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portreeve_link::{Link, MAX_FRAME_LEN, VhostUserOptions, vhost_user};
use support::{Shell, place};

/// It sends what it likes, and gets all of it back.
#[test]
fn testpmd_gets_its_frames_back() {
    let found = Command::new("dpdk-testpmd").arg("--version").output();
    if found.is_err() {
        eprintln!("skipped: there is no dpdk-testpmd here (Debian: apt install dpdk-dev)");
        return;
    }
    for device in ["mrg_rxbuf=1", "mrg_rxbuf=0,in_order=0", "queues=2,mrg_rxbuf=1"] {
        let (_folder, path) = place();
        let options = VhostUserOptions { queue_pairs: 2, ..VhostUserOptions::default() };
        let mut shell = Shell::new(vhost_user::listen(&path, &options).unwrap());
        let device = format!("net_virtio_user0,path={},{device}", path.display());
        let mut testpmd = Command::new("dpdk-testpmd")
            .args(["--no-huge", "--no-pci", "-m", "256", "-l", "0,1", "--file-prefix", "portreeve"])
            .args(["--no-telemetry", "--vdev", &device])
            .args(["--", "-i", "--total-num-mbufs=4096", "--forward-mode=flowgen", "--auto-start"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut console = testpmd.stdin.take().unwrap();
        let mut buf = vec![0; MAX_FRAME_LEN];
        let (mut echoed, began, mut asked) = (0u64, Instant::now(), false);
        while testpmd.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "{echoed} frames");
            if echoed > 100_000 && !asked {
                console.write_all(b"stop\nshow port stats all\nquit\n").unwrap();
                asked = true;
            }
            match shell.link.receive(&mut buf) {
                Ok(length) => {
                    if shell.link.send(&buf[..length]).is_ok() {
                        echoed += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    shell.link.flush();
                    shell.edge(Duration::from_millis(20));
                }
                Err(_) => while shell.link.take_event().is_some() {},
            }
        }
        let mut said = String::new();
        testpmd.stdout.unwrap().read_to_string(&mut said).unwrap();
        let received = said.split("RX-packets:").filter_map(|rest| rest.split_whitespace().next());
        let received: u64 = received.filter_map(|count| count.parse().ok()).max().unwrap_or(0);
        assert!(received > 50_000, "{received} of {echoed} came back: {said}");
    }
}
