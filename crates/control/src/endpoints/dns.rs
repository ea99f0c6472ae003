//! The gateway's name server: how it does, its cache, its own names.

use axum::extract::State;
use hyper::StatusCode;
use portreeve::{DnsName, StaticRecord};
use portreeve_types::api::{DnsCache, DnsRecordBody, DnsRecords, DnsStatus, ProblemType};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, ok};
use crate::endpoint::{Endpoint, delete, get, put};
use crate::extract::{JsonBody, Nothing, Params, Segment};
use crate::fault::Fault;
use crate::state::Api;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let unavailable = &[ProblemType::Unavailable];
    let name = "The name, as in `db.test`.";
    vec![
        get("/v1/dns", status)
            .named("dns_status", "How the name server does")
            .answers::<DnsStatus>(200, "Its upstreams, its cache and what it has counted.")
            .may(unavailable),
        get("/v1/dns/cache", cache)
            .named("dns_cache", "Answers in the cache")
            .query::<CacheParams>()
            .answers::<DnsCache>(200, "The most recently used first.")
            .may(&[ProblemType::Unavailable, ProblemType::OutOfRange]),
        delete("/v1/dns/cache", flush)
            .named("dns_flush", "Forget the answers in the cache")
            .may(unavailable),
        get("/v1/dns/records", records)
            .named("dns_records", "Names answered without asking anybody")
            .answers::<DnsRecords>(200, "Those configured, and those added since.")
            .may(unavailable),
        put("/v1/dns/records/{name}", set_record)
            .named("dns_set_record", "Answer a name with these addresses from now on")
            .about("Takes the place of the addresses that the name had.")
            .at::<DnsName>("name", name)
            .takes::<DnsRecordBody>()
            .may(&[ProblemType::Unavailable, ProblemType::OutOfRange, ProblemType::LimitReached]),
        delete("/v1/dns/records/{name}", remove_record)
            .named("dns_remove_record", "Answer a name no longer")
            .at::<DnsName>("name", name)
            .may(&[ProblemType::Unavailable, ProblemType::UnknownRecord]),
    ]
}

/// How much of the cache.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheParams {
    /// How many at most; 100 if missing.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<u64>,
}

async fn status(State(api): State<Api>, _: Nothing) -> Answer<DnsStatus> {
    ok(named(api.ask(|engine| engine.dns_status()).await?)?)
}

async fn cache(State(api): State<Api>, Params(params): Params<CacheParams>) -> Answer<DnsCache> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Fault::out_of_range(format!("limit={limit}: must be 1 to {MAX_LIMIT}")));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    ok(named(api.ask(move |engine| engine.dns_cache(limit)).await?)?)
}

async fn flush(State(api): State<Api>, _: Nothing) -> Result<StatusCode, Fault> {
    named(api.ask(|engine| engine.dns_flush()).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn records(State(api): State<Api>, _: Nothing) -> Answer<DnsRecords> {
    ok(named(api.ask(|engine| engine.dns_records()).await?)?)
}

async fn set_record(
    State(api): State<Api>,
    Segment(name): Segment<DnsName>,
    _: Nothing,
    JsonBody(body): JsonBody<DnsRecordBody>,
) -> Result<StatusCode, Fault> {
    let DnsRecordBody { addresses, ttl } = body;
    if !(1..=MAX_ADDRESSES).contains(&addresses.len()) {
        let count = addresses.len();
        return Err(Fault::out_of_range(format!(
            "{count} addresses: a name has 1 to {MAX_ADDRESSES}"
        )));
    }
    let ttl = ttl.unwrap_or(DEFAULT_TTL);
    if ttl > MAX_TTL {
        return Err(Fault::out_of_range(format!("ttl = {ttl}: must be at most {MAX_TTL}")));
    }
    let record = StaticRecord { name, addresses, ttl };
    api.ask(move |engine| engine.dns_set_record(record)).await??;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_record(
    State(api): State<Api>,
    Segment(name): Segment<DnsName>,
    _: Nothing,
) -> Result<StatusCode, Fault> {
    let unknown = Fault::new(ProblemType::UnknownRecord, format!("no record of {name}"));
    if api.ask(move |engine| engine.dns_remove_record(&name)).await?? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(unknown)
}

/// What only an engine with a name server has.
fn named<T>(answer: Option<T>) -> Result<T, Fault> {
    answer.ok_or_else(Fault::no_name_server)
}

const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 10_000;
const MAX_ADDRESSES: usize = 32;
const DEFAULT_TTL: u32 = 60;
const MAX_TTL: u32 = 86_400;
