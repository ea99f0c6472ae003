//! Serde's words about a wrong value, as a person who edits the file would say them.
//!
//! Owns the suggestions for misspelt names. Never finds a fault.

/// What is said about a fault.
pub(crate) struct Words {
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
    /// Whether the name is wrong, not what it is set to.
    pub(crate) is_about_key: bool,
    /// The name that is none of those there are, where it is not a setting's.
    pub(crate) unknown: Option<String>,
}

/// Words the fault of the setting at this path.
pub(crate) fn of(said: &str, setting: &str) -> Words {
    if let Some(rest) = said.strip_prefix("unknown field `") {
        return unknown(rest, setting, "setting", true);
    }
    if let Some(rest) = said.strip_prefix("unknown variant `") {
        return unknown(rest, setting, "value", false);
    }
    if let Some(field) = said.strip_prefix("missing field `") {
        let field = field.trim_end_matches('`');
        return Words {
            message: format!("{setting}: `{field}` is missing"),
            label: format!("expected `{field}` here"),
            help: None,
            is_about_key: false,
            unknown: None,
        };
    }
    let said = plain(said);
    let (message, label) = match said.split_once(", expected ") {
        Some((what, expected)) => {
            (format!("{what}, expected {expected}"), format!("expected {expected}"))
        }
        None => (said, "not this".to_owned()),
    };
    let message = if setting.is_empty() { message } else { format!("{setting}: {message}") };
    Words { message, label, help: None, is_about_key: false, unknown: None }
}

fn unknown(rest: &str, setting: &str, what: &str, is_about_key: bool) -> Words {
    let (name, others) = rest.split_once('`').unwrap_or((rest, ""));
    let others: Vec<&str> = others.split('`').skip(1).step_by(2).collect();
    let close = closest(name, &others);
    let unknown = (!is_about_key).then(|| name.to_owned());
    let name = name.escape_debug();
    let message = match &close {
        Some(close) => format!("unknown {what} `{name}`; did you mean `{close}`?"),
        None => format!("unknown {what} `{name}`"),
    };
    let message = if is_about_key { message } else { format!("{setting}: {message}") };
    let help = match elsewhere(setting) {
        Some(place) => Some(place.to_owned()),
        None if others.is_empty() => None,
        None if is_about_key => Some(format!("the settings here are {}", others.join(", "))),
        None => Some(format!("choose one of {}", others.join(", "))),
    };
    let label = match close {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("no such {what}"),
    };
    Words { message, label, help, is_about_key, unknown }
}

/// Options of the command line that a file says otherwise.
fn elsewhere(setting: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(name, _)| *name == setting).map(|(_, place)| *place)
}

fn closest<'a>(name: &str, others: &[&'a str]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let likeness = |other: &&'a str| (strsim::jaro_winkler(&name, other), *other);
    let best = others.iter().map(likeness).max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| *likeness > 0.8).map(|(_, other)| other)
}

/// Rust's names of types mean nothing to whoever writes a file.
fn plain(said: &str) -> String {
    let mut said = said.to_owned();
    for (rust, words) in TYPES {
        if let Some(rest) = said.strip_suffix(rust) {
            said = format!("{rest}{words}");
            break;
        }
    }
    let said = said.replace("invalid type: ", "").replace("invalid value: ", "");
    let said = said.replace("unit variant, ", "a name alone, ");
    let said = said.replace("floating point `", "number `").replace("integer `", "number `");
    said.replace("sequence, expected", "a list, expected")
        .replace("map, expected", "a table, expected")
}

const TYPES: &[(&str, &str)] = &[
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected a table"),
    ("expected a string", "expected a text"),
    ("expected a borrowed string", "expected a text"),
    ("expected a boolean", "expected true or false"),
    ("expected path string", "expected a path"),
    ("expected map with a single key", "expected a table with one of them only"),
    ("expected newtype variant", "expected a table such as { stream = \"/run/vm.sock\" }"),
    ("expected string or map", "expected a table such as { stream = \"/run/vm.sock\" }"),
    ("expected u8", "expected a whole number from 0 to 255"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected u64", "expected a whole number from 0"),
    ("expected usize", "expected a whole number from 0"),
    ("expected i32", "expected a whole number"),
];

const ELSEWHERE: &[(&str, &str)] = &[
    ("connect_timeout", "that is `connect_timeout_ms` in [limits]"),
    ("mtu", "that is `mtu` in [addresses]"),
    ("mac", "that is `mac` in [addresses]"),
    ("address", "that is `address` in [addresses]"),
    ("gateway", "that is `gateway` in [addresses]"),
    ("ipv4_only", "that is `ipv6 = false` in [addresses]"),
    ("ipv6_only", "that is `ipv4 = false` in [addresses]"),
    ("no_outbound", "that is `enabled = false` in [egress]"),
    ("allow_host", "that is `host` in [egress]"),
    ("bind_address", "that is `bind_addresses` in [egress]"),
    ("bind_interface", "that is `bind_interface` in [egress]"),
    ("udp_filtering", "that is `udp_filtering` in [egress]"),
    ("dns_search", "that is `search` in [dns]"),
    ("add_host", "that is `records` in [dns]"),
];
