//! Stands for what the library is about to have.
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use portreeve_types::api;
use portreeve::*;
#[derive(Debug)] pub struct EventRecord2 { pub seq: u64, pub time: SystemTime, pub event: Event }
#[derive(Debug)] pub struct Events2;
impl Events2 { pub fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<EventRecord2>> { Poll::Pending } }
#[derive(Debug)] pub struct FlowPage { pub flows: Vec<FlowSummary>, pub next: Option<u32>, pub total: usize }
#[derive(Debug, thiserror::Error)] #[error("x")] pub enum KillError { Unknown, Stopped }
#[derive(Debug)] pub enum LimitsChangeError { Invalid(portreeve_types::LimitsError), NeedsRestart(Vec<&'static str>), Stopped }
#[derive(Debug)] pub enum DnsChangeError { NoNameServer, Invalid(portreeve_types::DnsConfigError), Full, Stopped }
#[derive(Debug)] pub struct CaptureOptions { pub snap_length: u32, pub filter: CaptureFilter, pub verdicts: bool, pub buffer: usize }
impl Default for CaptureOptions { fn default() -> Self { Self { snap_length: 65535, filter: CaptureFilter, verdicts: false, buffer: 4096 } } }
#[derive(Debug, Default)] pub struct CaptureFilter;
impl std::str::FromStr for CaptureFilter { type Err = String; fn from_str(_: &str) -> Result<Self, String> { Ok(Self) } }
#[derive(Debug, thiserror::Error)] #[error("x")] pub enum CaptureError { Stopped, TooMany }
#[derive(Debug)] pub struct Capture;
impl Capture { pub fn next_timeout(&mut self, _: Duration) -> Option<CapturedFrame> { None } pub fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<CapturedFrame>> { Poll::Pending } pub fn lost(&self) -> u64 { 0 } }
#[derive(Debug)] pub struct CapturedFrame { pub time: SystemTime, pub from_guest: bool, pub length: u32, pub data: Vec<u8>, pub verdict: Option<&'static str> }
pub trait Stub {
  fn events2(&self) -> Events2 { Events2 }
  fn events_since(&self, _seq: u64) -> Events2 { Events2 }
  fn keep_events(&self) {}
  fn started(&self) -> SystemTime { SystemTime::UNIX_EPOCH }
  fn wall_time(&self, _t: portreeve_types::Instant) -> SystemTime { SystemTime::UNIX_EPOCH }
  fn flows_page(&self, _after: Option<u32>, _limit: usize) -> Option<FlowPage> { None }
  fn flow(&self, _id: FlowId) -> Option<FlowSummary> { None }
  fn kill(&self, _id: FlowId) -> Result<(), KillError> { Err(KillError::Unknown) }
  fn port_status(&self) -> Option<Vec<api::PortStatus>> { None }
  fn stats(&self) -> Option<api::Stats> { None }
  fn limits(&self) -> Option<Limits> { None }
  fn set_limits(&self, _limits: Limits) -> Result<Vec<&'static str>, LimitsChangeError> { Ok(vec![]) }
  fn dns_status(&self) -> Option<api::DnsStatus> { None }
  fn dns_cache(&self, _limit: usize) -> Option<api::DnsCache> { None }
  fn dns_flush(&self) -> Option<u64> { None }
  fn dns_records(&self) -> Option<api::DnsRecords> { None }
  fn dns_set_record(&self, _record: StaticRecord) -> Result<(), DnsChangeError> { Ok(()) }
  fn dns_remove_record(&self, _name: &DnsName) -> Result<bool, DnsChangeError> { Ok(true) }
  fn capture(&self, _o: CaptureOptions) -> Result<Capture, CaptureError> { Ok(Capture) }
}
impl Stub for Handle {}

pub struct FlowId2(pub FlowId);
