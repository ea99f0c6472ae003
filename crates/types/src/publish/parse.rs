//! Which form a publish specification is written in, and what holds for every form.
//!
//! Never reads ports or addresses itself: each form has its own file.
//! Spec: `auto`, `~GUEST_PORT[-LAST][/PROTO]`; the others are in `inet`, `socket`, `long_form`.

use super::{
    PublishSpec,
    error::Fault,
    inet, long_form,
    part::Part,
    ports,
    socket::{self, FD_FORM, UNIX_FORM},
    spec::Meaning,
};
use crate::MAX_SPEC_LEN;

/// Reads a specification in any of its written forms.
pub(super) fn parse(text: &str) -> Result<PublishSpec, Fault> {
    let whole = Part::whole(text);
    check_size(whole)?;
    if long_form::is_long_form(text) {
        return long_form::parse(whole);
    }
    if let Some(rest) = whole.strip_prefix("unix:") {
        return socket::unix(rest).map(plain);
    }
    check_characters(whole)?;
    check_keyword(whole)?;
    if text == "auto" {
        Ok(plain(Meaning::Auto))
    } else if let Some(rest) = whole.strip_prefix("fd:") {
        socket::fd(rest).map(plain)
    } else if let Some(rest) = whole.strip_prefix("~") {
        exclusion(rest).map(plain)
    } else {
        inet::inet(whole)
    }
}

/// Checks what holds for every form.
pub(super) fn check_size(whole: Part<'_>) -> Result<(), Fault> {
    let len = whole.text().len();
    if len == 0 {
        return Err(Fault::at(whole, "expected a guest port", "it is empty"));
    }
    if len > MAX_SPEC_LEN {
        let message = format!("it is {len} bytes long, and the limit is {MAX_SPEC_LEN}");
        return Err(Fault::at(whole, "too long", message));
    }
    Ok(())
}

fn exclusion(rest: Part<'_>) -> Result<Meaning, Fault> {
    let (ports_part, protocol) = match rest.split_once('/') {
        Some((ports, protocol)) => (ports, Some(protocol)),
        None => (rest, None),
    };
    if let Some((host, guest)) = ports_part.rsplit_once(':') {
        let colon_too = host.to(guest.cut(0..0));
        return Err(Fault::at(
            colon_too,
            "expected only guest ports",
            "an exclusion has no host side",
        )
        .help(EXCLUSION_FORM)
        .suggest(colon_too.replaced("")));
    }
    let ports = ports::guest_ports(ports_part).map_err(|fault| fault.help(EXCLUSION_FORM))?;
    let transport = protocol.map(ports::transports).transpose()?.flatten();
    Ok(Meaning::Exclude { ports, transport })
}

fn check_characters(whole: Part<'_>) -> Result<(), Fault> {
    // `tcp,udp` is no list: only what could begin a specification makes one.
    let begins =
        |text: &str| text == "auto" || text.starts_with(|c: char| "0123456789[~".contains(c));
    let mut others = whole.text().split(',').skip(1).map(str::trim);
    if let Some(comma) = whole.find(|c| c == ',')
        && others.all(begins)
    {
        return Err(Fault::at(comma, "expected one specification", "it is a list")
            .help("give each specification on its own"));
    }
    if let Some(space) = whole.find(char::is_whitespace) {
        return Err(
            Fault::at(space, WHITE_SPACE.0, WHITE_SPACE.1).suggest(without_spaces(whole.text()))
        );
    }
    if let Some(control) = whole.find(char::is_control) {
        let c = control.text().chars().next().map_or(0, u32::from);
        let message = format!("it has the control character U+{c:04X} in it");
        return Err(Fault::at(control, "a control character", message));
    }
    Ok(())
}

/// Keywords are lower case, and `auto` stands alone.
fn check_keyword(whole: Part<'_>) -> Result<(), Fault> {
    let text = whole.text();
    let word = text.split([':', '/']).next().unwrap_or(text);
    let (word, rest) = (whole.cut(0..word.len()), &text[word.len()..]);
    let Some(keyword) =
        ["auto", "fd", "unix"].into_iter().find(|k| word.text().eq_ignore_ascii_case(k))
    else {
        return Ok(());
    };
    if keyword == "auto" && !rest.is_empty() {
        return Err(Fault::at(
            whole.from(word.text().len()),
            "expected nothing more",
            "`auto` stands alone",
        )
        .help("`auto` publishes every port the guest listens on; `~22` leaves one out")
        .suggest("auto".to_owned()));
    }
    if keyword != "auto" && rest.is_empty() {
        let message = format!("`{}` alone publishes nothing", word.text());
        let (label, form) = match keyword {
            "fd" => ("expected `:N:GUEST_PORT`", FD_FORM),
            _ => ("expected `:PATH:GUEST_PORT`", UNIX_FORM),
        };
        return Err(Fault::at(word.after(), label, message).help(form));
    }
    if word.text() == keyword {
        return Ok(());
    }
    let message = format!("`{}` is not a keyword: keywords are lower case", word.text());
    Err(Fault::at(word, format!("expected {keyword}"), message).suggest(word.replaced(keyword)))
}

/// Words that would run together are taken for fields.
fn without_spaces(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let runs_together =
            joined.ends_with(char::is_alphanumeric) && word.starts_with(char::is_alphanumeric);
        if runs_together {
            joined.push(':');
        }
        joined.push_str(word);
    }
    joined
}

fn plain(meaning: Meaning) -> PublishSpec {
    PublishSpec { meaning, warnings: Vec::new() }
}

/// The label and the message for white space.
pub(super) const WHITE_SPACE: (&str, &str) = ("white space", "it has white space in it");

const EXCLUSION_FORM: &str = "the form is ~GUEST_PORT[-LAST][/PROTO]";
