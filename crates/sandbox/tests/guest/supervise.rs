//! The supervisor: what a command-line tool does with the crate, without an engine.
//!
//! `--supervise [options] -- COMMAND…`. Never tests anything.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use portreeve_sandbox::{Error, ResolvConf, Sandbox, SandboxOptions};

pub(crate) fn main(arguments: &[String]) -> ExitCode {
    match supervise(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("supervisor: {error}");
            if let Some(help) = error.help() {
                eprintln!("help: {help}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn supervise(arguments: &[String]) -> Result<u8, Error> {
    let split = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    let (flags, command) = arguments.split_at(split);
    let mut options = SandboxOptions::new(command.iter().skip(1));
    options.forward_signals = true;
    let mut guests = 1;
    let mut thread = false;
    let mut drop_after = None;
    let mut timed = false;
    let mut kill_init = false;
    for flag in flags {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match name {
            "--terminal" => options.terminal = true,
            "--hostname" => options.hostname = Some(value.to_owned()),
            "--nameserver" => {
                let resolver = options.resolver.get_or_insert_with(ResolvConf::default);
                resolver.nameservers.push(value.parse().expect("an address"));
            }
            "--env" => {
                let (name, value) = value.split_once('=').expect("NAME=VALUE");
                options.env.push((name.into(), value.into()));
            }
            "--cwd" => options.cwd = Some(value.into()),
            "--no-ipv6" => options.addressing.ipv6 = None,
            "--guests" => guests = value.parse().expect("a number"),
            "--from-a-thread" => thread = true,
            "--drop-after" => drop_after = Some(value.parse().expect("milliseconds")),
            "--timed" => timed = true,
            "--kill-init" => kill_init = true,
            _ => panic!("unknown flag {flag}"),
        }
    }
    if timed {
        return time_starts(&options);
    }
    let mut running = Vec::new();
    for _ in 0..guests {
        let options = options.clone();
        let start = move || -> Result<_, Error> {
            let sandbox = Sandbox::prepare(options)?;
            for warning in sandbox.warnings() {
                eprintln!("warning: {warning}");
            }
            sandbox.start()
        };
        running.push(if thread {
            // The thread that forked is gone before the command is waited for.
            std::thread::spawn(start).join().expect("no panic")?
        } else {
            start()?
        });
    }
    for guest in &running {
        eprintln!("init={}", guest.guest_pid());
    }
    if kill_init {
        std::thread::sleep(Duration::from_millis(100));
        let pid = rustix::process::Pid::from_raw(running[0].guest_pid()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("our child");
    }
    if let Some(after) = drop_after {
        std::thread::sleep(Duration::from_millis(after));
        drop(running);
        return Ok(0);
    }
    let mut code = 0;
    for mut guest in running {
        code = guest.wait()?.code();
        assert_eq!(guest.wait()?.code(), code, "the answer stays the same");
    }
    Ok(code)
}

/// Prints the quickest, the median and the slowest of some starts, and of taking them down, in
/// microseconds. Closing a TAP waits for a grace period of the kernel's (RCU).
fn time_starts(options: &SandboxOptions) -> Result<u8, Error> {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        let started = Instant::now();
        let mut running = Sandbox::prepare(options.clone())?.start()?;
        assert_eq!(running.wait()?.code(), 0);
        starts.push(started.elapsed().as_micros());
        let ended = Instant::now();
        drop(running);
        ends.push(ended.elapsed().as_micros());
    }
    for mut times in [starts, ends] {
        times.sort_unstable();
        println!("{} {} {}", times[0], times[times.len() / 2], times[times.len() - 1]);
    }
    Ok(0)
}
