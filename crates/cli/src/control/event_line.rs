//! One event as one line: when, what, who to whom, how much, why.
//!
//! Owns its words. What is in them may come from the guest, and is cleaned when it is printed.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use portreeve_types::PublishId;
use portreeve_types::api::{EventBody, EventRecord, FlowInfo, FlowOrigin};

use super::screen::{BAD, FAINT, GOOD, clean};
use super::units;

/// The line, with colours for a terminal.
pub(super) fn line(record: &EventRecord) -> String {
    let time = humantime::format_rfc3339_millis(record.time.0);
    let (kind, style) = (record.body.kind(), style(&record.body));
    let text = text(&record.body);
    let gap = if text.is_empty() { 0 } else { WIDTH + 2 - kind.len() };
    format!("{FAINT}{time}{FAINT:#}  {style}{kind}{style:#}{:gap$}{}", "", clean(&text))
}

/// As wide as the longest kind, so that what follows is in one column.
const WIDTH: usize = 18;

const fn style(body: &EventBody) -> Style {
    match body {
        EventBody::FlowOpened { .. } | EventBody::Published { .. } | EventBody::LinkUp => GOOD,
        EventBody::FlowRefused { .. }
        | EventBody::EgressRefused { .. }
        | EventBody::LimitReached { .. }
        | EventBody::Dropped { .. }
        | EventBody::ListenerPaused { .. }
        | EventBody::DnsDenied { .. }
        | EventBody::DnsRebindBlocked { .. }
        | EventBody::LinkDown { .. }
        | EventBody::EchoForbidden { .. }
        | EventBody::Lost { .. } => BAD,
        EventBody::Reconfigured { .. } | EventBody::DnsUpstream { .. } => {
            AnsiColor::Yellow.on_default()
        }
        _ => Style::new(),
    }
}

