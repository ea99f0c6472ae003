//! An event in the API's words.

use portreeve::{AnswerSource, DnsEvent, EngineEvent, Event, Handle, LeaseChange, LeaseProtocol};
use portreeve_types::api::{EventBody, EventRecord, Timestamp};

use super::{flow, reason};

/// An event of this engine; `None` if the API has no words for it.
pub(crate) fn record(engine: &Handle, record: portreeve::EventRecord) -> Option<EventRecord> {
    let body = match record.event {
        Event::Engine(EngineEvent::FlowClosed { flow, reason }) => {
            let flow = flow::info(engine, &flow);
            let lived = record.time.duration_since(flow.opened.0).unwrap_or_default();
            EventBody::FlowClosed {
                flow,
                reason: reason::close(reason).to_owned(),
                duration_us: u64::try_from(lived.as_micros()).unwrap_or(u64::MAX),
            }
        }
        Event::Engine(event) => of_engine(engine, event)?,
        event => of_library(event)?,
    };
    Some(EventRecord { seq: record.seq, time: Timestamp(record.time), body })
}

fn of_library(event: Event) -> Option<EventBody> {
    Some(match event {
        Event::Published(port) => EventBody::Published { port },
        Event::Unpublished(port) => EventBody::Unpublished { port },
        Event::ListenerPaused { port, cause } => EventBody::ListenerPaused { port, cause },
        Event::ListenerResumed { port } => EventBody::ListenerResumed { port },
        Event::HostNetwork(network) => EventBody::HostNetwork {
            addresses: network.addresses.iter().copied().collect(),
            name_servers: network.name_servers.clone(),
        },
        Event::EchoForbidden { cause } => EventBody::EchoForbidden { cause },
        Event::GuestArrived => EventBody::LinkUp,
        Event::GuestGone { cause, for_good } => EventBody::LinkDown { cause, for_good },
        Event::Reconfigured { settings } => EventBody::Reconfigured { settings },
        Event::Lost { count } => EventBody::Lost { count },
        _ => return None,
    })
}

fn of_engine(engine: &Handle, event: EngineEvent) -> Option<EventBody> {
    Some(match event {
        EngineEvent::FlowOpened(flow) => EventBody::FlowOpened { flow: flow::info(engine, &flow) },
        EngineEvent::FlowRefused { publish, client, reason } => EventBody::FlowRefused {
            port: publish,
            client,
            reason: reason::refuse(reason).to_owned(),
        },
        EngineEvent::EgressRefused { protocol, guest, destination, name, reason } => {
            EventBody::EgressRefused {
                protocol: reason::protocol(protocol),
                guest,
                destination,
                name: name.as_deref().map(str::to_owned),
                reason: reason.label().to_owned(),
            }
        }
        EngineEvent::Dropped { reason, count } => {
            EventBody::Dropped { reason: reason.label().to_owned(), count }
        }
        EngineEvent::LimitReached { limit, publish, count } => {
            EventBody::LimitReached { limit: limit.to_owned(), port: publish, count }
        }
        EngineEvent::GuestSeen { mac } => EventBody::GuestSeen { mac },
        EngineEvent::Lease { protocol, address, change } => EventBody::Lease {
            protocol: match protocol {
                LeaseProtocol::Dhcp4 => "dhcp4",
                LeaseProtocol::Dhcp6 => "dhcp6",
                _ => "other",
            }
            .to_owned(),
            address,
            change: match change {
                LeaseChange::Given => "given",
                LeaseChange::Released => "released",
                LeaseChange::Declined => "declined",
                _ => "other",
            }
            .to_owned(),
        },
        EngineEvent::Name(event) => of_name_server(event)?,
        EngineEvent::Lost { count } => EventBody::Lost { count },
        _ => return None,
    })
}

fn of_name_server(event: DnsEvent) -> Option<EventBody> {
    let upstream = |server, state: &str| EventBody::DnsUpstream { server, state: state.to_owned() };
    Some(match event {
        DnsEvent::Answered { name, record_type, rcode, source, addresses, latency, .. } => {
            EventBody::DnsAnswered {
                name: name.to_string(),
                record_type: reason::record_type(record_type),
                rcode: reason::rcode(rcode),
                source: match source {
                    AnswerSource::Local => "local".to_owned(),
                    AnswerSource::Cache => "cache".to_owned(),
                    AnswerSource::Upstream(server) => server.to_string(),
                    _ => "nobody".to_owned(),
                },
                addresses,
                latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            }
        }
        DnsEvent::Denied { name, record_type, .. } => EventBody::DnsDenied {
            name: name.to_string(),
            record_type: reason::record_type(record_type),
        },
        DnsEvent::RebindBlocked { name, address, server } => {
            EventBody::DnsRebindBlocked { name: name.to_string(), address, server }
        }
        DnsEvent::UpstreamDown { server } => upstream(server, "down"),
        DnsEvent::UpstreamUp { server } => upstream(server, "up"),
        DnsEvent::UpstreamChangesCase { server } => upstream(server, "changes_case"),
        DnsEvent::ForgerySuspected { server, .. } => upstream(server, "forgery_suspected"),
        _ => return None,
    })
}
