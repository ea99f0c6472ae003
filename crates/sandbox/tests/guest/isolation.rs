//! What the command is inside: user, capabilities, processes, descriptors, signals.

use std::process::Command;

use crate::Case;
use crate::machine::{self, User};

pub(crate) const CASES: &[Case] = &[
    ("the_user_is_the_same_inside", the_user_is_the_same_inside),
    ("an_ordinary_user_s_command_has_no_capabilities", no_capabilities),
    ("a_root_without_rights_gets_a_user_namespace", a_root_without_rights),
    ("no_descriptor_leaks_into_the_command", no_descriptor_leaks_into_the_command),
    ("signals_are_in_their_default_state", signals_are_in_their_default_state),
    ("what_the_caller_ignored_stays_ignored", what_the_caller_ignored_stays_ignored),
    ("proc_shows_the_guest_s_processes", proc_shows_the_guest_s_processes),
    ("kill_reaches_nobody_outside", kill_reaches_nobody_outside),
    ("environment_directory_and_host_name", environment_directory_and_host_name),
];

fn inspect_user(user: User, options: &[&str]) -> String {
    let outcome = user.inspect(options, "user");
    assert_eq!(outcome.code, Some(0), "{user:?}: {outcome:?}");
    outcome.out
}

fn the_user_is_the_same_inside() {
    for user in User::available() {
        let facts = inspect_user(user, &[]);
        assert!(facts.contains(&format!("uid {}\n", user.uid())), "{user:?}: {facts}");
    }
}

fn no_capabilities() {
    for user in User::available() {
        let facts = inspect_user(user, &[]);
        let none = facts.contains("CapEff: 0000000000000000\nCapPrm")
            || facts.contains("CapPrm: 0000000000000000\nCapEff: 0000000000000000");
        assert_eq!(none, user == User::Ordinary, "{user:?}: {facts}");
    }
}

/// As root in a container is.
fn a_root_without_rights() {
    if !machine::am_root() || !machine::in_path("setpriv") {
        return machine::skip("taking rights away needs root and setpriv");
    }
    let this = machine::this_program();
    let look = |what: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", &this, "--supervise"]);
        command.args(["--nameserver=10.9.8.7", "--", &this, "--inspect", what]);
        let outcome = machine::finish(command, machine::DEADLINE);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.out
    };
    assert!(look("user").contains("uid 0\n"));
    assert_eq!(look("port-80"), "ipv4 true ipv6 true\n");
    assert!(look("network").contains("default via 10.213.77.1\n"));
}

fn no_descriptor_leaks_into_the_command() {
    for user in User::available() {
        // One more for the supervisor to have inherited without close-on-exec: the shell's.
        let (program, words) = user.supervisor_words();
        let inspect = user.inspect(&[], "descriptors");
        assert_eq!((inspect.code, inspect.out.as_str()), (Some(0), ""), "{user:?}");
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 7</dev/null; exec \"$@\"", "sh", &program]);
        shell.args(words).args(["--", "sh", "-c", "test -e /proc/self/fd/7 && echo leaked"]);
        let outcome = machine::finish(shell, machine::DEADLINE);
        assert_eq!(outcome.out, "", "{user:?}: {outcome:?}");
    }
}

fn signals_are_in_their_default_state() {
    for user in User::available() {
        let facts = inspect_user(user, &[]);
        assert!(facts.contains("SigBlk: 0000000000000000"), "{user:?}: {facts}");
        let ignored = facts.lines().find_map(|line| line.strip_prefix("SigIgn: ")).expect("it");
        let ignored = u64::from_str_radix(ignored, 16).expect("hexadecimal") & 0x7fff_ffff;
        // What looks is a Rust program, which ignores SIGPIPE (13) for itself.
        assert_eq!(ignored, 1 << (13 - 1), "{user:?}: {facts}");
    }
}

fn what_the_caller_ignored_stays_ignored() {
    for user in User::available() {
        let (program, words) = user.supervisor_words();
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh", &program]);
        shell.args(words).args(["--", "sh", "-c", "kill -HUP $$; echo alive"]);
        let outcome = machine::finish(shell, machine::DEADLINE);
        assert_eq!(outcome.out, "alive\n", "{user:?}: {outcome:?}");
    }
}

fn proc_shows_the_guest_s_processes() {
    for user in User::available() {
        let facts = inspect_user(user, &[]);
        assert!(facts.contains("pid 2\n") && facts.contains("self 2\n"), "{user:?}: {facts}");
        let outcome = user.run(&["--", "cat", "/proc/1/comm"]);
        assert_eq!(outcome.out, "portreeve-init\n", "{user:?}: {outcome:?}");
    }
}

fn kill_reaches_nobody_outside() {
    for user in User::available() {
        // 0 is one's own process group; -1 is everybody one can see, but oneself and init.
        for (target, code) in [("0", 128 + 15), ("-1", 7)] {
            let script = format!("kill -9 1; kill -TERM {target}; exit 7");
            let outcome = user.run(&["--", "sh", "-c", &script]);
            assert_eq!(outcome.code, Some(code), "{user:?} {target}: {outcome:?}");
        }
    }
}

fn environment_directory_and_host_name() {
    for user in User::available() {
        let options = ["--env=COLOUR=blue", "--cwd=/usr", "--hostname=island"];
        let mut arguments = options.to_vec();
        arguments.extend(["--", "sh", "-c", "echo $COLOUR $PWD $(uname -n)"]);
        let outcome = user.run(&arguments);
        assert_eq!(outcome.out, "blue /usr island\n", "{user:?}: {outcome:?}");
        let outcome = user.run(&["--cwd=/nowhere", "--", "true"]);
        assert_eq!(outcome.code, Some(126), "{user:?}: {outcome:?}");
        assert!(outcome.err.contains("/nowhere: cannot change"), "{user:?}: {outcome:?}");
    }
}
