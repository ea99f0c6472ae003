//! The long form of a publish specification: `key=value,…`, and Compose's map.
//!
//! Never has a meaning of its own: every value is read by the code that reads the short form.
//! Spec: Compose, "Long syntax" of `ports`; the keys are its, and `source`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::{
    HostBind, PublishSpec, SpecError,
    error::Fault,
    hint,
    host::HostText,
    parse::{WHITE_SPACE, check_size},
    part::Part,
    ports,
    request::unusable_name,
    spec::{Inet, Meaning},
};
use crate::{SourceMode, Transport};

/// Compose's long form of a publish specification, as a map.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishLongForm {
    /// The guest port, or a range of them.
    pub target: PublishPort,
    /// The host port or range; left out or 0, the kernel chooses.
    #[serde(default)]
    pub published: Option<PublishPort>,
    /// The host address, with `%INTERFACE` if wanted; left out, loopback.
    #[serde(default)]
    pub host_ip: Option<String>,
    /// `tcp`, `udp` or `tcp+udp`; left out, `tcp`.
    #[serde(default)]
    pub protocol: Option<String>,
    /// A name to show and to find the port by.
    #[serde(default)]
    pub name: Option<String>,
    /// Which source address the guest sees; left out, the engine's default.
    #[serde(default)]
    #[schemars(with = "Option<SourceMode>")]
    pub source: Option<String>,
}

/// A port as a number, or a port or range as text; not checked yet.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "PortSchema")]
pub struct PublishPort(pub String);

/// What [`PublishPort`] is in a schema.
#[derive(JsonSchema)]
#[schemars(rename = "PublishPort", untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum PortSchema {
    Number(u16),
    Text(String),
}

/// Whether a text is `key=value,…` rather than a short form.
pub(super) fn is_long_form(text: &str) -> bool {
    let key = text.split_once('=').map(|(key, _)| key.trim_start());
    key.is_some_and(|key| key.starts_with(|c: char| c.is_ascii_alphabetic()) && is_word(key))
}

/// Reads `key=value,…`.
pub(super) fn parse(whole: Part<'_>) -> Result<PublishSpec, Fault> {
    let mut values = Values::default();
    let mut rest = Some(whole);
    while let Some(part) = rest {
        let (field, after) = match part.split_once(',') {
            Some((field, after)) => (field, Some(after)),
            None => (part, None),
        };
        rest = after;
        values.read_field(field).map_err(|fault| fault.help(FORM))?;
    }
    values.build(whole)
}

impl TryFrom<PublishLongForm> for PublishSpec {
    type Error = SpecError;

    fn try_from(form: PublishLongForm) -> Result<Self, SpecError> {
        // The text is what an error shows. It is cut where it was joined and never split at `,`
        // or `=`, so that a value cannot become another field.
        let fields = [
            ("target", Some(form.target.0)),
            ("published", form.published.map(|port| port.0)),
            ("host_ip", form.host_ip),
            ("protocol", form.protocol),
            ("name", form.name),
            ("source", form.source),
        ];
        let mut text = String::new();
        let mut cuts = Vec::new();
        for (key, value) in fields {
            let Some(value) = value else { continue };
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(key);
            text.push('=');
            cuts.push((key, text.len()..text.len() + value.len()));
            text.push_str(&value);
        }
        let whole = Part::whole(&text);
        let mut values = Values::default();
        for (key, range) in cuts {
            if let Some(slot) = values.slot(key) {
                *slot = Some(whole.cut(range));
            }
        }
        check_size(whole)
            .and_then(|()| values.build(whole))
            .map_err(|fault| SpecError::new(&text, fault))
    }
}

impl<'de> Deserialize<'de> for PublishPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl de::Visitor<'_> for PortVisitor {
    type Value = PublishPort;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port, or a range such as \"8080-8082\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PublishPort, E> {
        Ok(PublishPort(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, port: u64) -> Result<PublishPort, E> {
        Ok(PublishPort(port.to_string()))
    }

    fn visit_i64<E: de::Error>(self, port: i64) -> Result<PublishPort, E> {
        Ok(PublishPort(port.to_string()))
    }
}

/// The value of each key, where it stands.
#[derive(Default)]
struct Values<'a> {
    target: Option<Part<'a>>,
    published: Option<Part<'a>>,
    host_ip: Option<Part<'a>>,
    protocol: Option<Part<'a>>,
    name: Option<Part<'a>>,
    source: Option<Part<'a>>,
}

