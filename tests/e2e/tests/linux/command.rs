//! The command: its exit, its signals, its input and output, and that nothing outlives it.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use portreeve_e2e::client::{connect, exchange, read_text, try_connect};
use portreeve_e2e::content::{self, Way};
use portreeve_e2e::machine::{User, eventually, family, is_running, users_of};
use portreeve_e2e::network::{Family, isolated};
use portreeve_e2e::run::{Run, file_in, open_directory};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn exit_codes_are_the_commands_or_dockers() {
    isolated(|_| {
        for user in User::all() {
            let code = |command: &[&str]| {
                let outcome = Run::by(user).command(command).outcome();
                assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");
                outcome.code
            };
            assert_eq!(code(&["true"]), Some(0));
            assert_eq!(code(&["sh", "-c", "exit 3"]), Some(3));
            assert_eq!(code(&["sh", "-c", "kill -TERM $$"]), Some(143));
            assert_eq!(code(&["sh", "-c", "kill -KILL $$"]), Some(137));
            assert_eq!(code(&["/"]), Some(126));
            assert_eq!(code(&["portreeve-no-such-command"]), Some(127));
            assert_eq!(code(&["/portreeve/no/such/command"]), Some(127));
            let ours = Run::by(user).with(&["--mtu", "99"]).command(&["true"]).outcome();
            assert_eq!(ours.code, Some(125), "{ours:?}");
        }
    });
}

#[test]
fn a_name_is_the_guests() {
    isolated(|_| {
        for user in User::all() {
            let run = Run::by(user).with(&["--name", "web-1"]);
            let outcome = run.command(&["uname", "-n"]).outcome();
            assert_eq!((outcome.code, &*outcome.out), (Some(0), "web-1\n"), "{outcome:?}");
        }
    });
}

#[test]
fn signals_reach_the_command() {
    isolated(|_| {
        for user in User::all() {
            let script = "for s in HUP INT QUIT USR1 USR2 TERM; do
                    trap \"echo got $s\" $s
                done
                echo ready
                while true; do sleep 0.05; done";
            let run = Run::by(user).command(&["sh", "-c", script]).start();
            run.hear("ready");
            let signals = [
                (Signal::HUP, "HUP"),
                (Signal::INT, "INT"),
                (Signal::QUIT, "QUIT"),
                (Signal::USR1, "USR1"),
                (Signal::USR2, "USR2"),
                (Signal::TERM, "TERM"),
            ];
            for (signal, name) in signals {
                run.signal(signal);
                run.hear(&format!("got {name}"));
            }
        }
    });
}

#[test]
fn a_terminated_run_ends_as_its_command_does() {
    isolated(|_| {
        let run = Run::usual().publish("0:80").serve(&["line@80"]).up();
        assert_eq!(exchange(run.tcp(80, Family::V4), "hello").unwrap(), "hello\n");
        run.signal(Signal::TERM);
        let outcome = run.end();
        assert_eq!(outcome.code, Some(143), "{outcome:?}");
    });
}

#[test]
fn input_and_output_are_the_commands() {
    isolated(|_| {
        for user in User::all() {
            let mut run = Run::by(user).publish("0:80").command(&["cat"]).launcher();
            let mut child = run
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let length = 8 << 20;
            let writer = std::thread::spawn(move || {
                content::send(&mut stdin, Way::ToGuest, length).unwrap();
            });
            let received = content::receive(&mut child.stdout.take().unwrap(), Way::ToGuest);
            assert_eq!(received.unwrap().verdict(), format!("{length} ok"));
            writer.join().unwrap();
            let mut err = String::new();
            child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            assert_eq!(err.lines().count(), 2, "only the ports: {err}");
            assert!(child.wait().unwrap().success());
        }
    });
}

