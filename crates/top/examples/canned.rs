//! The view of an engine that does not exist, for looking at it and for tests in a terminal.
//!
//! `cargo run -p portreeve-top --example canned -- [FLOWS] [FAULT]`: so many flows besides the few
//! that are always there; FAULT is `panic` (the thread that asks the engine panics after three
//! seconds), `gone` (the engine is away from the third second to the sixth) or `none`.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use portreeve_client::Connections;
use portreeve_top::{Options, Source, SourceError};
use portreeve_types::{PublishId, api};

#[path = "../src/canned.rs"]
mod canned;

struct Canned {
    began: Instant,
    crowd: u64,
    fault: String,
    ended: Mutex<HashSet<String>>,
}

impl Canned {
    /// Seconds since the engine was started; it is as old as the canned one, so that ages fit.
    fn seconds(&self) -> u64 {
        let since = SystemTime::now().duration_since(canned::started());
        since.map_or(0, |since| since.as_secs())
    }

    fn has_ended(&self, id: &str) -> bool {
        self.ended.lock().is_ok_and(|ended| ended.contains(id))
    }

    fn end(&self, id: String) {
        if let Ok(mut ended) = self.ended.lock() {
            ended.insert(id);
        }
    }
}

impl Source for Canned {
    fn health(&self) -> Result<api::Health, SourceError> {
        match (self.fault.as_str(), self.began.elapsed().as_secs()) {
            ("panic", 3..) => panic!("asked to"),
            ("gone", 3..6) => {
                Err(SourceError::Gone("/run/web/control.sock: connection refused".to_owned()))
            }
            _ => Ok(canned::health()),
        }
    }

    fn stats(&self) -> Result<api::Stats, SourceError> {
        let mut stats = canned::stats(self.seconds());
        stats.flows.active += self.crowd;
        Ok(stats)
    }

    fn ports(&self) -> Result<Vec<api::PortStatus>, SourceError> {
        let mut ports = canned::ports(self.seconds());
        ports.retain(|port| !self.has_ended(&format!("port {}", port.port.id)));
        Ok(ports)
    }

    fn flows(&self, after: Option<u64>, limit: usize) -> Result<api::FlowList, SourceError> {
        let seconds = self.seconds();
        let crowd = (10..10 + self.crowd).map(|slot| {
            let [_, _, high, low] = (slot as u32).to_be_bytes();
            let mut flow =
                canned::inbound(&format!("{slot}.1"), &format!("192.0.{high}.{low}:4000"));
            // Some move, at rates that differ and change.
            if slot.is_multiple_of(7) {
                flow.bytes_from_guest = slot * 1_000 * seconds + seconds % slot * 50_000;
            }
            flow
        });
        let mut flows: Vec<_> = canned::flows(seconds).into_iter().chain(crowd).collect();
        flows.retain(|flow| !self.has_ended(&flow.id));
        let total = flows.len() as u64;
        let first = after.unwrap_or(0) as usize;
        let page: Vec<_> = flows.into_iter().skip(first).take(limit).collect();
        let next = (first + page.len()) as u64;
        Ok(api::FlowList { flows: page, next: (next < total).then_some(next), total })
    }

    fn dns(&self) -> Result<Option<api::DnsStatus>, SourceError> {
        Ok(Some(canned::dns(self.seconds())))
    }

    fn events(&self, since: u64) -> Result<Vec<api::EventRecord>, SourceError> {
        Ok(canned::events().into_iter().filter(|event| event.seq > since).collect())
    }

    fn kill(&self, flow: &str) -> Result<(), SourceError> {
        if self.has_ended(flow) {
            return Err(SourceError::Refused(format!("no flow {flow}: it has ended")));
        }
        self.end(flow.to_owned());
        Ok(())
    }

    fn unpublish(&self, port: PublishId, _: Connections) -> Result<(), SourceError> {
        self.end(format!("port {port}"));
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let crowd = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let fault = arguments.next().unwrap_or_default();
    let source = Canned { began: Instant::now(), crowd, fault, ended: Mutex::default() };
    match portreeve_top::run_source(Box::new(source), Options::default()) {
        Ok(ended) => {
            let mut out = std::io::stdout();
            let _ = std::io::Write::write_fmt(&mut out, format_args!("ended: {ended:?}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut out = std::io::stderr();
            let _ = std::io::Write::write_fmt(&mut out, format_args!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
