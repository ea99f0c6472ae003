//! Stands for what the library is about to have.
use portreeve_types::api;
use portreeve::*;
#[derive(Debug)] pub(crate) enum LimitsChangeError { Invalid(portreeve_types::LimitsError), NeedsRestart(Vec<&'static str>), Stopped }
#[derive(Debug)] pub(crate) enum DnsChangeError { NoNameServer, Invalid(portreeve_types::DnsConfigError), Full, Stopped }
pub(crate) trait Stub {
  fn set_limits(&self, _limits: Limits) -> Result<Vec<&'static str>, LimitsChangeError> { Ok(vec![]) }
  fn dns_status(&self) -> Option<api::DnsStatus> { None }
  fn dns_cache(&self, _limit: usize) -> Option<api::DnsCache> { None }
  fn dns_flush(&self) -> Option<u64> { None }
  fn dns_records(&self) -> Option<api::DnsRecords> { None }
  fn dns_set_record(&self, _record: StaticRecord) -> Result<(), DnsChangeError> { Ok(()) }
  fn dns_remove_record(&self, _name: &DnsName) -> Result<bool, DnsChangeError> { Ok(true) }
}
impl Stub for Handle {}
