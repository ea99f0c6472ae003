//! What holds for every text and every specification: no panic, spans inside the text, canonical
//! text that parses to the same, and a bounded number of items.

use proptest::{
    prelude::*,
    sample::{Index, select},
};

use super::{PublishItem, PublishSpec};
use crate::MAX_REQUESTS_PER_SPEC;

/// Pieces that specifications are made of, right and wrong ones.
const PIECES: &[&str] = &[
    ":",
    "-",
    "/",
    "%",
    "[",
    "]",
    "~",
    ",",
    "=",
    "+",
    " ",
    "*",
    "0",
    "1",
    "80",
    "8080",
    "8090",
    "65535",
    "70000",
    "::",
    "::1",
    "fe80::1",
    "127.0.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "lo",
    "eth0",
    "localhost",
    "tcp",
    "udp",
    "sctp",
    "tcp+udp",
    "unix:",
    "fd:",
    "auto",
    "/run/x",
    "@",
    "\0",
    "é",
    "\u{202e}",
    "target=",
    "published=",
    "host_ip=",
    "protocol=",
    "name=",
    "source=",
    "preserve",
];

fn check(text: &str) -> Result<(), TestCaseError> {
    match text.parse::<PublishSpec>() {
        Ok(spec) => {
            let canonical = spec.to_string();
            let again = canonical.parse::<PublishSpec>();
            prop_assert_eq!(again.as_ref().map_err(ToString::to_string), Ok(&spec), "{}", text);
            let again = again.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(again.to_string(), canonical);
            prop_assert!(again.warnings().is_empty(), "canonical text needs no warning");
            check_items(&spec)
        }
        Err(error) => {
            let span = error.span();
            prop_assert!(span.start <= span.end && span.end <= error.spec().len());
            prop_assert!(error.spec().get(span).is_some(), "not on a char boundary: {:?}", error);
            prop_assert!(text.starts_with(error.spec()));
            let line = error.to_string();
            prop_assert!(!line.contains(char::is_control), "{:?}", line);
            if let Some(suggestion) = error.suggestion() {
                prop_assert!(suggestion.parse::<PublishSpec>().is_ok(), "{}", suggestion);
            }
            let mut report = String::new();
            miette::NarratableReportHandler::new().render_report(&mut report, &error).unwrap();
            prop_assert!(!report.is_empty());
            Ok(())
        }
    }
}

fn check_items(spec: &PublishSpec) -> Result<(), TestCaseError> {
    let items = spec.items();
    prop_assert!(!items.is_empty() && items.len() <= MAX_REQUESTS_PER_SPEC);
    for item in items {
        match item {
            PublishItem::Request(request) => prop_assert_eq!(request.validate(), Ok(())),
            PublishItem::Exclude { ports, .. } => {
                prop_assert!(*ports.start() > 0 && ports.start() <= ports.end());
            }
            PublishItem::Auto => {}
        }
    }
    Ok(())
}

fn range() -> impl Strategy<Value = String> {
    prop_oneof![
        (1_u16..).prop_map(|port| port.to_string()),
        (1_u16..60_000, 1_u16..600).prop_map(|(first, more)| format!("{first}-{}", first + more)),
    ]
}

/// Specifications that are right and canonical.
fn canonical() -> impl Strategy<Value = String> {
    let host = select(vec![
        "",
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3%eth0",
        "[::]",
        "[::1]",
        "[2001:db8::1]",
        "[fe80::1%wlan0]",
        "127.0.0.1%lo",
    ]);
    let proto = select(vec!["", "/udp", "/tcp+udp"]);
    let inet = (host, any::<Option<bool>>(), 1_u16..60_000, 1_u16..60_000, 0_u16..50, proto)
        .prop_map(|(host, sides, first, guest, more, proto)| {
            let range = |first: u16| match more {
                0 => first.to_string(),
                _ => format!("{first}-{}", first + more),
            };
            let ports = match sides {
                None => String::new(),
                Some(_) => range(first),
            };
            let guest = if sides == Some(true) { guest.to_string() } else { range(guest) };
            match (host, &*ports) {
                ("", "") => format!("{guest}{proto}"),
                ("", _) => format!("{ports}:{guest}{proto}"),
                _ => format!("{host}:{ports}:{guest}{proto}"),
            }
        });
    prop_oneof![
        4 => inet,
        1 => "(/[a-z.: =]{1,9}){1,3}[a-z]".prop_filter_map("too long", |path| {
            (path.len() <= 100).then(|| format!("unix:{path}:80"))
        }),
        1 => (3_i32.., select(vec!["", "/udp"])).prop_map(|(fd, p)| format!("fd:{fd}:443{p}")),
        1 => ("[a-z_][a-z0-9._@-]{0,9}", select(vec!["", "/udp"]))
            .prop_map(|(name, p)| format!("fd:{name}:443{p}")),
        1 => (range(), select(vec!["", "/udp", "/tcp"])).prop_map(|(r, p)| format!("~{r}{p}")),
        1 => Just("auto".to_owned()),
        1 => (1_u16.., "[A-Za-z0-9._#@-]{1,20}", select(vec!["", ",source=gateway"]))
            .prop_map(|(port, name, source)| format!("target={port},name={name}{source}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_text_of_pieces(pieces in prop::collection::vec(select(PIECES), 0..10)) {
        check(&pieces.concat())?;
    }

    #[test]
    fn canonical_text_is_shown_unchanged(text in canonical()) {
        let spec = text.parse::<PublishSpec>();
        prop_assert_eq!(spec.map(|spec| spec.to_string()).map_err(|e| e.to_string()), Ok(text));
    }

    /// One slip in a right text, where most wrong specifications come from.
    #[test]
    fn canonical_text_with_a_slip(
        text in canonical(),
        at in any::<Index>(),
        remove in any::<bool>(),
        piece in select(PIECES),
    ) {
        let boundaries: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
        let at = *at.get(&boundaries);
        let end = if remove { text.ceil_char_boundary(at + 1) } else { at };
        check(&format!("{}{piece}{}", &text[..at], &text[end..]))?;
    }

    #[test]
    fn any_map(fields in prop::collection::vec((select(PIECES), select(PIECES)), 6)) {
        let value = |nth: usize| {
            let (front, back): (&str, &str) = fields[nth];
            Some(format!("{front}{back}"))
        };
        let form = super::PublishLongForm {
            target: super::PublishPort(value(0).unwrap_or_default()),
            published: value(1).map(super::PublishPort),
            host_ip: value(2),
            protocol: value(3),
            name: value(4),
            source: value(5),
        };
        match PublishSpec::try_from(form) {
            Ok(spec) => check(&spec.to_string())?,
            Err(error) => prop_assert!(error.spec().get(error.span()).is_some()),
        }
    }
}
