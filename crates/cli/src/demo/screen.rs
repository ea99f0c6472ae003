//! All that the demonstration prints: whom it is about, a table row for each check, how it ended.
//!
//! Owns standard output, and on standard error, while it runs, a bar: on a terminal only. Colours
//! are for terminals too, and never where `NO_COLOR` is set (no-color.org).

use std::fmt::Display;
use std::io::{self, Stdout, Write as _};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::checks::{Check, Failed, Measured, Rate};
use super::network::{Family, Missing, Network};

/// Where everything goes.
pub(super) struct Screen {
    out: AutoStream<Stdout>,
    bar: ProgressBar,
    /// Whether a row has room for what it shows.
    wide: bool,
    finished: u64,
}

/// Positions of the bar for each check: they take about as long as each other.
const STEPS: u64 = 1000;
/// Columns of a row without its note, and of one with it.
const NARROW: usize = 79;
const WIDE: usize = NARROW + 36;

/// What a row without notes leaves open.
const LEGEND: [&str; 3] = [
    "TCP: SHA-256 is the same at both ends. The rest is compared byte by byte.",
    "Half-close: the guest answers only after the client has ended its side.",
    "Full-duplex echo: both directions at once through socket buffers of 16 KiB.",
];

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

impl Screen {
    pub(super) fn new() -> Self {
        let columns = rustix::termios::tcgetwinsize(io::stdout()).map(|size| size.ws_col);
        Self {
            out: AutoStream::auto(io::stdout()),
            bar: ProgressBar::hidden(),
            wide: columns.is_ok_and(|columns| usize::from(columns) >= WIDE),
            finished: 0,
        }
    }

    /// Why the guest is not in a namespace.
    pub(super) fn explain(&mut self, missing: &[Missing]) {
        self.line(format_args!(
            "{STRONG}This machine gives a guest no network namespace:{STRONG:#}"
        ));
        for Missing { what, why, fix } in missing {
            self.line(format_args!("  {what}: {why}"));
            // One way a line, and unbroken, so that a command can be copied.
            for (at, way) in fix.iter().flat_map(|fix| fix.split("; ")).enumerate() {
                let label = if at == 0 { "fix:" } else { "" };
                self.line(format_args!("    {GOOD}{label:4}{GOOD:#} {way}"));
            }
        }
        self.line("The guest is a TCP/IP stack in this process instead; the engine is the same.");
        self.line("");
    }

    /// Who is there.
    pub(super) fn introduce(&mut self, network: &Network, families: &[Family]) {
        let addressing = network.addressing();
        let v4 = addressing.ipv4.map(|link| link.guest.to_string());
        let v6 = addressing.ipv6.map(|link| link.guest.to_string());
        let addresses: Vec<_> = v4.into_iter().chain(v6).collect();
        let addresses = addresses.join(" and ");
        let (guest, link) = if network.is_in_process() {
            ("a TCP/IP stack in this process", "frames in memory")
        } else {
            ("a process in a network namespace of its own", "a TAP device")
        };
        let hosts: Vec<_> = families
            .iter()
            .map(|family| match family {
                Family::V4 => "127.0.0.1",
                Family::V6 => "::1",
            })
            .collect();
        let hosts = hosts.join(" and ");
        let mtu = addressing.mtu;
        self.line(format_args!("{STRONG}Guest{STRONG:#}   {guest}"));
        self.line(format_args!("        {addresses}, over {link}, MTU {mtu}"));
        self.line(format_args!(
            "{STRONG}Engine{STRONG:#}  one thread of this process: it needs no root, iptables or bridge"
        ));
        self.line(format_args!("{STRONG}Ports{STRONG:#}   published on {hosts}"));
        if let [only] = families {
            let name = only.name();
            self.line(format_args!("        (this machine's loopback has {name} only)"));
        }
        self.line("");
    }

    /// The table's head.
    pub(super) fn begin(&mut self, checks: usize) {
        let head = format!(
            "{:<6} {:<21} {:<4} {:>9} {:>8}  {:>23}",
            "", "What is done", "Over", "Amount", "Time", "Rate"
        );
        let rule = if self.wide { WIDE } else { NARROW - 2 };
        let note = if self.wide { "  What it shows" } else { "" };
        self.line(format_args!("{STRONG}{head}{note}{STRONG:#}"));
        self.line(format_args!("{FAINT}{}{FAINT:#}", line_of(rule)));
        self.bar = ProgressBar::with_draw_target(
            Some(checks as u64 * STEPS),
            ProgressDrawTarget::stderr_with_hz(25),
        );
        self.bar.set_style(bar_style());
        self.bar.enable_steady_tick(Duration::from_millis(80));
    }

    /// A check begins.
    pub(super) fn start(&self, check: &Check, family: Family) {
        self.bar.set_message(format!("{:<21} {}", check.title, family.name()));
    }

    /// So much of a check is done.
    pub(super) fn advance(&self, done: usize, of: usize) {
        let part = done as u64 * STEPS / (of as u64).max(1);
        self.bar.set_position(self.finished + part.min(STEPS));
    }

