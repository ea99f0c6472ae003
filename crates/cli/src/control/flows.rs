//! `portreeve flows` and `portreeve kill`.
//!
//! Owns asking for page after page, and choosing among events what a filter would choose among
//! flows.

use std::time::SystemTime;

use portreeve_client::{Client, EventFilter, FlowFilter};
use portreeve_types::PublishId;
use portreeve_types::api::{EventBody, EventRecord, FlowInfo, FlowList, FlowOrigin};
use serde::Serialize;

use super::event_line::ends;
use super::screen::{Column, Grid, Screen};
use super::{Stop, events, ports, units, words};
use crate::args::engine::{FlowsArgs, KillArgs, Side};
use crate::report;

pub(super) fn flows(args: &FlowsArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let ask = &args.ask;
    let client = words::engine(ask.name.as_deref(), ask.socket.socket.as_deref())?;
    let ports = args.port.as_ref().map(|text| published(&client, text)).transpose()?;
    if args.follow {
        let kinds = ["flow_opened", "flow_closed", "lost"].map(str::to_owned).to_vec();
        let filter = EventFilter { kinds, ..EventFilter::default() };
        let wanted = |record: &EventRecord| match &record.body {
            EventBody::FlowOpened { flow } | EventBody::FlowClosed { flow, .. } => {
                fits(flow, args, ports.as_deref())
            }
            _ => true,
        };
        return events::follow(&client, filter, ask.socket.json, wanted, screen);
    }
    let list = collect(&client, args, ports)?;
    if ask.socket.json {
        screen.json(&list)?;
        return Ok(0);
    }
    screen.grid(&table(&list.flows, SystemTime::now()))?;
    if list.next.is_some() {
        report::note(format_args!("there are more: {} flows in all", list.total));
    }
    Ok(0)
}

/// The published ports that are meant, those with their last connections as well.
fn published(client: &Client, text: &str) -> Result<Vec<PublishId>, Stop> {
    let selectors = ports::selectors(&[text.to_owned()])?;
    let list = client.ports()?.ports;
    let fitting = selectors.iter().flat_map(|selector| selector.all(&list));
    let ids: Vec<_> = fitting.map(|status| status.port.id).collect();
    if ids.is_empty() { Err(ports::absent(text)) } else { Ok(ids) }
}

/// Page after page, up to the limit.
fn collect(
    client: &Client,
    args: &FlowsArgs,
    ports: Option<Vec<PublishId>>,
) -> Result<FlowList, Stop> {
    let mut list = FlowList { flows: Vec::new(), next: None, total: 0 };
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    // The API takes one port at a time.
    let ports = match ports {
        Some(ports) => ports.into_iter().map(Some).collect(),
        None => vec![None],
    };
    for port in ports {
        let mut filter = FlowFilter {
            protocol: args.protocol.clone(),
            origin: args.origin.map(origin),
            phase: args.phase.clone(),
            port,
            contains: args.contains.clone(),
            ..FlowFilter::default()
        };
        loop {
            let page = client.flows(&filter)?;
            list.flows.extend(page.flows);
            list.total = page.total;
            list.next = page.next;
            if list.flows.len() > limit {
                // No page begins where this one was cut, but there is more.
                list.next = list.next.or(filter.after).or(Some(0));
                list.flows.truncate(limit);
            }
            if list.flows.len() >= limit {
                return Ok(list);
            }
            match page.next {
                // A page that leads to itself would be asked for for ever.
                Some(next) if filter.after.is_none_or(|after| next > after) => {
                    filter.after = Some(next);
                }
                _ => break,
            }
        }
    }
    Ok(list)
}

/// Whether the engine would have listed it.
fn fits(flow: &FlowInfo, args: &FlowsArgs, ports: Option<&[PublishId]>) -> bool {
    let contains = |text: &str| {
        let ends = [flow.client, flow.remote, flow.target, Some(flow.guest)];
        ends.into_iter().flatten().any(|end| end.to_string().contains(text))
            || flow.name.as_ref().is_some_and(|name| name.contains(text))
    };
    args.protocol.as_ref().is_none_or(|protocol| *protocol == flow.protocol)
        && args.origin.is_none_or(|side| origin(side) == flow.origin)
        && ports.is_none_or(|ports| flow.port.is_some_and(|port| ports.contains(&port)))
        && args.contains.as_deref().is_none_or(contains)
}

const fn origin(side: Side) -> FlowOrigin {
    match side {
        Side::Host => FlowOrigin::Host,
        Side::Guest => FlowOrigin::Guest,
    }
}

fn table(flows: &[FlowInfo], now: SystemTime) -> Grid<9> {
    let mut grid = Grid::new([
        Column::new("FLOW"),
        Column::new("PROTO"),
        Column::new("FROM"),
        Column::new("TO"),
        Column::new("ADDRESS").spare(3),
        Column::new("PHASE").spare(1),
        Column::new("AGE").spare(2),
        Column::new("IN").right(),
        Column::new("OUT").right(),
    ]);
    for flow in flows {
        let (from, mut to) = ends(flow);
        // Whom the guest wanted, by name, and where that led.
        let mut address = flow.target.map_or_else(String::new, |target| target.to_string());
        if let (Some(name), Some(remote), FlowOrigin::Guest) =
            (&flow.name, flow.remote, flow.origin)
        {
            let remote_text = std::mem::replace(&mut to, format!("{name}:{}", remote.port()));
            if address.is_empty() {
                address = remote_text;
            }
        }
        grid.row([
            flow.id.clone(),
            flow.protocol.clone(),
            from,
            to,
            address,
            flow.phase.clone().unwrap_or_default(),
            units::age(flow.opened, now),
            units::bytes(flow.bytes_to_guest),
            units::bytes(flow.bytes_from_guest),
        ]);
    }
    grid
}

