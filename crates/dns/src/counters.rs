//! What the name server has counted since it began.
//!
//! Every query is counted once under what became of it, and nothing is dropped uncounted.

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsCounters {
    /// Messages of the guest, of whatever kind.
    pub queries: u64,
    /// Dropped without an answer: too short for a header, or themselves responses.
    pub dropped: u64,
    /// Answered with FORMERR, NOTIMP, REFUSED or BADVERS without being looked up.
    pub rejected: u64,
    /// Answered from the local zone.
    pub local: u64,
    /// Answered from the cache.
    pub cache_hits: u64,
    /// Answered with NXDOMAIN because the policy denies the name.
    pub denied: u64,
    /// Answered with no data because the host has no IPv6.
    pub ipv6_withheld: u64,
    /// Joined to a question already under way.
    pub joined: u64,
    /// Answered with SERVFAIL at once because too many wait.
    pub overflowed: u64,
    /// Of those, because of the limit `dns_pending`; the others because of a bound for each
    /// stream or each question.
    pub over_limit: u64,
    /// Answered with SERVFAIL because no upstream gave a usable answer.
    pub failed: u64,
    /// Answered with what an upstream said.
    pub answered: u64,
    /// Forgotten because their stream ended.
    pub forgotten: u64,
    /// Questions sent to upstreams.
    pub upstream_asks: u64,
    /// Questions to upstreams that nobody answered in time.
    pub upstream_timeouts: u64,
    /// Questions to upstreams that failed: unreachable, refused, closed.
    pub upstream_failures: u64,
    /// Questions asked again over TCP because an answer was truncated.
    pub upstream_truncated: u64,
    /// Responses to questions that are over.
    pub late_responses: u64,
    /// Responses with another id or another question: stray or forged.
    pub mismatched_responses: u64,
    /// Responses that repeat the question in another case.
    pub case_mismatches: u64,
    /// Responses that match but cannot be read, or whose aliases make a loop.
    pub malformed_responses: u64,
    /// Answers withheld because they point at addresses of the host or the link.
    pub rebind_blocked: u64,
    /// Events dropped because nobody read them.
    pub events_dropped: u64,
}