/// Every guest has the same addresses, and none of them meets another.
#[test]
fn two_runs_are_strangers() {
    isolated(|_| {
        let runs: Vec<_> = User::all()
            .into_iter()
            .flat_map(|user| [user; 2])
            .map(|user| Run::by(user).publish("0:80").serve(&["peer@80", "line@81"]).up())
            .collect();
        let seen: Vec<_> = runs
            .iter()
            .map(|run| read_text(&mut connect(run.tcp(80, Family::V4))).unwrap())
            .map(|line| line.split(' ').nth(1).unwrap().to_owned())
            .collect();
        assert!(seen.iter().all(|local| *local == seen[0]), "{seen:?}");
        let ports: std::collections::BTreeSet<_> =
            runs.iter().map(|run| run.tcp(80, Family::V6)).collect();
        assert_eq!(ports.len(), runs.len());
        // Nobody has port 81 who did not ask for it, and the end of one is not that of others.
        let mut runs = runs.into_iter();
        runs.next().unwrap().finish();
        for run in runs {
            assert!(run.all_published("81/tcp").is_empty());
            assert!(!read_text(&mut connect(run.tcp(80, Family::V6))).unwrap().is_empty());
            run.finish();
        }
    });
}

/// Whoever the command left in the background goes with it.
#[test]
fn nothing_outlives_the_command() {
    isolated(|_| {
        for user in User::all() {
            let script = "sleep 1000 & (setsid sleep 1000 &) ; echo ready; read line; exit 7";
            let mut run = Run::by(user).publish("0:80").command(&["sh", "-c", script]).start();
            run.hear("ready");
            let all = family(run.id());
            assert!(all.len() >= 5, "{all:?}");
            let namespace = std::fs::read_link(format!("/proc/{}/ns/net", run.init())).unwrap();
            run.stdin = None;
            assert_eq!(run.end().code, Some(7));
            for id in all {
                assert!(!is_running(id), "{id} still runs");
            }
            assert!(users_of(&namespace).is_empty());
        }
    });
}

/// As the kernel does when memory runs out.
#[test]
fn a_guest_that_is_killed_ends_the_run() {
    isolated(|_| {
        for user in User::all() {
            let run = Run::by(user).publish("0:80").serve(&["hold@80"]).up();
            let mut stream = connect(run.tcp(80, Family::V6));
            // Unread bytes in the guest make its end a reset.
            stream.write_all(b"x").unwrap();
            std::thread::sleep(Duration::from_millis(50));
            let init = i32::try_from(run.init()).ok().and_then(Pid::from_raw).unwrap();
            kill_process(init, Signal::KILL).unwrap();
            let outcome = run.end();
            assert_eq!(outcome.code, Some(137), "{outcome:?}");
            let error = stream.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    });
}

/// Descriptors 0 to 2 would go to sockets otherwise.
#[test]
fn closed_standard_streams_are_nobodys() {
    isolated(|_| {
        for user in User::all() {
            let directory = open_directory();
            let (list, name) = file_in(&directory, "ports");
            let run = Run::by(user).publish("0:80").with(&["--ports-file", &name]);
            let run = run.serve(&["stay", "line@80"]);
            let launcher = run.launcher();
            let mut words = vec![launcher.get_program()];
            words.extend(launcher.get_args());
            let mut child = Command::new("sh")
                .args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"])
                .args(words)
                .spawn()
                .unwrap();
            eventually("published", || list.exists());
            let ports = std::fs::read_to_string(&list).unwrap();
            let at = ports.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
            eventually("served", || exchange(at, "hello").is_ok_and(|line| line == "hello\n"));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
}

#[test]
fn killed_it_leaves_nothing() {
    isolated(|_| {
        for user in User::all() {
            let directory = open_directory();
            let (path, name) = file_in(&directory, "http.sock");
            let run = || {
                let run = Run::by(user).publish("0:80").publish("0:81/udp");
                run.publish(&format!("unix:{name}:80")).serve(&["echo@80", "udp-echo@81"]).up()
            };
            let first = run();
            let at = first.tcp(80, Family::V4);
            let mut stream = connect(at);
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
            let all = family(first.id());
            assert!(all.len() >= 3, "{all:?}");
            let namespace = std::fs::read_link(format!("/proc/{}/ns/net", first.init())).unwrap();
            first.signal(Signal::KILL);
            assert_eq!(first.end().code, None);
            // Its end is the kernel's to bring about, and it does so on its own time.
            eventually("every process is gone", || !all.iter().any(|&id| is_running(id)));
            eventually("the namespace is gone", || users_of(&namespace).is_empty());
            assert!(try_connect(at).is_err());
            assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
            // The file of a Unix socket stays, as the kernel has it; it is in nobody's way.
            assert!(path.exists());
            run().finish();
        }
    });
}