    /// A check is over: its row.
    pub(super) fn finish(
        &mut self,
        check: &Check,
        family: Family,
        outcome: &Result<Measured, Failed>,
    ) {
        self.finished += STEPS;
        self.bar.set_position(self.finished);
        let (title, family) = (&check.title, family.name());
        match outcome {
            Ok(measured) => {
                let amount = measured.bytes.map_or_else(String::new, mebibytes);
                let (time, rate) = (duration(measured.time), rate(measured));
                let row = format!("{title:<21} {family:<4} {amount:>9} {time:>8}  {rate:>23}");
                let note = if self.wide { check.note } else { "" };
                self.line(format_args!("{GOOD}ok{GOOD:#}     {row}{}", faint(note)));
            }
            Err(why) => {
                self.line(format_args!("{BAD}FAILED{BAD:#} {title:<21} {family:<4}  {why}"));
            }
        }
    }

    /// How it ended.
    pub(super) fn conclude(&mut self, checks: usize, failed: usize, time: Duration) {
        self.bar.finish_and_clear();
        self.line("");
        if !self.wide {
            for line in LEGEND {
                self.line(format_args!("{FAINT}{line}{FAINT:#}"));
            }
            self.line("");
        }
        let time = duration(time);
        if failed == 0 {
            self.line(format_args!("{GOOD}All {checks} checks passed{GOOD:#} in {time}."));
        } else {
            self.line(format_args!("{BAD}{failed} of {checks} checks failed{BAD:#}, in {time}."));
        }
        if cfg!(debug_assertions) {
            self.line("This is an unoptimised build: one made with --release is much quicker.");
        }
    }

    /// What to try next.
    pub(super) fn suggest(&mut self) {
        self.line(format_args!(
            "Your own server: {STRONG}portreeve run -p 8080:80 -- COMMAND{STRONG:#}"
        ));
    }

    fn line(&mut self, text: impl Display) {
        let Self { out, bar, .. } = self;
        // A reader that went away (`| head`) has seen enough.
        bar.suspend(|| {
            let _ = writeln!(out, "{text}");
        });
    }
}

/// `12,345,678`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at != 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bar_style() -> ProgressStyle {
    let colour = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let template = if colour {
        "{spinner:.cyan}      {msg:26} [{bar:34.cyan}] {percent:>3}%"
    } else {
        "{spinner}      {msg:26} [{bar:34}] {percent:>3}%"
    };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    if unicode() {
        style.progress_chars("━╸ ")
    } else {
        style.progress_chars("=> ").tick_chars("|/-\\ ")
    }
}

/// What stands behind a row, if anything.
fn faint(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!("  {FAINT}{note}{FAINT:#}") }
}

/// Whether the terminal can be expected to show more than ASCII: setlocale(3).
fn unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

fn line_of(length: usize) -> String {
    if unicode() { "─".repeat(length) } else { "-".repeat(length) }
}

fn mebibytes(bytes: usize) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes.fract() == 0.0 {
        format!("{mebibytes:.0} MiB")
    } else {
        format!("{mebibytes:.1} MiB")
    }
}

/// Three digits are what a single run is good for.
fn duration(time: Duration) -> String {
    let (number, unit) = if time < Duration::from_secs(1) {
        (time.as_secs_f64() * 1e3, "ms")
    } else {
        (time.as_secs_f64(), "s")
    };
    format!("{} {unit}", three_digits(number))
}

fn rate(measured: &Measured) -> String {
    let seconds = measured.time.as_secs_f64().max(1e-9);
    match measured.rate {
        Rate::Bytes => {
            let bytes = measured.bytes.unwrap_or(0) as f64 / seconds;
            let (mega, giga) = (three_digits(bytes / 1e6), three_digits(bytes * 8.0 / 1e9));
            format!("{mega:>5} MB/s {giga:>5} Gbit/s")
        }
        Rate::Count(count, what) => {
            format!("{} {what}/s", three_digits(f64::from(count) / seconds))
        }
        Rate::Words(words) => words.to_owned(),
    }
}

/// `0.12`, `1.23`, `12.3`, `123`, `1,230`.
fn three_digits(number: f64) -> String {
    if number < 9.995 {
        format!("{number:.2}")
    } else if number < 99.95 {
        format!("{number:.1}")
    } else if number < 999.5 {
        format!("{number:.0}")
    } else {
        // More digits than three would be noise.
        let unit = 10_f64.powf(number.log10().floor() - 2.0);
        grouped(((number / unit).round() * unit).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_write_them() {
        let written = [0.0, 0.1234, 9.999, 28.13, 99.96, 284.4, 999.7, 2396.2, 61_249.0, 1e7];
        let read = [
            "0.00",
            "0.12",
            "10.0",
            "28.1",
            "100",
            "284",
            "1,000",
            "2,400",
            "61,200",
            "10,000,000",
        ];
        for (number, text) in written.into_iter().zip(read) {
            assert_eq!(three_digits(number), text);
        }
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
    }

    #[test]
    fn times_and_rates_with_their_units() {
        assert_eq!(duration(Duration::from_micros(280)), "0.28 ms");
        assert_eq!(duration(Duration::from_millis(1240)), "1.24 s");
        let measured =
            |rate| Measured { bytes: Some(64 << 20), time: Duration::from_millis(25), rate };
        assert_eq!(rate(&measured(Rate::Bytes)), "2,680 MB/s  21.5 Gbit/s");
        assert_eq!(rate(&measured(Rate::Count(200, "clients"))), "8,000 clients/s");
        assert_eq!(mebibytes(64 << 20), "64 MiB");
        assert_eq!(mebibytes(12_000_000), "11.4 MiB");
    }
}
