//! The client: one method for each endpoint of the API.
//!
//! Owns which method, path and body belongs to which type. How a request is carried out is
//! `exchange`'s.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use portreeve_types::api::{
    DnsCache, DnsRecordBody, DnsRecords, DnsStatus, FlowInfo, FlowList, Health, LimitsChange,
    PortList, PortStatus, PublishedPorts, ReloadReport, SpecBody, Stats, Version,
};
use portreeve_types::{DnsName, Limits, PublishId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::error::Error;
use crate::exchange::{Exchange, MAX_ANSWER, Request};
use crate::instance::{self, InstanceName};
use crate::options::{CaptureOptions, Connections, EventFilter, FlowFilter};
use crate::stream::{Capture, Events};
use crate::target::Target;

/// Which engine to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The one of this name.
    Name(InstanceName),
    /// The one that serves this socket.
    Socket(PathBuf),
    /// The only one that runs.
    Only,
}

/// A client of one engine's API. Blocks; a clone is cheap and may be used from another thread at
/// the same time.
///
/// Every request fails with [`Error::TimedOut`] once it has taken as long as
/// [`with_timeout`](Self::with_timeout) allows. Not to be called from within an async runtime,
/// whose thread it would block: there it panics.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    name: Option<InstanceName>,
    timeout: Duration,
    runtime: Arc<Runtime>,
}

/// Patience with an engine, which usually answers within a millisecond.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

impl Client {
    /// A client of the engine that is addressed. Nothing is asked yet, except, for
    /// [`Address::Only`], which engines run.
    ///
    /// # Errors
    /// [`Error::NotOne`] unless exactly one runs, for [`Address::Only`]; a runtime directory that
    /// cannot be trusted or read.
    pub fn new(address: &Address) -> Result<Self, Error> {
        match address {
            Address::Name(name) => Self::named(name),
            Address::Socket(path) => Self::at(path),
            Address::Only => {
                let mut known = running()?;
                match (known.pop(), known.is_empty()) {
                    (Some(only), true) => Self::named(&only),
                    (last, _) => {
                        known.extend(last);
                        Err(Error::NotOne { known })
                    }
                }
            }
        }
    }

