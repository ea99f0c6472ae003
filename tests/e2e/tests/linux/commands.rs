//! The commands that ask a running engine, against one that runs: what they say is what is, and
//! what they do is done. What they ask and print is tested without an engine, in `crates/cli`.

use std::io::{ErrorKind, Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use portreeve_e2e::client::{connect, exchange, try_connect};
use portreeve_e2e::control::Place;
use portreeve_e2e::lines::Lines;
use portreeve_e2e::machine::{DEADLINE, User, eventually};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::program;
use portreeve_e2e::run::{Run, Running};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Somebody at another terminal.
struct Shell<'a>(&'a Place);

impl Shell<'_> {
    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(program::portreeve());
        command.args(words.split(' ')).args(["-s", self.0.text()]).stdin(Stdio::null());
        command
    }

    fn output(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }

    /// What a command prints that succeeds.
    fn out(&self, words: &str) -> String {
        let output = self.output(words);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.out(&format!("{words} --json"))).unwrap()
    }

    /// What a command says that does not.
    fn refused(&self, words: &str) -> String {
        let output = self.output(words);
        assert_eq!(output.status.code(), Some(1), "{words}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// One that goes on, and what it prints.
    fn begin(&self, words: &str) -> (Child, Lines) {
        let mut child = self.command(words).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        (child, lines)
    }
}

fn up(place: &Place) -> Running {
    let run = Run::usual().with(&["--control", place.text(), "--name", "web"]).publish("0:80");
    run.serve(&["line@80", "hold@81"]).up()
}

#[test]
fn ports_are_published_found_and_closed() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, shell) = (up(&place), Shell(&place));
        let from_run = run.tcp(80, Family::V4);
        assert!(shell.out("port 80").lines().any(|line| line == from_run.to_string()));

        for (how, ends) in [("--drain", false), ("--reset", true)] {
            let said = shell.out("publish 127.0.0.1:0:81");
            let host = said.trim().strip_prefix("81/tcp -> ").unwrap();
            let at = host.parse().unwrap();
            let mut client = connect(at);
            client.write_all(b"x").unwrap();
            eventually("the flow is open", || {
                shell.json("flows")["flows"].as_array().unwrap().len() == 1
            });
            assert_eq!(shell.out(&format!("unpublish {host}/tcp {how}")), said);
            assert_eq!(try_connect(at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let error = client.read(&mut [0]).unwrap_err().kind();
            let expected = if ends { ErrorKind::ConnectionReset } else { ErrorKind::WouldBlock };
            assert_eq!(error, expected, "{how}");
            assert!(shell.refused(&format!("unpublish {host}")).contains("no published port"));
        }

        let before = shell.out("port");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap();
        let said = shell.refused(&format!("publish 0:80 127.0.0.1:{}:80", taken.port()));
        assert!(said.contains(&taken.to_string()) && said.contains("in use"), "{said}");
        assert_eq!(shell.out("port"), before, "nothing half done stays");

        // Both listeners of the loopback go by one port.
        let port = from_run.port();
        assert_eq!(shell.out(&format!("unpublish {port}")).lines().count(), 2);
        assert_eq!(try_connect(from_run).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        run.finish();
    });
}

#[test]
fn flows_are_followed_and_killed() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, shell) = (up(&place), Shell(&place));
        let said = shell.out("publish 127.0.0.1:0:81");
        let at = said.trim().strip_prefix("81/tcp -> ").unwrap().parse().unwrap();
        let (mut follower, lines) = shell.begin("flows --follow --origin host");
        // It has begun to read when an event arrives; which one does not matter.
        eventually("the follower follows", || {
            exchange(run.tcp(80, Family::V4), "hello").unwrap();
            lines.so_far().contains("flow_closed")
        });
        let mut client = connect(at);
        let client_at = client.local_addr().unwrap().to_string();
        let id = || {
            let list = shell.json(&format!("flows --contains {client_at}"));
            list["flows"][0]["id"].as_str().map(str::to_owned)
        };
        eventually("the flow is open", || id().is_some());
        let id = id().unwrap();
        let table = shell.out("flows --protocol tcp");
        let row = table.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap();
        assert!(row.contains(&client_at) && row.contains("relaying"), "{table}");

        assert_eq!(shell.out(&format!("kill {id}")), "");
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let closed = |line: &str| line.contains("flow_closed") && line.contains(&client_at);
        let line = lines.find_within(DEADLINE, closed);
        assert!(line.as_ref().is_ok_and(|line| line.contains("killed")), "{line:?}");
        assert!(shell.refused(&format!("kill {id}")).contains("no flow"));

        // Whoever follows ends with the engine.
        run.finish();
        assert!(follower.wait().unwrap().success());
    });
}