fn text(body: &EventBody) -> String {
    match body {
        EventBody::FlowOpened { flow } => opened(flow),
        EventBody::FlowClosed { flow, reason, duration_us } => {
            let (into, out) =
                (units::bytes(flow.bytes_to_guest), units::bytes(flow.bytes_from_guest));
            let lived = units::span(Duration::from_micros(*duration_us));
            format!("{}  {into} in, {out} out, {reason} after {lived}", opened(flow))
        }
        EventBody::FlowRefused { port, client, reason } => {
            let client = client.map_or_else(|| "a client".into(), |client| client.to_string());
            format!("{client} at {}: {reason}", named_port(*port))
        }
        EventBody::EgressRefused { protocol, guest, destination, name, reason } => {
            let name = in_brackets(name.as_ref());
            format!("{protocol} {guest} -> {destination}{name}: {reason}")
        }
        EventBody::LimitReached { limit, port, count } => {
            let at =
                port.map_or_else(String::new, |port| format!(" at {}", named_port(Some(port))));
            format!("{limit}{at}, {}", times(*count))
        }
        EventBody::Dropped { reason, count } => format!("{reason}, {}", times(*count)),
        EventBody::Published { port } | EventBody::Unpublished { port } => {
            format!("{port}  (id:{})", port.id)
        }
        EventBody::ListenerPaused { port, cause } => {
            format!("{}: {cause}", named_port(Some(*port)))
        }
        EventBody::ListenerResumed { port } => named_port(Some(*port)).into_owned(),
        EventBody::DnsAnswered { .. }
        | EventBody::DnsDenied { .. }
        | EventBody::DnsRebindBlocked { .. }
        | EventBody::DnsUpstream { .. } => dns(body),
        EventBody::Lease { protocol, address, change } => format!("{protocol} {address} {change}"),
        EventBody::GuestSeen { mac } => mac.to_string(),
        EventBody::LinkUp => String::new(),
        EventBody::LinkDown { cause, for_good } => {
            let end = if *for_good { "; no other guest can come" } else { "" };
            format!("{cause}{end}")
        }
        EventBody::HostNetwork { addresses, name_servers } => {
            format!("addresses {}; name servers {}", list(addresses), list(name_servers))
        }
        EventBody::EchoForbidden { cause } => cause.clone(),
        EventBody::Reconfigured { settings } => settings.join(", "),
        EventBody::Lost { count } => format!("{count} events are not here"),
        // A kind that was added since: its JSON says all of it.
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

fn dns(body: &EventBody) -> String {
    match body {
        EventBody::DnsAnswered { name, record_type, rcode, source, addresses, latency_us } => {
            let latency = units::span(Duration::from_micros(*latency_us));
            let found =
                if addresses.is_empty() { String::new() } else { format!(": {}", list(addresses)) };
            format!("{name} {record_type} {rcode} from {source} in {latency}{found}")
        }
        EventBody::DnsDenied { name, record_type } => format!("{name} {record_type}"),
        EventBody::DnsRebindBlocked { name, address, server } => {
            format!("{name} at {address}, as {server} said")
        }
        EventBody::DnsUpstream { server, state } => format!("{server} {state}"),
        _ => String::new(),
    }
}

/// Who opened it, to whom.
fn opened(flow: &FlowInfo) -> String {
    let (from, to) = ends(flow);
    let name = in_brackets(flow.name.as_ref().filter(|_| flow.origin == FlowOrigin::Guest));
    format!("{} {}  {from} -> {to}{name}", flow.protocol, flow.id)
}

/// Both ends of a flow, the one that opened it first.
pub(super) fn ends(flow: &FlowInfo) -> (String, String) {
    let echo = flow.protocol == "echo";
    let shown = |at: std::net::SocketAddr| {
        // An echo has an identifier where others have a port, and only at the guest.
        if echo { at.ip().to_string() } else { at.to_string() }
    };
    let any = || "*".to_owned();
    let guest = shown(flow.guest);
    match flow.origin {
        FlowOrigin::Host => {
            let client = flow.client.or(flow.remote);
            (client.map_or_else(any, |client| client.to_string()), guest)
        }
        FlowOrigin::Guest => (guest, flow.remote.map_or_else(any, shown)),
    }
}

fn named_port(port: Option<PublishId>) -> Cow<'static, str> {
    port.map_or(Cow::Borrowed("a published port"), |port| Cow::Owned(format!("port id:{port}")))
}

fn in_brackets(name: Option<&String>) -> String {
    name.map_or_else(String::new, |name| format!(" ({name})"))
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// `a, b`, or `none`.
pub(super) fn list<T: Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(kind: &str, mut body: Value) -> String {
        body["seq"] = 7.into();
        body["time"] = "2026-01-02T03:04:05.678901Z".into();
        body["kind"] = kind.into();
        let record = serde_json::from_value(body).unwrap();
        let text = anstream::adapter::strip_str(&line(&record)).to_string();
        text.strip_prefix("2026-01-02T03:04:05.678Z  ").unwrap().to_owned()
    }

    fn flow(more: Value) -> Value {
        let mut flow = json!({"id": "12.3", "protocol": "tcp", "origin": "guest",
            "guest": "10.0.2.100:40000", "remote": "93.184.216.34:443", "name": "example.org",
            "opened": "2026-01-02T03:04:01Z", "bytes_to_guest": 123456, "bytes_from_guest": 999});
        for (key, value) in more.as_object().unwrap() {
            flow[key] = value.clone();
        }
        flow
    }

    #[test]
    fn flows() {
        assert_eq!(
            shown("flow_opened", json!({"flow": flow(json!({}))})),
            "flow_opened         tcp 12.3  10.0.2.100:40000 -> 93.184.216.34:443 (example.org)"
        );
        let closed =
            json!({"flow": flow(json!({})), "reason": "guest_reset", "duration_us": 4_100_000});
        assert_eq!(
            shown("flow_closed", closed),
            "flow_closed         tcp 12.3  10.0.2.100:40000 -> 93.184.216.34:443 (example.org)  \
             123.5k in, 999 out, guest_reset after 4.1s"
        );
        let published = json!({"origin": "host", "client": "127.0.0.1:5000", "remote": "10.0.2.2:9",
            "guest": "10.0.2.100:80", "name": null});
        assert_eq!(
            shown("flow_opened", json!({"flow": flow(published)})),
            "flow_opened         tcp 12.3  127.0.0.1:5000 -> 10.0.2.100:80"
        );
        let echo = json!({"protocol": "echo", "remote": "[2001:db8::1]:0", "guest": "[fd00::2]:77",
            "name": null});
        assert_eq!(
            shown("flow_opened", json!({"flow": flow(echo)})),
            "flow_opened         echo 12.3  fd00::2 -> 2001:db8::1"
        );
        let udp = json!({"protocol": "udp", "remote": null, "name": null});
        assert_eq!(
            shown("flow_opened", json!({"flow": flow(udp)})),
            "flow_opened         udp 12.3  10.0.2.100:40000 -> *"
        );
    }

    #[test]
    fn refusals_and_drops() {
        let refused = json!({"port": 3, "client": "127.0.0.1:5000", "reason": "guest_refused"});
        assert_eq!(
            shown("flow_refused", refused),
            "flow_refused        127.0.0.1:5000 at port id:3: guest_refused"
        );
        let egress = json!({"protocol": "tcp", "guest": "10.0.2.100:1", "reason": "metadata",
            "destination": "169.254.169.254:80", "name": "evil\u{1b}[2J"});
        assert_eq!(
            shown("egress_refused", egress),
            "egress_refused      tcp 10.0.2.100:1 -> 169.254.169.254:80 (evil\\u{1b}[2J): metadata"
        );
        let limit = json!({"limit": "max_flows_per_port", "port": 2, "count": 1});
        assert_eq!(
            shown("limit_reached", limit),
            "limit_reached       max_flows_per_port at port id:2, once"
        );
        let dropped = json!({"reason": "source_mac", "count": 12});
        assert_eq!(shown("dropped", dropped), "dropped             source_mac, 12 times");
        let lost = shown("lost", json!({"count": 5}));
        assert_eq!(lost, "lost                5 events are not here");
    }

    #[test]
    fn everything_else() {
        let port = json!({"port": {"id": 7, "transport": "tcp", "guest_port": 80,
            "host": {"inet": "127.0.0.1:8080"}, "source": "gateway"}});
        assert_eq!(
            shown("published", port),
            "published           80/tcp -> 127.0.0.1:8080  (id:7)"
        );
        let answered = json!({"name": "example.org", "type": "A", "rcode": "NOERROR",
            "source": "1.1.1.1:53", "addresses": ["93.184.216.34"], "latency_us": 12_345});
        assert_eq!(
            shown("dns_answered", answered),
            "dns_answered        example.org A NOERROR from 1.1.1.1:53 in 12ms: 93.184.216.34"
        );
        let rebind = json!({"name": "x.y", "address": "127.0.0.1", "server": "1.1.1.1:53"});
        assert_eq!(
            shown("dns_rebind_blocked", rebind),
            "dns_rebind_blocked  x.y at 127.0.0.1, as 1.1.1.1:53 said"
        );
        let down = json!({"cause": "it hung up", "for_good": true});
        assert_eq!(
            shown("link_down", down),
            "link_down           it hung up; no other guest can come"
        );
        assert_eq!(shown("link_up", json!({})), "link_up");
        let host = json!({"addresses": ["10.0.0.1", "::1"], "name_servers": []});
        assert_eq!(
            shown("host_network", host),
            "host_network        addresses 10.0.0.1, ::1; name servers none"
        );
    }

    #[test]
    fn the_second_column_has_room_for_every_kind() {
        let longest = EventBody::KINDS.iter().map(|kind| kind.len()).max();
        assert_eq!(longest, Some(WIDTH));
    }
}
