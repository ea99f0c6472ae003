//! `portreeve ps`: every engine of this user that runs.
//!
//! Owns that one engine which does not answer holds up none of the others.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use portreeve_client::{Client, Error, InstanceName, instance};
use portreeve_types::api::{Health, PortState, PortStatus};
use serde::Serialize;

use super::port_selector::shown_hosts;
use super::screen::{Column, Grid, Screen};
use super::{Stop, units};
use crate::args::engine::PsArgs;
use crate::report;

/// How long an engine may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Ports that a row shows before it only counts.
const PORTS_SHOWN: usize = 6;

/// One engine, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Running {
    /// By which it is addressed.
    name: String,
    socket: PathBuf,
    /// What it says; missing if it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    ports: Vec<PortStatus>,
    /// Connections alive.
    flows: u64,
}

pub(super) fn ps(args: &PsArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let names = instance::list()
        .map_err(|source| Error::RuntimeDir { path: instance::runtime_dir(), source })?;
    if args.quiet {
        for name in &names {
            screen.line(name)?;
        }
        return Ok(0);
    }
    // A thread each: their answers are waited for at the same time.
    let looks: Vec<_> = names.into_iter().map(|name| thread::spawn(move || look(&name))).collect();
    let mut engines = Vec::new();
    for look in looks {
        let (engine, trouble) = match look.join() {
            Ok(seen) => seen?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        if let Some(trouble) = trouble {
            report::warning(format_args!("{}: {trouble}", engine.name));
        }
        engines.push(engine);
    }
    if args.json {
        screen.json(&engines)?;
    } else {
        screen.grid(&table(&engines, SystemTime::now()))?;
    }
    Ok(0)
}

/// What an engine says, and what it does not.
fn look(name: &InstanceName) -> Result<(Running, Option<Error>), Error> {
    let client = Client::named(name)?.with_timeout(PATIENCE);
    let (text, socket) = (name.to_string(), client.socket().to_owned());
    let mut engine = Running { name: text, socket, health: None, ports: Vec::new(), flows: 0 };
    let trouble = fill(&client, &mut engine).err();
    Ok((engine, trouble))
}

fn fill(client: &Client, engine: &mut Running) -> Result<(), Error> {
    engine.health = Some(client.health()?);
    engine.ports = client.ports()?.ports;
    engine.flows = client.stats()?.flows.active;
    Ok(())
}

fn table(engines: &[Running], now: SystemTime) -> Grid<7> {
    let mut grid = Grid::new([
        Column::new("NAME"),
        Column::new("MODE").spare(1),
        Column::new("PID").right(),
        Column::new("UP"),
        Column::new("GUEST"),
        Column::new("FLOWS").right(),
        Column::new("PORTS").wraps(),
    ]);
    for Running { name, health, ports, flows, .. } in engines {
        let open = ports.iter().filter(|status| status.state != PortState::Draining);
        let mut shown = shown_hosts(open.map(|status| &status.port));
        if shown.len() > PORTS_SHOWN {
            let more = shown.len() - PORTS_SHOWN;
            shown.truncate(PORTS_SHOWN);
            shown.push(format!("and {more} more"));
        }
        grid.row(match health {
            Some(health) => [
                name.clone(),
                health.mode.clone(),
                health.pid.to_string(),
                units::age(health.started, now),
                if health.guest { "there" } else { "away" }.to_owned(),
                flows.to_string(),
                shown.join(", "),
            ],
            None => {
                let unknown = || "?".to_owned();
                let silent = "does not answer".to_owned();
                [name.clone(), unknown(), unknown(), unknown(), unknown(), unknown(), silent]
            }
        });
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::screen::plain;
    use serde_json::json;

    fn engines() -> Vec<Running> {
        let health = json!({"status": "ok", "name": "web", "pid": 4711, "mode": "run",
            "started": "2026-01-02T03:04:05Z", "guest": true});
        let port = |id: u32, host: &str, guest: u16| {
            json!({"id": id, "transport": "tcp", "guest_port": guest, "host": {"inet": host},
                "source": "gateway", "state": "listening", "counters": {"flows": 0, "opened": 0,
                "refused": 0, "bytes_to_guest": 0, "bytes_from_guest": 0}})
        };
        let ports = json!([
            port(1, "127.0.0.1:8080", 80),
            port(2, "[::1]:8080", 80),
            port(3, "192.168.100.200:8443", 443),
        ]);
        let engine = |name: &str, health, ports, flows| Running {
            name: name.to_owned(),
            socket: "/x".into(),
            health,
            ports,
            flows,
        };
        vec![
            engine(
                "web",
                serde_json::from_value(health).unwrap(),
                serde_json::from_value(ports).unwrap(),
                12,
            ),
            engine("stuck", None, Vec::new(), 0),
        ]
    }

    #[test]
    fn a_row_for_each_engine() {
        let now = "2026-01-02T05:06:05Z".parse::<portreeve_types::api::Timestamp>().unwrap().0;
        let grid = table(&engines(), now);
        assert_eq!(
            plain(&grid, Some(120)),
            "\
NAME   MODE   PID  UP     GUEST  FLOWS  PORTS
web    run   4711  2h 2m  there     12  localhost:8080->80/tcp, 192.168.100.200:8443->443/tcp
stuck  ?        ?  ?      ?          ?  does not answer
"
        );
        assert_eq!(
            plain(&grid, Some(80)),
            "\
NAME   MODE   PID  UP     GUEST  FLOWS  PORTS
web    run   4711  2h 2m  there     12  localhost:8080->80/tcp,
                                        192.168.100.200:8443->443/tcp
stuck  ?        ?  ?      ?          ?  does not answer
"
        );
    }
}
