//! `portreeve publish`, `unpublish` and `port`.
//!
//! Owns that several specifications are one change: all are published or, if one cannot be, none
//! stays.

use portreeve_client::{Client, Connections};
use portreeve_types::api::{PortList, PortState, PortStatus, PublishedPorts};
use portreeve_types::{PublishSpec, PublishedPort, Transport};

use super::port_selector::{PortSelector, Unclear};
use super::screen::{Column, Grid, Screen, clean};
use super::{Stop, units, words};
use crate::args::engine::{PortArgs, PublishArgs, SocketArgs, UnpublishArgs};
use crate::report::{self, Failure};

pub(super) fn publish(args: &PublishArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let SocketArgs { socket, json } = &args.socket;
    // A name has neither colon nor slash, so what has one is a specification, if a wrong one.
    let is_spec = |word: &str| word.contains([':', '/']) || word.parse::<PublishSpec>().is_ok();
    let (client, specs) =
        words::split(args.name.as_ref(), args.specs.clone(), socket.as_deref(), is_spec)?;
    if specs.is_empty() {
        return Err(Stop::usage(
            "nothing to publish",
            "for example `portreeve publish NAME 8080:80`",
        ));
    }
    for text in &specs {
        // Here a wrong one is shown with a caret, before anything is asked of the engine.
        let spec: PublishSpec = text.parse().map_err(Failure::diagnostic)?;
        for warning in spec.warnings() {
            report::warning(warning);
        }
    }
    let mut published = PublishedPorts { ports: Vec::new() };
    for spec in specs {
        match client.publish(spec) {
            Ok(more) => published.ports.extend(more.ports),
            Err(error) => {
                withdraw(&client, &published.ports);
                return Err(error.into());
            }
        }
    }
    print_ports(screen, published, *json)
}

/// Takes back what was published by a command that failed.
fn withdraw(client: &Client, ports: &[PublishedPort]) {
    for port in ports {
        if let Err(error) = client.unpublish(port.id, Connections::Reset) {
            report::warning(format_args!("{port} stays published: {error}"));
        }
    }
}

pub(super) fn unpublish(args: &UnpublishArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let SocketArgs { socket, json } = &args.socket;
    let is_port = |word: &str| word.contains([':', '/']) || word.parse::<PortSelector>().is_ok();
    let (client, texts) =
        words::split(args.name.as_ref(), args.ports.clone(), socket.as_deref(), is_port)?;
    if texts.is_empty() {
        let help = "for example `portreeve unpublish NAME 8080/tcp`";
        return Err(Stop::usage("nothing to unpublish", help));
    }
    let selectors = selectors(&texts)?;
    let mut ports = client.ports()?.ports;
    ports.retain(|port| port.state != PortState::Draining || args.reset);
    let chosen = choose(&selectors, &ports)?;
    let connections = if args.reset { Connections::Reset } else { Connections::Drain };
    let mut closed = PublishedPorts { ports: Vec::new() };
    for port in chosen {
        client.unpublish(port.id, connections)?;
        closed.ports.push(port);
    }
    print_ports(screen, closed, *json)
}

/// Reads what somebody wrote for published ports.
pub(super) fn selectors(texts: &[String]) -> Result<Vec<PortSelector>, Stop> {
    let read = |text: &String| text.parse().map_err(|error: String| Failure::ours(error).into());
    texts.iter().map(read).collect()
}

/// All that is meant, each once; nothing if one is not clear.
fn choose(selectors: &[PortSelector], ports: &[PortStatus]) -> Result<Vec<PublishedPort>, Stop> {
    let mut chosen: Vec<PublishedPort> = Vec::new();
    for selector in selectors {
        let found = selector.choose(ports).map_err(|unclear| told(selector, unclear))?;
        for status in found {
            if chosen.iter().all(|port| port.id != status.port.id) {
                chosen.push(status.port.clone());
            }
        }
    }
    Ok(chosen)
}

fn told(selector: &PortSelector, unclear: Unclear) -> Stop {
    let text = clean(selector.text());
    match unclear {
        Unclear::Absent => absent(&text),
        Unclear::Several(names) => Stop::absent(
            format_args!("`{text}` is published more than once"),
            Some(format!("say which: {}", names.join(", "))),
        ),
    }
}

/// No published port fits what was written.
pub(super) fn absent(text: &str) -> Stop {
    let help = "`portreeve port -l` lists what is published".to_owned();
    Stop::absent(format_args!("no published port `{text}`"), Some(help))
}

