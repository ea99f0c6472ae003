//! The terminal: Ctrl-C, Ctrl-Z and `fg`, foreground and background, window size, pipelines.

use crate::Case;
use crate::machine::{self, User};
use crate::tty::Terminal;

pub(crate) const CASES: &[Case] = &[
    ("the_command_leads_the_foreground_group", the_command_leads_the_foreground_group),
    ("ctrl_c_reaches_the_command", ctrl_c_reaches_the_command),
    ("ctrl_z_and_fg_go_round", ctrl_z_and_fg_go_round),
    ("ctrl_z_and_bg_leave_the_shell_its_terminal", ctrl_z_and_bg),
    ("the_window_size_is_seen", the_window_size_is_seen),
    ("a_background_job_waits_for_fg_to_read", a_background_job_waits_for_fg_to_read),
    ("a_pipeline_shares_the_terminal", a_pipeline_shares_the_terminal),
    ("ctrl_c_ends_a_pipeline", ctrl_c_ends_a_pipeline),
    ("modes_come_back_after_a_violent_end", modes_come_back_after_a_violent_end),
    ("a_shell_inside_has_job_control", a_shell_inside_has_job_control),
    ("without_job_control_the_terminal_can_be_read", without_job_control),
    ("what_we_print_does_not_stop_us", what_we_print_does_not_stop_us),
    ("ctrl_z_stops_a_script_around_us", ctrl_z_stops_a_script_around_us),
];

/// Runs `case` on a fresh terminal as everybody the tests can be.
fn on_terminals(case: impl Fn(User, &mut Terminal)) {
    for user in User::available() {
        let Some(mut terminal) = Terminal::open() else { return };
        case(user, &mut terminal);
        // The shell has its terminal back and works.
        terminal.type_in("echo still-$((40+2))\n");
        terminal.expect("still-42");
    }
}

const STATUS: &str = "; echo status=$?";

fn the_command_leads_the_foreground_group() {
    on_terminals(|user, terminal| {
        let inside = user.program_inside();
        let arguments = ["--terminal", "--", &inside, "--inspect", "foreground"];
        terminal.supervise(user, &arguments, STATUS);
        terminal.expect("leader=true foreground=true");
        terminal.expect("status=0");
    });
}

fn ctrl_c_reaches_the_command() {
    on_terminals(|user, terminal| {
        let script = "trap 'echo got-int; exit 9' INT; echo rea''dy; while :; do sleep 0.02; done";
        terminal.supervise(user, &["--terminal", "--", "sh", "-c", script], STATUS);
        terminal.expect("ready");
        terminal.type_in("\x03");
        terminal.expect("got-int");
        terminal.expect("status=9");
        terminal.supervise(user, &["--terminal", "--", "sleep", "61"], STATUS);
        terminal.expect("init=");
        std::thread::sleep(std::time::Duration::from_millis(100));
        terminal.type_in("\x03");
        terminal.expect("status=130");
    });
}

fn ctrl_z_and_fg_go_round() {
    on_terminals(|user, terminal| {
        let script = "while read word; do echo heard-$word; done; echo end";
        terminal.supervise(user, &["--terminal", "--", "sh", "-c", script], STATUS);
        terminal.expect("init=");
        for round in 1..=3 {
            terminal.type_in(&format!("before{round}\n"));
            terminal.expect(&format!("heard-before{round}"));
            terminal.type_in("\x1a");
            terminal.expect("Stopped");
            terminal.type_in("echo shell-$((round=41+1))\n");
            terminal.expect("shell-42");
            terminal.type_in("fg\n");
            terminal.expect("fg");
            std::thread::sleep(std::time::Duration::from_millis(100));
            terminal.type_in(&format!("after{round}\n"));
            terminal.expect(&format!("heard-after{round}"));
        }
        terminal.type_in("\x04");
        terminal.expect("end");
    });
}

fn ctrl_z_and_bg() {
    on_terminals(|user, terminal| {
        let files = machine::TemporaryDirectory::new();
        files.open_to_everybody();
        let sign = files.0.join("sign");
        // No shell script: one that is starting a program with vfork at that moment, as dash does,
        // is not stopped by Ctrl-Z, whoever runs it.
        let inside = user.program_inside();
        let what = format!("--wait-for={}", sign.display());
        terminal.supervise(user, &["--terminal", "--", &inside, "--inspect", &what], "");
        terminal.expect("ready");
        terminal.type_in("\x1a");
        terminal.expect("Stopped");
        terminal.type_in("bg\n");
        terminal.expect("&");
        // The terminal is the shell's while the job runs.
        terminal.type_in("echo shell-$((41+1))\n");
        terminal.expect("shell-42");
        std::fs::write(&sign, "").expect("ours");
        terminal.expect("saw-it");
        terminal.type_in("wait %1; echo status=$?\n");
        terminal.expect("status=5");
    });
}

fn the_window_size_is_seen() {
    on_terminals(|user, terminal| {
        terminal.resize(33, 111);
        // The shell waits for its children in short sleeps, so that it notices the signal.
        let script = "stty size; trap 'stty size; exit 0' WINCH; while :; do sleep 0.02; done";
        terminal.supervise(user, &["--terminal", "--", "sh", "-c", script], STATUS);
        terminal.expect("33 111");
        std::thread::sleep(std::time::Duration::from_millis(100));
        terminal.resize(44, 122);
        terminal.expect("44 122");
        terminal.expect("status=0");
    });
}