impl<'a> Values<'a> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<Part<'a>>> {
        match key {
            "target" => Some(&mut self.target),
            "published" => Some(&mut self.published),
            "host_ip" => Some(&mut self.host_ip),
            "protocol" => Some(&mut self.protocol),
            "name" => Some(&mut self.name),
            "source" => Some(&mut self.source),
            _ => None,
        }
    }

    fn read_field(&mut self, field: Part<'a>) -> Result<(), Fault> {
        let Some((key, value)) = field.split_once('=') else {
            let message = match field.text() {
                "" => "one of the fields is empty".to_owned(),
                text => format!("`{text}` has no `=`"),
            };
            return Err(Fault::at(field, "expected key=value", message));
        };
        let spaces = if key.text() == "name" { key } else { field };
        if let Some(space) = spaces.find(char::is_whitespace) {
            let squeezed: String = field.text().split_whitespace().collect();
            return Err(
                Fault::at(space, WHITE_SPACE.0, WHITE_SPACE.1).suggest(field.replaced(&squeezed))
            );
        }
        let Some(slot) = self.slot(key.text()) else { return Err(unknown_key(field, key)) };
        if slot.is_some() {
            let message = format!("`{}` is given twice", key.text());
            return Err(Fault::at(field, "given already", message));
        }
        *slot = Some(value);
        Ok(())
    }

    fn build(self, whole: Part<'_>) -> Result<PublishSpec, Fault> {
        let inet = self.read(whole).map_err(|fault| fault.help(FORM))?;
        Ok(PublishSpec { meaning: Meaning::Inet(inet), warnings: Vec::new() })
    }

    fn read(self, whole: Part<'_>) -> Result<Inet, Fault> {
        let Some(guest_part) = self.target else {
            return Err(Fault::at(
                whole.after(),
                "expected target=GUEST_PORT",
                "`target` is missing",
            ));
        };
        let guest = ports::guest_ports(guest_part)?;
        let ports = self.published.map(ports::host_ports).transpose()?.flatten();
        let host = self.host_ip.map_or(Ok(HostBind::Loopback), host)?;
        let transport = self.protocol.map_or(Ok(Some(Transport::Tcp)), ports::transports)?;
        let host_part = self.published.unwrap_or(guest_part);
        ports::check_lengths((host_part, ports), (guest_part, guest), transport)?;
        let name = self.name.map(name).transpose()?;
        let source = self.source.map(|part| source(part, transport)).transpose()?;
        Ok(Inet { host, ports, guest, transport, source, name })
    }
}

fn host(part: Part<'_>) -> Result<HostBind, Fault> {
    let inner = part.text().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = inner {
        let message = format!("`{}` has brackets, which only the short form needs", part.text());
        return Err(
            Fault::at(part, "expected an IP address", message).suggest(part.replaced(inner))
        );
    }
    HostText { field: part, inner: part, brackets: false }.read()
}

fn name(part: Part<'_>) -> Result<String, Fault> {
    let text = part.text();
    let Some(reason) = unusable_name(text) else { return Ok(text.to_owned()) };
    let message = match text {
        "" => "the name is missing".to_owned(),
        _ => format!("`{text}` cannot be the name of a port: {reason}"),
    };
    Err(Fault::at(part, "expected a name", message))
}

fn source(part: Part<'_>, transport: Option<Transport>) -> Result<SourceMode, Fault> {
    let mode = part.text().parse().map_err(|error: crate::ParseSourceModeError| {
        let meant = hint::nearest(part.text(), SourceMode::ALL.map(SourceMode::as_str));
        Fault::at(part, "expected a source mode", error.to_string())
            .suggest(meant.map(|meant| part.replaced(meant)))
    })?;
    if mode == SourceMode::ProxyV1 && transport != Some(Transport::Tcp) {
        let message = "source proxy-v1 is for tcp only: its header has no udp";
        return Err(Fault::at(part, "for tcp only", message));
    }
    Ok(mode)
}

fn unknown_key(field: Part<'_>, key: Part<'_>) -> Fault {
    let text = key.text();
    let fault = |message| Fault::at(key, "expected one of the keys below", message);
    match text {
        // Docker's and Compose's, about things that are not here.
        "mode" | "app_protocol" => fault(format!("`{text}` has no meaning here: leave it out"))
            .suggest(without_field(field)),
        _ => {
            let meant = match text {
                "host" | "ip" | "address" => Some("host_ip"),
                "proto" | "transport" => Some("protocol"),
                "port" | "guest_port" | "target_port" => Some("target"),
                "host_port" | "published_port" => Some("published"),
                _ => hint::nearest(text, KEYS),
            };
            fault(format!("`{text}` is not a key")).suggest(meant.map(|meant| key.replaced(meant)))
        }
    }
}

fn without_field(field: Part<'_>) -> String {
    field.replaced("").replace(",,", ",").trim_matches(',').to_owned()
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b' ')
}

const KEYS: [&str; 6] = ["target", "published", "host_ip", "protocol", "name", "source"];

const FORM: &str = "the form is target=GUEST_PORT[-LAST] and any of published=HOST_PORT[-LAST], \
    host_ip=ADDRESS, protocol=PROTO, name=NAME, source=MODE, with commas between";