pub(super) fn port(args: &PortArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let SocketArgs { socket, json } = &args.socket;
    let is_port = |word: &str| word.contains('/') || word.parse::<u16>().is_ok();
    let (client, texts) =
        words::split(args.name.as_ref(), args.port.clone(), socket.as_deref(), is_port)?;
    let wanted = match texts.as_slice() {
        [] => None,
        [text] => Some(guest_port(text)?),
        _ => return Err(Stop::usage("one port at a time", "for example `portreeve port NAME 80`")),
    };
    let mut list = client.ports()?;
    if let Some((port, transport)) = wanted {
        list.ports.retain(|at| at.port.guest_port == port && at.port.transport == transport);
        // One that only has its last connections takes no new ones.
        list.ports.retain(|at| at.state != PortState::Draining || args.long || *json);
        if list.ports.is_empty() {
            let what = format_args!("port {port}/{transport} of the guest is not published");
            return Err(Stop::absent(what, None));
        }
    }
    if *json {
        screen.json(&list)?;
    } else if args.long {
        screen.grid(&table(&list))?;
    } else {
        for status in list.ports.iter().filter(|at| at.state != PortState::Draining) {
            let host = status.port.host.to_string();
            match wanted {
                Some(_) => screen.line(clean(&host))?,
                None => screen.line(clean(&status.port.to_string()))?,
            }
        }
    }
    Ok(0)
}

/// `80`, `80/tcp`, `53/udp`; TCP unless something else is said, as Docker does.
fn guest_port(text: &str) -> Result<(u16, Transport), Stop> {
    let (port, transport) = text.split_once('/').unwrap_or((text, "tcp"));
    match (port.parse(), transport.parse()) {
        (Ok(port), Ok(transport)) => Ok((port, transport)),
        _ => Err(Stop::usage(
            format_args!("`{}` is no port", clean(text)),
            "write for example 80 or 53/udp",
        )),
    }
}

fn table(list: &PortList) -> Grid<9> {
    let mut grid = Grid::new([
        Column::new("ID").right(),
        Column::new("GUEST"),
        Column::new("HOST"),
        Column::new("STATE"),
        Column::new("FLOWS").right(),
        Column::new("OPENED").right().spare(1),
        Column::new("REFUSED").right().spare(2),
        Column::new("IN").right().spare(3),
        Column::new("OUT").right().spare(3),
    ]);
    for PortStatus { port, state, cause, counters } in &list.ports {
        let state = match (state, cause) {
            (PortState::Listening, _) => "listening".to_owned(),
            (PortState::Draining, _) => "draining".to_owned(),
            (PortState::Paused, None) => "paused".to_owned(),
            (PortState::Paused, Some(cause)) => format!("paused: {cause}"),
        };
        grid.row([
            port.id.to_string(),
            format!("{}/{}", port.guest_port, port.transport),
            port.host.to_string(),
            state,
            counters.flows.to_string(),
            counters.opened.to_string(),
            counters.refused.to_string(),
            units::bytes(counters.bytes_to_guest),
            units::bytes(counters.bytes_from_guest),
        ]);
    }
    grid
}

fn print_ports(screen: &mut Screen, ports: PublishedPorts, json: bool) -> Result<u8, Stop> {
    if json {
        screen.json(&ports)?;
    } else {
        for port in &ports.ports {
            screen.line(clean(&port.to_string()))?;
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::screen::plain;

    #[test]
    fn the_long_table_at_two_widths() {
        let list: PortList = serde_json::from_value(serde_json::json!({"ports": [
            {"id": 1, "transport": "tcp", "guest_port": 80, "host": {"inet": "127.0.0.1:8080"},
             "source": "gateway", "state": "listening",
             "counters": {"flows": 2, "opened": 120, "refused": 3,
                          "bytes_to_guest": 123456, "bytes_from_guest": 98765432}},
            {"id": 12, "transport": "udp", "guest_port": 53, "host": {"inet": "[::1]:5353"},
             "source": "gateway", "state": "paused", "cause": "too many open files",
             "counters": {"flows": 0, "opened": 0, "refused": 0,
                          "bytes_to_guest": 0, "bytes_from_guest": 0}},
        ]}))
        .unwrap();
        assert_eq!(
            plain(&table(&list), Some(120)),
            "\
ID  GUEST   HOST            STATE                        FLOWS  OPENED  REFUSED      IN    OUT
 1  80/tcp  127.0.0.1:8080  listening                        2     120        3  123.5k  98.8M
12  53/udp  [::1]:5353      paused: too many open files      0       0        0       0      0
"
        );
        assert_eq!(
            plain(&table(&list), Some(80)),
            "\
ID  GUEST   HOST            STATE                        FLOWS  OPENED  REFUSED
 1  80/tcp  127.0.0.1:8080  listening                        2     120        3
12  53/udp  [::1]:5353      paused: too many open files      0       0        0
"
        );
    }

    #[test]
    fn ports_of_the_guest() {
        assert_eq!(guest_port("80").unwrap(), (80, Transport::Tcp));
        assert_eq!(guest_port("53/udp").unwrap(), (53, Transport::Udp));
        for wrong in ["x", "80/x", "99999", "/tcp"] {
            assert!(guest_port(wrong).is_err(), "{wrong}");
        }
    }
}