fn a_background_job_waits_for_fg_to_read() {
    on_terminals(|user, terminal| {
        let script = "echo bef''ore; read word; echo heard-$word";
        terminal.supervise(user, &["--terminal", "--", "sh", "-c", script], "&");
        terminal.expect("before");
        std::thread::sleep(std::time::Duration::from_millis(200));
        terminal.type_in("jobs\n");
        terminal.expect("Stopped");
        terminal.type_in("fg\n");
        std::thread::sleep(std::time::Duration::from_millis(200));
        terminal.type_in("word\n");
        terminal.expect("heard-word");
    });
}

fn a_pipeline_shares_the_terminal() {
    on_terminals(|user, terminal| {
        // The command's output is no terminal, so the others of the pipeline keep the foreground
        // until it wants to read.
        let script = "read word </dev/tty; echo heard-$word";
        terminal.supervise(user, &["--terminal", "--", "sh", "-c", script], "| sed s/heard/piped/");
        std::thread::sleep(std::time::Duration::from_millis(300));
        terminal.type_in("word\n");
        terminal.expect("piped-word");
    });
}

fn ctrl_c_ends_a_pipeline() {
    on_terminals(|user, terminal| {
        let script = "trap 'echo got-int >&2; exit 9' INT; echo rea''dy >&2;
                      while :; do sleep 0.02; done";
        let rest = "| cat; echo status=${PIPESTATUS[0]}";
        terminal.supervise(user, &["--terminal", "--", "sh", "-c", script], rest);
        terminal.expect("ready");
        terminal.type_in("\x03");
        terminal.expect("got-int");
        terminal.type_in("echo pip''e-over\n");
        terminal.expect("pipe-over");
    });
}

fn modes_come_back_after_a_violent_end() {
    on_terminals(|user, terminal| {
        // A shell that runs a script does not mend the terminal itself.
        terminal.type_in("stty -a | grep -o -e '-\\?icanon'\n");
        terminal.expect("\nicanon\r\n");
        let script = "stty raw -echo; kill -9 $$";
        let rest = "; stty -a | grep -o -e '-\\?icanon' -e '-\\?echo '; echo status=$?";
        terminal.supervise(user, &["--terminal", "--", "sh", "-c", script], rest);
        let seen = terminal.expect("status=0");
        assert!(seen.contains("icanon") && !seen.contains("-icanon"), "{seen:?}");
    });
}

fn a_shell_inside_has_job_control() {
    on_terminals(|user, terminal| {
        let shell =
            ["--terminal", "--env=PS1=inside> ", "--", "bash", "--norc", "--noprofile", "-i"];
        terminal.supervise(user, &shell, STATUS);
        terminal.expect("inside> ");
        terminal.type_in("sleep 62\n");
        std::thread::sleep(std::time::Duration::from_millis(200));
        terminal.type_in("\x1a");
        terminal.expect("Stopped");
        terminal.expect("inside> ");
        terminal.type_in("fg\n");
        std::thread::sleep(std::time::Duration::from_millis(200));
        terminal.type_in("\x03");
        terminal.expect("inside> ");
        terminal.type_in("echo no job cont''rol messages; exit 8\n");
        let seen = terminal.expect("no job control messages");
        assert!(!seen.contains("cannot set terminal"), "{seen:?}");
        terminal.expect("status=8");
    });
}

fn ctrl_z_stops_a_script_around_us() {
    on_terminals(|user, terminal| {
        if user.uid() != rustix::process::getuid().as_raw() {
            // The supervisor would be another user than the script and could not stop it.
            return;
        }
        // `sh` without job control: script and supervisor are one job to the shell.
        let (program, words) = user.supervisor_words();
        let script = "echo rea''dy; while read word; do echo heard-$word; done";
        let inner: Vec<String> = std::iter::once(program)
            .chain(words)
            .chain(["--terminal", "--", "sh", "-c", script].map(str::to_owned))
            .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
            .collect();
        let files = machine::TemporaryDirectory::new();
        let text = format!("{}\necho script-status=$?\n", inner.join(" "));
        let file = files.file("script", &text);
        terminal.type_in(&format!("sh {file}\n"));
        terminal.expect("ready");
        terminal.type_in("\x1a");
        terminal.expect("Stopped");
        terminal.type_in("fg\n");
        std::thread::sleep(std::time::Duration::from_millis(200));
        terminal.type_in("again\n");
        terminal.expect("heard-again");
        terminal.type_in("\x04");
        terminal.expect("script-status=0");
    });
}

fn without_job_control() {
    on_terminals(|user, terminal| {
        let script = "echo rea''dy; read word; echo heard-$word";
        terminal.supervise(user, &["--", "sh", "-c", script], STATUS);
        terminal.expect("ready");
        terminal.type_in("word\n");
        terminal.expect("heard-word");
        terminal.expect("status=0");
        // The terminal's signals go to our group, and we pass them on.
        terminal.supervise(user, &["--", "sleep", "61"], STATUS);
        terminal.expect("init=");
        terminal.type_in("\x03");
        terminal.expect("status=130");
    });
}

fn what_we_print_does_not_stop_us() {
    on_terminals(|user, terminal| {
        terminal.type_in("stty tostop\n");
        // The supervisor prints init's number while the command is in the foreground.
        let script = "sleep 0.2; exit 4";
        terminal.supervise(user, &["--terminal", "--", "sh", "-c", script], STATUS);
        terminal.expect("init=");
        terminal.expect("status=4");
    });
}
