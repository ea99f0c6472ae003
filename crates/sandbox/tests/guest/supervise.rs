//! The supervisor: what a command-line tool does with the crate, without an engine.
//!
//! `--supervise [options] -- COMMAND…`. Never tests anything.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use portreeve_sandbox::{Error, ResolvConf, Sandbox, SandboxOptions};

use crate::ping;

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

/// What the supervisor was asked for.
struct Request {
    options: SandboxOptions,
    guests: usize,
    from_a_thread: bool,
    drop_after: Option<u64>,
    timed: bool,
    pinged: bool,
    kill_init: bool,
}

impl Request {
    fn parse(arguments: &[String]) -> Self {
        let split = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
        let (flags, command) = arguments.split_at(split);
        let mut request = Self {
            options: SandboxOptions::new(command.iter().skip(1)),
            guests: 1,
            from_a_thread: false,
            drop_after: None,
            timed: false,
            pinged: false,
            kill_init: false,
        };
        request.options.forward_signals = true;
        for flag in flags {
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            request.flag(name, value);
        }
        request
    }

    fn flag(&mut self, name: &str, value: &str) {
        let options = &mut self.options;
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
            "--guests" => self.guests = value.parse().expect("a number"),
            "--from-a-thread" => self.from_a_thread = true,
            "--drop-after" => self.drop_after = Some(value.parse().expect("milliseconds")),
            "--timed" => self.timed = true,
            "--ping" => self.pinged = true,
            "--kill-init" => self.kill_init = true,
            _ => panic!("unknown flag {name}"),
        }
    }
}

fn supervise(arguments: &[String]) -> Result<u8, Error> {
    let Request { options, guests, from_a_thread, drop_after, timed, pinged, kill_init } =
        Request::parse(arguments);
    if timed {
        return time_starts(&options);
    }
    if pinged {
        return ping_around_the_end(options);
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
        running.push(if from_a_thread {
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

/// Pings the guest before its command has started and after it has ended.
fn ping_around_the_end(options: SandboxOptions) -> Result<u8, Error> {
    let addressing = options.addressing.clone();
    let mut sandbox = Sandbox::prepare(options)?;
    let tap = sandbox.take_tap().expect("not taken yet");
    assert!(sandbox.tap_fd().is_none());
    println!("before {}", ping::ping(&tap, &addressing, 1));
    let mut running = sandbox.start()?;
    let code = running.wait()?.code();
    println!("after {}", ping::ping(&tap, &addressing, 2));
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
