//! The gateway's name server from outside.

use portreeve_types::api::{DnsCache, DnsRecords, DnsStatus};
use portreeve_types::{DnsName, StaticRecord};

use super::Handle;
use crate::driver::Driver;
use crate::error::DnsChangeError;

impl Handle {
    /// The name server as it is now; `None` where there is none or the engine has stopped.
    pub fn dns_status(&self) -> Option<DnsStatus> {
        self.ask(Driver::name_server_status).flatten()
    }

    /// Cached answers, the most recently used first, at most `limit` of them; `None` where there
    /// is no name server or the engine has stopped.
    pub fn dns_cache(&self, limit: usize) -> Option<DnsCache> {
        self.ask(move |driver| driver.name_server_cache(limit)).flatten()
    }

    /// Forgets every cached answer and says how many there were; `None` where there is no name
    /// server or the engine has stopped.
    pub fn dns_flush(&self) -> Option<u64> {
        self.ask(Driver::name_server_flush).flatten()
    }

    /// Names that the name server answers by itself; `None` where there is no name server or the
    /// engine has stopped.
    pub fn dns_records(&self) -> Option<DnsRecords> {
        self.ask(Driver::name_server_records).flatten()
    }

    /// Answers a name with these addresses, in place of those it had.
    ///
    /// # Errors
    /// When the record cannot be, or there is no room for it.
    pub fn dns_set_record(&self, record: StaticRecord) -> Result<(), DnsChangeError> {
        self.ask(move |driver| driver.set_name_server_record(&record))
            .unwrap_or(Err(DnsChangeError::Stopped))
    }

    /// Answers a name no more, and forwards it like any other; says whether it was answered.
    ///
    /// # Errors
    /// When there is no name server.
    pub fn dns_remove_record(&self, name: &DnsName) -> Result<bool, DnsChangeError> {
        let name = name.clone();
        self.ask(move |driver| driver.remove_name_server_record(&name))
            .unwrap_or(Err(DnsChangeError::Stopped))
    }
}