    /// A client of the engine of this name. Whether it runs shows with the first request, as
    /// [`Error::NoSuchEngine`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn named(name: &InstanceName) -> Result<Self, Error> {
        instance::check_runtime_dir()
            .map_err(|source| Error::RuntimeDir { path: instance::runtime_dir(), source })?;
        Ok(Self { name: Some(name.clone()), ..Self::at(instance::socket_path(name))? })
    }

    /// A client of the engine that serves this socket.
    ///
    /// # Errors
    /// [`Error::Local`] only.
    pub fn at(socket: impl AsRef<Path>) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        Ok(Self {
            socket: socket.as_ref().to_owned(),
            name: None,
            timeout: DEFAULT_TIMEOUT,
            runtime: Arc::new(runtime.map_err(Error::Local)?),
        })
    }

    /// The same, with other patience: for a whole request, and for the beginning of a stream.
    /// 10 seconds if it is not set.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The engine's name, where it was addressed by it.
    pub const fn name(&self) -> Option<&InstanceName> {
        self.name.as_ref()
    }

    /// The engine's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether the engine is well.
    ///
    /// # Errors
    /// As every request: see [`Error`].
    pub fn health(&self) -> Result<Health, Error> {
        self.get(Target::new("/health"))
    }

    /// Which program answers, and which API it speaks.
    ///
    /// # Errors
    /// As every request: see [`Error`].
    pub fn version(&self) -> Result<Version, Error> {
        self.get(Target::new("/version"))
    }

    /// The API's own description, an OpenAPI document.
    ///
    /// # Errors
    /// As every request: see [`Error`].
    pub fn openapi(&self) -> Result<Value, Error> {
        self.get(Target::new("/openapi.json"))
    }

    /// All that is counted, as text for Prometheus.
    ///
    /// # Errors
    /// As every request: see [`Error`].
    pub fn metrics(&self) -> Result<String, Error> {
        let target = Target::unversioned("/metrics");
        let (exchange, text) = self.request(Method::GET, target, None)?;
        String::from_utf8(text).map_err(|error| exchange.protocol(error.to_string()))
    }

    /// Every published port, and what it has done.
    ///
    /// # Errors
    /// As every request: see [`Error`].
    pub fn ports(&self) -> Result<PortList, Error> {
        self.get(Target::new("/ports"))
    }

    /// One published port.
    ///
    /// # Errors
    /// As every request; `unknown-port`.
    pub fn port(&self, id: PublishId) -> Result<PortStatus, Error> {
        self.get(Target::new("/ports").segment(id))
    }

    /// Publishes what a specification says, as on the command line: all of it or nothing.
    ///
    /// # Errors
    /// As every request; `invalid-specification`, `bind-failed`, `limit-reached`.
    pub fn publish(&self, spec: impl Into<String>) -> Result<PublishedPorts, Error> {
        let body = SpecBody { spec: spec.into() };
        self.read(Method::POST, Target::new("/ports"), Some(&body))
    }

    /// Closes a published port; its connections go on or are reset.
    ///
    /// # Errors
    /// As every request; `unknown-port`.
    pub fn unpublish(&self, id: PublishId, connections: Connections) -> Result<(), Error> {
        let target = Target::new("/ports").segment(id).query("connections", connections.as_str());
        self.tell(Method::DELETE, target, None::<&()>)
    }

    /// A page of flows.
    ///
    /// # Errors
    /// As every request; `invalid-request` for a filter that the engine does not know.
    pub fn flows(&self, filter: &FlowFilter) -> Result<FlowList, Error> {
        self.get(filter.target())
    }

    /// One flow.
    ///
    /// # Errors
    /// As every request; `unknown-flow`.
    pub fn flow(&self, id: &str) -> Result<FlowInfo, Error> {
        self.get(Target::new("/flows").segment(id))
    }

    /// Resets a flow on both sides.
    ///
    /// # Errors
    /// As every request; `unknown-flow`.
    pub fn kill_flow(&self, id: &str) -> Result<(), Error> {
        self.tell(Method::DELETE, Target::new("/flows").segment(id), None::<&()>)
    }

    /// The name server as it is.
    ///
    /// # Errors
    /// As every request; `unavailable` where the engine has none.
    pub fn dns(&self) -> Result<DnsStatus, Error> {
        self.get(Target::new("/dns"))
    }

    /// Answers in its cache, the most recently used first; `limit` at most, else as many as the
    /// engine gives.
    ///
    /// # Errors
    /// As every request; `unavailable` where the engine has no name server.
    pub fn dns_cache(&self, limit: Option<u64>) -> Result<DnsCache, Error> {
        self.get(Target::new("/dns/cache").maybe("limit", limit))
    }

    /// Forgets every answer.
    ///
    /// # Errors
    /// As every request; `unavailable` where the engine has no name server.
    pub fn flush_dns(&self) -> Result<(), Error> {
        self.tell(Method::DELETE, Target::new("/dns/cache"), None::<&()>)
    }

    /// Names that it answers by itself.
    ///
    /// # Errors
    /// As every request; `unavailable` where the engine has no name server.
    pub fn dns_records(&self) -> Result<DnsRecords, Error> {
        self.get(Target::new("/dns/records"))
    }

    /// Sets the addresses of a name, in place of those it had.
    ///
    /// # Errors
    /// As every request; `out-of-range`, `limit-reached`, `unavailable`.
    pub fn set_dns_record(&self, name: &DnsName, record: &DnsRecordBody) -> Result<(), Error> {
        self.tell(Method::PUT, Target::new("/dns/records").segment(name), Some(record))
    }

    /// Removes a name that was configured or set.
    ///
    /// # Errors
    /// As every request; `unknown-record`, `unavailable`.
    pub fn remove_dns_record(&self, name: &DnsName) -> Result<(), Error> {
        self.tell(Method::DELETE, Target::new("/dns/records").segment(name), None::<&()>)
    }

    /// Every limit.
    ///
    /// # Errors
    /// As every request: see [`Error`].
    pub fn limits(&self) -> Result<Limits, Error> {
        self.get(Target::new("/limits"))
    }

    /// Changes limits: all of those given or none.
    ///
    /// # Errors
    /// As every request; `out-of-range`; `needs-restart`, which names those that cannot change.
    pub fn change_limits(&self, change: &LimitsChange) -> Result<Limits, Error> {
        self.read(Method::PATCH, Target::new("/limits"), Some(change))
    }

    /// All that is counted.
    ///
    /// # Errors
    /// As every request: see [`Error`].
    pub fn stats(&self) -> Result<Stats, Error> {
        self.get(Target::new("/stats"))
    }

    /// The configuration that the engine was given, every default filled in.
    ///
    /// # Errors
    /// As every request: see [`Error`].
    pub fn config(&self) -> Result<Value, Error> {
        self.get(Target::new("/config"))
    }

    /// Has the configuration file read again.
    ///
    /// # Errors
    /// As every request; `unavailable` where there is no file.
    pub fn reload(&self) -> Result<ReloadReport, Error> {
        self.read(Method::POST, Target::new("/reload"), None::<&()>)
    }

    /// Events, as they happen.
    ///
    /// # Errors
    /// As every request; `too-many` readers at once.
    pub fn events(&self, filter: EventFilter) -> Result<Events, Error> {
        Events::begin(self.clone(), filter)
    }

    /// Frames on the guest's link, as they pass: a pcapng file.
    ///
    /// # Errors
    /// As every request; `invalid-request` for a filter that cannot be read, `too-many` captures at
    /// once.
    pub fn capture(&self, options: &CaptureOptions) -> Result<Capture, Error> {
        let exchange = self.begin_stream(options.target())?;
        exchange.expect("application/x-pcapng")?;
        Ok(Capture::new(self.clone(), exchange))
    }

    pub(crate) fn begin_stream(&self, target: Target) -> Result<Exchange, Error> {
        let target = target.into_string();
        self.block_on(self.begin(Request { method: Method::GET, target, body: None }))
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn get<T: DeserializeOwned>(&self, target: Target) -> Result<T, Error> {
        self.read(Method::GET, target, None::<&()>)
    }

    /// Asks for something that is answered with JSON.
    fn read<T: DeserializeOwned>(
        &self,
        method: Method,
        target: Target,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let (exchange, text) = self.request(method, target, encode(body)?)?;
        exchange.expect("application/json")?;
        serde_json::from_slice(&text).map_err(|error| exchange.protocol(error.to_string()))
    }

    /// Asks for something that is answered with nothing.
    fn tell(
        &self,
        method: Method,
        target: Target,
        body: Option<&impl Serialize>,
    ) -> Result<(), Error> {
        self.request(method, target, encode(body)?).map(|_| ())
    }

    fn request(
        &self,
        method: Method,
        target: Target,
        body: Option<Bytes>,
    ) -> Result<(Exchange, Vec<u8>), Error> {
        let request = Request { method, target: target.into_string(), body };
        let shown = request.shown();
        self.block_on(async {
            let whole = async {
                let mut exchange = self.begin(request).await?;
                let text = exchange.whole(MAX_ANSWER).await?;
                Ok((exchange, text))
            };
            tokio::time::timeout(self.timeout, whole)
                .await
                .unwrap_or(Err(Error::TimedOut { request: shown, after: self.timeout }))
        })
    }

    async fn begin(&self, request: Request) -> Result<Exchange, Error> {
        let begun = Exchange::begin(&self.socket, request, self.timeout).await;
        begun.map_err(|error| match &self.name {
            // Somebody who wrote a name wants to hear of names, not of a socket.
            Some(name) if error.is_gone() && error.problem().is_none() => match running() {
                Ok(known) => Error::NoSuchEngine { name: name.clone(), known },
                Err(error) => error,
            },
            _ => error,
        })
    }
}

fn running() -> Result<Vec<InstanceName>, Error> {
    instance::list().map_err(|source| Error::RuntimeDir { path: instance::runtime_dir(), source })
}

fn encode(body: Option<&impl Serialize>) -> Result<Option<Bytes>, Error> {
    // The API's types always have a JSON form.
    let encode = |body| serde_json::to_vec(body).map(Bytes::from);
    body.map(encode).transpose().map_err(|error| Error::Local(error.into()))
}