/// What `kill --json` prints.
#[derive(Debug, Default, Serialize)]
struct Killed {
    killed: Vec<String>,
}

pub(super) fn kill(args: &KillArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let socket = &args.socket;
    let (client, flows) =
        words::split(args.name.as_ref(), args.flows.clone(), socket.socket.as_deref(), is_flow)?;
    if flows.is_empty() {
        return Err(Stop::usage("no flow to kill", "for example `portreeve kill NAME 12.3`"));
    }
    if let Some(wrong) = flows.iter().find(|flow| !is_flow(flow)) {
        let what = format_args!("`{}` is no flow", super::screen::clean(wrong));
        return Err(Stop::usage(what, "`portreeve flows` shows their names, as in 12.3"));
    }
    let mut killed = Killed::default();
    let mut failed = None;
    // One that has just ended does not save the others.
    for flow in flows {
        match client.kill_flow(&flow) {
            Ok(()) => killed.killed.push(flow),
            Err(error) if error.problem().is_some() && failed.is_none() => failed = Some(error),
            Err(error) if error.problem().is_some() => report::warning(error),
            Err(error) => return Err(error.into()),
        }
    }
    if socket.json {
        screen.json(&killed)?;
    }
    failed.map_or(Ok(0), |error| Err(error.into()))
}

/// `12.3`: a place in the engine's table, and how often it was used.
fn is_flow(word: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once('.').is_some_and(|(slot, turn)| number(slot) && number(turn))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::screen::plain;
    use portreeve_types::api::Timestamp;
    use serde_json::json;

    #[test]
    fn names_of_flows() {
        assert!(is_flow("12.3") && is_flow("0.0"));
        for word in ["12", "12.", ".3", "1.2.3", "web", "v1.2", "-1.2"] {
            assert!(!is_flow(word), "{word}");
        }
    }

    fn some() -> Vec<FlowInfo> {
        let flows = json!([
            {"id": "0.1", "protocol": "tcp", "origin": "host", "phase": "relaying", "port": 1,
             "client": "127.0.0.1:50412", "guest": "10.0.2.100:80", "remote": "10.0.2.2:50412",
             "opened": "2026-01-02T03:04:05Z", "bytes_to_guest": 512, "bytes_from_guest": 123456789},
            {"id": "12.34", "protocol": "tcp", "origin": "guest", "phase": "guest_finished",
             "guest": "10.0.2.100:40000", "remote": "93.184.216.34:443", "name": "example.org",
             "opened": "2026-01-02T01:04:05Z", "bytes_to_guest": 99999, "bytes_from_guest": 1024},
            {"id": "13.1", "protocol": "udp", "origin": "guest", "guest": "10.0.2.100:5353",
             "opened": "2026-01-02T03:05:00Z", "bytes_to_guest": 0, "bytes_from_guest": 60},
            {"id": "14.1", "protocol": "tcp", "origin": "guest", "phase": "dialing_host",
             "guest": "10.0.2.100:40001", "remote": "10.0.2.2:8080", "target": "127.0.0.1:8080",
             "opened": "2026-01-02T03:05:04.5Z", "bytes_to_guest": 0, "bytes_from_guest": 0},
        ]);
        serde_json::from_value(flows).unwrap()
    }

    #[test]
    fn the_table_at_two_widths() {
        let now = "2026-01-02T03:05:05Z".parse::<Timestamp>().unwrap().0;
        let grid = table(&some(), now);
        assert_eq!(
            plain(&grid, Some(120)),
            "\
FLOW   PROTO  FROM              TO               ADDRESS            PHASE           AGE        IN     OUT
0.1    tcp    127.0.0.1:50412   10.0.2.100:80                       relaying        1m 0s     512  123.5M
12.34  tcp    10.0.2.100:40000  example.org:443  93.184.216.34:443  guest_finished  2h 1m  100.0k    1.0k
13.1   udp    10.0.2.100:5353   *                                                   5.0s        0      60
14.1   tcp    10.0.2.100:40001  10.0.2.2:8080    127.0.0.1:8080     dialing_host    <1s         0       0
"
        );
        assert_eq!(
            plain(&grid, Some(80)),
            "\
FLOW   PROTO  FROM              TO               PHASE               IN     OUT
0.1    tcp    127.0.0.1:50412   10.0.2.100:80    relaying           512  123.5M
12.34  tcp    10.0.2.100:40000  example.org:443  guest_finished  100.0k    1.0k
13.1   udp    10.0.2.100:5353   *                                     0      60
14.1   tcp    10.0.2.100:40001  10.0.2.2:8080    dialing_host         0       0
"
        );
    }
}
