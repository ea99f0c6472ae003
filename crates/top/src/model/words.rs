//! Events in words: one line each.

use std::time::Duration;

use portreeve_types::api::{EventBody, FlowInfo, FlowOrigin};

use super::Weight;
use crate::units;

/// How much an event matters, and what to say of it.
pub(crate) fn event(body: &EventBody) -> (Weight, String) {
    match body {
        EventBody::FlowOpened { .. }
        | EventBody::FlowClosed { .. }
        | EventBody::FlowRefused { .. }
        | EventBody::EgressRefused { .. } => flow_event(body),
        EventBody::Published { .. }
        | EventBody::Unpublished { .. }
        | EventBody::ListenerPaused { .. }
        | EventBody::ListenerResumed { .. } => port_event(body),
        EventBody::DnsAnswered { .. }
        | EventBody::DnsDenied { .. }
        | EventBody::DnsRebindBlocked { .. }
        | EventBody::DnsUpstream { .. } => name_event(body),
        EventBody::LimitReached { limit, port, count } => {
            let port = port.map(|id| format!(" of port {id}")).unwrap_or_default();
            (Weight::Trouble, format!("limit {limit}{port} reached{}", times(*count)))
        }
        EventBody::Dropped { reason, count } => {
            (Weight::Notable, format!("dropped {}: {reason}", units::count(*count)))
        }
        EventBody::Lost { count } => {
            (Weight::Notable, format!("{} events were missed here", units::count(*count)))
        }
        _ => guest_event(body),
    }
}

fn flow_event(body: &EventBody) -> (Weight, String) {
    match body {
        EventBody::FlowOpened { flow } => (Weight::Normal, format!("opened {}", ends(flow))),
        EventBody::FlowClosed { flow, reason, duration_us } => {
            let text = format!(
                "ended ({reason}) {}: {} to guest, {} from guest in {}",
                ends(flow),
                units::bytes(flow.bytes_to_guest),
                units::bytes(flow.bytes_from_guest),
                units::latency(*duration_us, "us"),
            );
            let weight = match reason.as_str() {
                "finished" | "idle" => Weight::Normal,
                "stack_fault" => Weight::Trouble,
                _ => Weight::Notable,
            };
            (weight, text)
        }
        EventBody::FlowRefused { port, client, reason } => {
            let client = client.map_or_else(|| "a client".to_owned(), |client| client.to_string());
            let port = port.map(|id| format!(" at port {id}")).unwrap_or_default();
            (Weight::Notable, format!("refused {client}{port}: {reason}"))
        }
        EventBody::EgressRefused { protocol, guest, destination, name, reason } => {
            let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            let text = format!("refused {protocol} {guest} > {destination}{name}: {reason}");
            (Weight::Notable, text)
        }
        _ => (Weight::Normal, body.kind().to_owned()),
    }
}

fn port_event(body: &EventBody) -> (Weight, String) {
    match body {
        EventBody::Published { port } => (Weight::Notable, format!("published {port}")),
        EventBody::Unpublished { port } => (Weight::Notable, format!("unpublished {port}")),
        EventBody::ListenerPaused { port, cause } => {
            (Weight::Trouble, format!("port {port} takes no clients for now: {cause}"))
        }
        EventBody::ListenerResumed { port } => {
            (Weight::Notable, format!("port {port} takes clients again"))
        }
        _ => (Weight::Normal, body.kind().to_owned()),
    }
}

fn name_event(body: &EventBody) -> (Weight, String) {
    match body {
        EventBody::DnsAnswered { name, record_type, rcode, source, addresses, latency_us } => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let text = format!(
                "{name} {record_type}: {rcode} {}{}from {source}, {}",
                addresses.join(" "),
                if addresses.is_empty() { "" } else { " " },
                units::latency(*latency_us, "us"),
            );
            let weight = if rcode == "SERVFAIL" { Weight::Notable } else { Weight::Normal };
            (weight, text)
        }
        EventBody::DnsDenied { name, record_type } => {
            (Weight::Notable, format!("{name} {record_type}: denied"))
        }
        EventBody::DnsRebindBlocked { name, address, server } => {
            (Weight::Notable, format!("{name}: answer {address} of {server} withheld"))
        }
        EventBody::DnsUpstream { server, state } => {
            let weight = if state == "up" { Weight::Notable } else { Weight::Trouble };
            (weight, format!("name server {server}: {state}"))
        }
        _ => (Weight::Normal, body.kind().to_owned()),
    }
}

fn guest_event(body: &EventBody) -> (Weight, String) {
    match body {
        EventBody::Lease { protocol, address, change } => {
            (Weight::Normal, format!("{protocol}: {address} {change}"))
        }
        EventBody::GuestSeen { mac } => (Weight::Normal, format!("guest seen at {mac}")),
        EventBody::LinkUp => (Weight::Notable, "guest attached".to_owned()),
        EventBody::LinkDown { cause, for_good } => {
            let end = if *for_good { "; no other can come" } else { "" };
            (Weight::Trouble, format!("guest gone: {cause}{end}"))
        }
        EventBody::HostNetwork { addresses, name_servers } => (
            Weight::Notable,
            format!(
                "the host's network changed: {} addresses, {} name servers",
                addresses.len(),
                name_servers.len()
            ),
        ),
        EventBody::EchoForbidden { cause } => {
            (Weight::Trouble, format!("the guest may not ping: {cause}"))
        }
        EventBody::Reconfigured { settings } => {
            (Weight::Notable, format!("changed: {}", settings.join(", ")))
        }
        // Kinds of a newer engine.
        _ => (Weight::Normal, body.kind().to_owned()),
    }
}

/// Who talks to whom, the opener first.
pub(crate) fn ends(flow: &FlowInfo) -> String {
    let protocol = &flow.protocol;
    match flow.origin {
        FlowOrigin::Host => {
            let client = flow.client.map_or_else(|| "local".to_owned(), |a| a.to_string());
            format!("{protocol} {client} > {}", flow.guest)
        }
        FlowOrigin::Guest => {
            let to = match (&flow.name, flow.remote.or(flow.target)) {
                (Some(name), Some(remote)) => format!("{name}:{}", remote.port()),
                (Some(name), None) => name.clone(),
                (None, Some(remote)) => remote.to_string(),
                (None, None) => "any peer".to_owned(),
            };
            format!("{protocol} {} > {to}", flow.guest)
        }
    }
}

/// An empty text for once.
fn times(count: u64) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(" {} times", units::count(count)),
    }
}

/// A time to wait for, whole, for people.
pub(crate) fn period(period: Duration) -> String {
    format!("{} s", period.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned;

    #[test]
    fn every_event_of_the_canned_engine_in_words() {
        let lines: Vec<_> = canned::events()
            .iter()
            .map(|record| {
                let (weight, text) = event(&record.body);
                format!("{weight:?}: {text}")
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
