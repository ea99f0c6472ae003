//! All that `portreeve doctor` prints: a line for each check, with what it costs and what would
//! change it; or JSON.
//!
//! Owns standard output. Colours are for terminals, and never where `NO_COLOR` is set
//! (no-color.org).

use std::io::{self, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

use super::{Check, Diagnosis, Status};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const FAIR: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// For people.
pub(super) fn table(diagnosis: &Diagnosis) -> io::Result<()> {
    told(write_table(&mut AutoStream::auto(io::stdout()), diagnosis))
}

/// For programs.
pub(super) fn json(diagnosis: &Diagnosis) -> io::Result<()> {
    let text = serde_json::to_string_pretty(diagnosis)?;
    told(writeln!(io::stdout().lock(), "{text}"))
}

fn write_table(out: &mut impl Write, diagnosis: &Diagnosis) -> io::Result<()> {
    for check in &diagnosis.checks {
        write_check(out, check)?;
    }
    writeln!(out)?;
    let count = |status| diagnosis.checks.iter().filter(|check| check.status == status).count();
    let (degraded, missing) = (count(Status::Degraded), count(Status::Missing));
    let checks = diagnosis.checks.len();
    if !diagnosis.works {
        writeln!(
            out,
            "{BAD}`portreeve run` does not work here{BAD:#}: {missing} of {checks} checks found \
             something missing."
        )
    } else if degraded > 0 {
        writeln!(
            out,
            "{FAIR}`portreeve run` works here{FAIR:#}, with less than it could have: {degraded} \
             of {checks} checks."
        )
    } else {
        writeln!(out, "{GOOD}`portreeve run` works here{GOOD:#}: all {checks} checks are ok.")
    }
}

fn write_check(out: &mut impl Write, check: &Check) -> io::Result<()> {
    let (style, status) = match check.status {
        Status::Ok => (GOOD, "ok"),
        Status::Degraded => (FAIR, "degraded"),
        Status::Missing => (BAD, "missing"),
    };
    let Check { name, found, .. } = check;
    writeln!(out, "{style}{status:<8}{style:#}  {name:<18} {found}")?;
    if let Some(cost) = &check.cost {
        writeln!(out, "{:10}{FAINT}costs{FAINT:#}  {cost}", "")?;
    }
    // One way a line, and unbroken, so that a command can be copied.
    for (at, way) in check.fix.iter().flat_map(|fix| fix.split("; ")).enumerate() {
        let label = if at == 0 { "fix" } else { "" };
        writeln!(out, "{:10}{FAINT}{label:5}{FAINT:#}  {way}", "")?;
    }
    Ok(())
}

/// Whoever reads the beginning only, `head` say, has what they wanted.
fn told(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(checks: Vec<Check>) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        write_table(&mut out, &Diagnosis::of(checks)).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn a_fix_stays_in_one_line_and_each_way_has_its_own() {
        let fix = Some("run as root: sysctl -w a.b=1; or run as root".to_owned());
        let text = plain(vec![Check::ok("one", "works"), Check::missing("two", "no", fix)]);
        assert_eq!(
            text,
            "ok        one                works
missing   two                no
          costs  `portreeve run` does not work
          fix    run as root: sysctl -w a.b=1
                 or run as root

`portreeve run` does not work here: 1 of 2 checks found something missing.
"
        );
    }

    #[test]
    fn the_last_line_says_whether_it_works() {
        let fine = Check::ok("one", "works");
        assert!(plain(vec![fine.clone()]).ends_with("works here: all 1 checks are ok.\n"));
        let less = Check::degraded("two", "no", "a bit", "this");
        let text = plain(vec![fine, less]);
        assert!(text.ends_with("works here, with less than it could have: 1 of 2 checks.\n"));
    }
}