#[test]
fn a_capture_is_a_file_with_the_frames_that_passed() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, shell) = (up(&place), Shell(&place));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("web.pcapng");
        let words = format!("capture -o {} --filter tcp", file.to_str().unwrap());
        let mut child = shell.command(&words).stderr(Stdio::piped()).spawn().unwrap();
        let said = Lines::of(child.stderr.take().unwrap());
        let written = || std::fs::metadata(&file).map_or(0, |file| file.len());
        eventually("frames are written", || {
            exchange(run.tcp(80, Family::V4), "hello").unwrap();
            written() > 1000
        });
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert!(child.wait().unwrap().success());
        let said = said.to_end(DEADLINE);
        let frames: usize = said
            .trim()
            .strip_prefix("portreeve: ")
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(packets(&std::fs::read(&file).unwrap()), frames, "{said}");
        assert!(frames >= 4, "{said}");
        run.finish();
    });
}

/// Counts the packets of a pcapng file, which must be whole.
fn packets(mut file: &[u8]) -> usize {
    // The third word of a section says in which order its bytes are.
    let little = file[8..12] == 0x1a2b_3c4d_u32.to_le_bytes();
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap();
        if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    let mut packets = 0;
    while !file.is_empty() {
        let (kind, length) = (word(&file[..4]), word(&file[4..8]) as usize);
        assert_eq!(word(&file[length - 4..length]) as usize, length);
        packets += usize::from(kind == 6);
        file = &file[length..];
    }
    packets
}

#[test]
fn names_and_limits_change_while_it_runs() {
    isolated(|_| {
        let place = Place::of(User::usual());
        let (run, shell) = (up(&place), Shell(&place));
        assert_eq!(shell.out("limits max_flows=100"), "max_flows: 32768 -> 100\n");
        assert_eq!(shell.json("limits")["max_flows"], 100);
        let output = shell.output("limits max_flows=0");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("max_flows"), "{output:?}");
        assert_eq!(shell.json("limits")["max_flows"], 100);
        let kept = shell.out("events --no-follow --kind reconfigured");
        assert!(kept.contains("max_flows"), "{kept}");

        assert_eq!(shell.out("dns set DB.internal 10.9.8.7 fd00::7 --ttl 5"), "");
        let records = shell.json("dns records");
        let record = records["records"]
            .as_array()
            .unwrap()
            .iter()
            .find(|record| record["name"] == "db.internal");
        assert_eq!(record.unwrap()["addresses"][0], "10.9.8.7", "{records}");
        assert_eq!(shell.out("dns flush"), "");
        assert!(shell.out("dns").contains("UPSTREAM"));
        assert_eq!(shell.out("dns remove db.internal"), "");
        assert!(shell.refused("dns remove db.internal").contains("db.internal"));

        assert!(shell.refused("reload").contains("configuration file"));
        run.finish();
    });
}

#[test]
fn an_engine_is_found_by_its_name_and_is_gone_with_its_process() {
    isolated(|_| {
        let folder = tempfile::tempdir().unwrap();
        let portreeve = |words: &str| {
            let mut command = Command::new(program::portreeve());
            command.args(words.split(' ')).env("PORTREEVE_RUNTIME_DIR", folder.path());
            command.stdin(Stdio::null()).output().unwrap()
        };
        let out = |words: &str| {
            let output = portreeve(words);
            assert!(output.status.success(), "{words}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(out("ps -q"), "");
        // Who may look into somebody else's directory is not the question here.
        let user = User::all().into_iter().find(|user| !user.is_other());
        let Some(user) = user else { return };
        let run = Run::by(user).with(&["--name", "web"]).publish("0:80").serve(&["line@80"]);
        let mut launcher = run.launcher();
        launcher.env("PORTREEVE_RUNTIME_DIR", folder.path());
        launcher.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = launcher.spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        lines.find_within(DEADLINE, |line| line == "listening").unwrap();

        assert_eq!(out("ps -q"), "web\n");
        let ps = out("ps");
        let row = ps.lines().nth(1).unwrap();
        assert!(row.starts_with("web ") && row.contains(" run "), "{ps}");
        assert!(row.contains(&child.id().to_string()) && row.contains("->80/tcp"), "{ps}");
        // By name and without any: both are the only one.
        assert_eq!(out("port web"), out("port"));
        assert!(out("stats").contains("listeners"));
        assert!(out("metrics web").contains("# TYPE "));
        let wrong = portreeve("stats wbe");
        let said = String::from_utf8(wrong.stderr).unwrap();
        assert_eq!(wrong.status.code(), Some(1), "{said}");
        assert!(said.contains("running is: web"), "{said}");

        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(out("ps -q"), "");
        assert_eq!(portreeve("stats").status.code(), Some(1));
    });
}
