//! `portreeve dns`: the guest's name server.

use std::time::Duration;

use portreeve_client::Client;
use portreeve_types::api::{DnsCache, DnsRecordBody, DnsRecords, DnsStatus};

use super::event_line::list;
use super::screen::{Column, Grid, STRONG, Screen, clean};
use super::stats::dns_lines;
use super::{Stop, units, words};
use crate::args::engine::{DnsArgs, DnsCommand};

pub(super) fn dns(args: &DnsArgs, screen: &mut Screen) -> Result<u8, Stop> {
    let client = words::engine(args.name.as_deref(), args.socket.as_deref())?;
    match &args.command {
        None => status(&client.dns()?, args.json, screen)?,
        Some(DnsCommand::Cache { limit }) => {
            cache(&client.dns_cache(*limit)?, args.json, screen)?;
        }
        Some(DnsCommand::Records) => records(&client.dns_records()?, args.json, screen)?,
        Some(DnsCommand::Flush) => {
            client.flush_dns()?;
            if args.json {
                screen.json(&client.dns()?)?;
            }
        }
        Some(DnsCommand::Set { domain, addresses, ttl }) => {
            let body = DnsRecordBody { addresses: addresses.clone(), ttl: *ttl };
            client.set_dns_record(domain, &body)?;
            after(&client, args.json, screen)?;
        }
        Some(DnsCommand::Remove { domain }) => {
            client.remove_dns_record(domain)?;
            after(&client, args.json, screen)?;
        }
    }
    Ok(0)
}

/// What a change has led to, for programs; people asked for it and hear of failures.
fn after(client: &Client, json: bool, screen: &mut Screen) -> Result<(), Stop> {
    if json {
        screen.json(&client.dns_records()?)?;
    }
    Ok(())
}

fn status(status: &DnsStatus, json: bool, screen: &mut Screen) -> Result<(), Stop> {
    if json {
        return Ok(screen.json(status)?);
    }
    let search = list(&status.search);
    screen.grid(&upstreams(status))?;
    screen.line("")?;
    screen.line(format_args!("{STRONG}{:<WIDTH$}{STRONG:#} {}", "Search list", clean(&search)))?;
    screen.line(format_args!(
        "{STRONG}{:<WIDTH$}{STRONG:#} {} answers, {}",
        "Cache",
        status.cache_entries,
        units::bytes(status.cache_bytes)
    ))?;
    screen
        .line(format_args!("{STRONG}{:<WIDTH$}{STRONG:#} {} queries", "Waiting", status.waiting))?;
    screen.line("")?;
    for line in dns_lines(&status.counters) {
        screen.line(line)?;
    }
    Ok(())
}

const WIDTH: usize = 12;

fn upstreams(status: &DnsStatus) -> Grid<3> {
    let mut grid =
        Grid::new([Column::new("UPSTREAM"), Column::new("STATE"), Column::new("LATENCY").right()]);
    for upstream in &status.upstreams {
        let latency = upstream.latency_us.map(Duration::from_micros);
        grid.row([
            upstream.address.to_string(),
            if upstream.down { "down" } else { "up" }.to_owned(),
            latency.map_or_else(|| "-".to_owned(), units::span),
        ]);
    }
    grid
}

fn cache(cache: &DnsCache, json: bool, screen: &mut Screen) -> Result<(), Stop> {
    if json {
        return Ok(screen.json(cache)?);
    }
    screen.grid(&answers(cache))?;
    let shown = cache.entries.len() as u64;
    if shown < cache.total {
        crate::report::note(format_args!("{shown} of {} answers", cache.total));
    }
    Ok(())
}

fn answers(cache: &DnsCache) -> Grid<5> {
    let mut grid = Grid::new([
        Column::new("NAME"),
        Column::new("TYPE"),
        Column::new("RCODE"),
        Column::new("TTL").right(),
        Column::new("ADDRESSES").wraps(),
    ]);
    for entry in &cache.entries {
        let addresses =
            if entry.addresses.is_empty() { String::new() } else { list(&entry.addresses) };
        grid.row([
            entry.name.to_string(),
            entry.record_type.clone(),
            entry.rcode.clone(),
            entry.ttl.to_string(),
            addresses,
        ]);
    }
    grid
}

fn records(records: &DnsRecords, json: bool, screen: &mut Screen) -> Result<(), Stop> {
    if json {
        return Ok(screen.json(records)?);
    }
    let mut grid = Grid::new([
        Column::new("NAME"),
        Column::new("TTL").right(),
        Column::new("ADDRESSES").wraps(),
    ]);
    for record in &records.records {
        grid.row([record.name.to_string(), record.ttl.to_string(), list(&record.addresses)]);
    }
    Ok(screen.grid(&grid)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::screen::plain;
    use serde_json::json;

    #[test]
    fn tables() {
        let cache: DnsCache = serde_json::from_value(json!({"total": 2, "entries": [
            {"name": "example.org", "type": "A", "rcode": "NOERROR", "ttl": 299,
             "addresses": ["93.184.216.34", "93.184.216.35", "93.184.216.36"]},
            {"name": "nope.example", "type": "AAAA", "rcode": "NXDOMAIN", "ttl": 9, "addresses": []},
        ]}))
        .unwrap();
        assert_eq!(
            plain(&answers(&cache), Some(120)),
            "\
NAME          TYPE  RCODE     TTL  ADDRESSES
example.org   A     NOERROR   299  93.184.216.34, 93.184.216.35, 93.184.216.36
nope.example  AAAA  NXDOMAIN    9
"
        );
        assert_eq!(
            plain(&answers(&cache), Some(70)),
            "\
NAME          TYPE  RCODE     TTL  ADDRESSES
example.org   A     NOERROR   299  93.184.216.34, 93.184.216.35,
                                   93.184.216.36
nope.example  AAAA  NXDOMAIN    9
"
        );
        let status = DnsStatus {
            upstreams: serde_json::from_value(json!([
                {"address": "1.1.1.1:53", "down": false, "latency_us": 12345},
                {"address": "[2606:4700::1111]:53", "down": true},
            ]))
            .unwrap(),
            search: Vec::new(),
            cache_entries: 0,
            cache_bytes: 0,
            waiting: 0,
            counters: Default::default(),
        };
        assert_eq!(
            plain(&upstreams(&status), Some(80)),
            "\
UPSTREAM              STATE  LATENCY
1.1.1.1:53            up        12ms
[2606:4700::1111]:53  down         -
"
        );
    }
}
