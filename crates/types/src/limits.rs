//! Every limit of the engine, with its default and the range it may take.
//!
//! Never enforces one: the crate that owns a table or a queue reads its limit from here.
//! Spec: the defaults follow RFC 4787 §4.3 (UDP idle time), RFC 5508 §3.2
//! (echo idle time) and RFC 8200 §4.5 (fragments).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most requests one publish specification may expand to.
pub const MAX_REQUESTS_PER_SPEC: usize = 4096;

/// The most bytes the text of one publish specification may have.
pub const MAX_SPEC_LEN: usize = 512;

/// Every limit of the engine. A field left out keeps its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Flows alive at once, TCP and UDP together.
    pub max_flows: usize,
    /// Flows alive at once through one published port.
    pub max_flows_per_port: usize,
    /// Ports published at once.
    pub max_published: usize,
    /// Seconds until a UDP flow without a datagram in either direction ends.
    pub udp_idle_secs: u64,
    /// The same, in seconds, for a UDP flow that has seen only one request and one answer.
    pub udp_idle_one_shot_secs: u64,
    /// Seconds until a UDP mapping that has only asked name servers (port 53) ends.
    pub udp_idle_dns_secs: u64,
    /// Seconds until an echo mapping without a message in either direction ends.
    pub echo_idle_secs: u64,
    /// UDP and echo mappings of the guest at once, each with a host socket; beyond it the one that
    /// has been idle longest ends.
    pub max_mappings: usize,
    /// Milliseconds a published connection may take until the guest has answered.
    pub connect_timeout_ms: u64,
    /// Milliseconds a connection of the guest may take until its destination has answered.
    pub dial_timeout_ms: u64,
    /// Connections of the guest whose destinations have yet to answer; beyond it the oldest is
    /// refused.
    pub max_dials: usize,
    /// The same to one destination address.
    pub max_dials_per_destination: usize,
    /// Queries of the guest that wait for a name server at once; beyond it they are answered with
    /// SERVFAIL.
    pub dns_pending: usize,
    /// Milliseconds until a query that no name server has answered is answered with SERVFAIL.
    pub dns_timeout_ms: u64,
    /// Bytes of answers kept in the name server's cache.
    pub dns_cache_bytes: usize,
    /// Names remembered for the addresses they resolved to.
    pub dns_names: usize,
    /// Milliseconds undelivered bytes may make no progress once the side that sent them is gone.
    pub close_grace_ms: u64,
    /// Seconds a half-closed TCP flow may be idle; 0: for ever.
    pub half_close_idle_secs: u64,
    /// Seconds an open TCP flow may be idle; 0: for ever.
    pub tcp_idle_secs: u64,
    /// Bytes of the largest ring towards the guest that one TCP flow may grow to; a power of two.
    pub to_guest_ring: u32,
    /// Bytes of the largest ring from the guest that one TCP flow may grow to; a power of two.
    pub from_guest_ring: u32,
    /// Bytes of datagrams that may wait for one side.
    pub datagram_queue_bytes: usize,
    /// Events kept for a reader that is behind; older ones are dropped and counted.
    pub event_backlog: usize,
    /// Packets being put together from fragments at once.
    pub fragment_queues: usize,
    /// Bytes of fragments held at once.
    pub fragment_bytes: usize,
    /// Seconds until an incomplete packet is given up.
    pub fragment_timeout_secs: u64,
    /// Frames the gateway itself may have waiting for the guest (ARP, ICMP, RST …).
    pub control_frames: usize,
    /// Commands that may wait for the engine.
    pub mailbox: usize,
    /// Connections one listener may accept in a row before the others have their turn.
    pub accept_batch: usize,
}

/// A limit outside the range it may take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit {field} = {value}: {requirement}")]
pub struct LimitsError {
    /// The field of [`Limits`].
    pub field: &'static str,
    /// What it was set to.
    pub value: u64,
    /// What it must be.
    pub requirement: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_flows: 32_768,
            max_flows_per_port: 16_384,
            max_published: 4_096,
            udp_idle_secs: 180,
            udp_idle_one_shot_secs: 30,
            udp_idle_dns_secs: 10,
            echo_idle_secs: 60,
            max_mappings: 1_024,
            connect_timeout_ms: 10_000,
            dial_timeout_ms: 60_000,
            max_dials: 512,
            max_dials_per_destination: 128,
            dns_pending: 1_024,
            dns_timeout_ms: 6_000,
            dns_cache_bytes: 4 * MIB,
            dns_names: 8_192,
            close_grace_ms: 2_000,
            half_close_idle_secs: 0,
            tcp_idle_secs: 0,
            to_guest_ring: 1 << 20,
            from_guest_ring: 1 << 18,
            datagram_queue_bytes: 4 * MIB,
            event_backlog: 4_096,
            fragment_queues: 64,
            fragment_bytes: MIB,
            fragment_timeout_secs: 15,
            control_frames: 1_024,
            mailbox: 256,
            accept_batch: 64,
        }
    }
}

impl Limits {
    /// Checks every field against the range it may take.
    ///
    /// # Errors
    /// The first field, in declaration order, that is out of its range.
    pub fn validate(&self) -> Result<(), LimitsError> {
        within("max_flows", self.max_flows as u64, 1, MILLION)?;
        within("max_flows_per_port", self.max_flows_per_port as u64, 1, MILLION)?;
        within("max_published", self.max_published as u64, 1, 131_070)?;
        within("udp_idle_secs", self.udp_idle_secs, 1, DAY_SECS)?;
        within("udp_idle_one_shot_secs", self.udp_idle_one_shot_secs, 1, DAY_SECS)?;
        within("udp_idle_dns_secs", self.udp_idle_dns_secs, 1, DAY_SECS)?;
        within("echo_idle_secs", self.echo_idle_secs, 1, DAY_SECS)?;
        within("max_mappings", self.max_mappings as u64, 1, 65_536)?;
        within("connect_timeout_ms", self.connect_timeout_ms, 1, 10 * MINUTE_MS)?;
        within("dial_timeout_ms", self.dial_timeout_ms, 1, 10 * MINUTE_MS)?;
        within("max_dials", self.max_dials as u64, 1, MILLION)?;
        within("max_dials_per_destination", self.max_dials_per_destination as u64, 1, MILLION)?;
        within("dns_pending", self.dns_pending as u64, 1, 65_536)?;
        within("dns_timeout_ms", self.dns_timeout_ms, 1, MINUTE_MS)?;
        within("dns_cache_bytes", self.dns_cache_bytes as u64, 4_096, GIB)?;
        within("dns_names", self.dns_names as u64, 1, MILLION)?;
        within("close_grace_ms", self.close_grace_ms, 1, 10 * MINUTE_MS)?;
        within("half_close_idle_secs", self.half_close_idle_secs, 0, 365 * DAY_SECS)?;
        within("tcp_idle_secs", self.tcp_idle_secs, 0, 365 * DAY_SECS)?;
        ring("to_guest_ring", self.to_guest_ring)?;
        ring("from_guest_ring", self.from_guest_ring)?;
        // The largest datagram must fit, or it could never be delivered.
        within("datagram_queue_bytes", self.datagram_queue_bytes as u64, 65_536, GIB)?;
        within("event_backlog", self.event_backlog as u64, 1, MILLION)?;
        within("fragment_queues", self.fragment_queues as u64, 1, 65_536)?;
        within("fragment_bytes", self.fragment_bytes as u64, 65_536, GIB)?;
        // RFC 8200 §4.5: a packet not complete within 60 seconds is abandoned.
        within("fragment_timeout_secs", self.fragment_timeout_secs, 1, 60)?;
        within("control_frames", self.control_frames as u64, 16, 65_536)?;
        within("mailbox", self.mailbox as u64, 1, 65_536)?;
        within("accept_batch", self.accept_batch as u64, 1, 4_096)
    }
}

fn within(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), LimitsError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(LimitsError { field, value, requirement: format!("must be {least} to {most}") })
}

fn ring(field: &'static str, bytes: u32) -> Result<(), LimitsError> {
    within(field, u64::from(bytes), 4_096, 16 * MIB as u64)?;
    if bytes.is_power_of_two() {
        return Ok(());
    }
    let requirement = format!(
        "must be a power of two; {} and {} are the nearest",
        1_u32 << bytes.ilog2(),
        bytes.next_power_of_two()
    );
    Err(LimitsError { field, value: u64::from(bytes), requirement })
}

const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;
const MILLION: u64 = 1_000_000;
const DAY_SECS: u64 = 86_400;
const MINUTE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Limits::default().validate(), Ok(()));
    }

    #[test]
    fn rings_are_powers_of_two_in_range() {
        for bytes in [4_096, 1 << 16, 1 << 24] {
            assert_eq!(Limits { to_guest_ring: bytes, ..Limits::default() }.validate(), Ok(()));
        }
        for bytes in [0, 1, 2_048, 4_097, 5_000, (1 << 24) + 1, 1 << 25, u32::MAX] {
            for limits in [
                Limits { to_guest_ring: bytes, ..Limits::default() },
                Limits { from_guest_ring: bytes, ..Limits::default() },
            ] {
                let error = limits.validate().unwrap_err();
                assert!(error.field.ends_with("_guest_ring"), "{error}");
                assert_eq!(error.value, u64::from(bytes));
            }
        }
        let error = Limits { to_guest_ring: 5_000, ..Limits::default() }.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "limit to_guest_ring = 5000: must be a power of two; 4096 and 8192 are the nearest"
        );
    }

    /// Sets one field through JSON, so that every field is reached by its configuration name.
    fn with(field: &str, value: u64) -> Limits {
        let mut json = serde_json::to_value(Limits::default()).unwrap();
        json[field] = value.into();
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_field_is_checked() {
        let json = serde_json::to_value(Limits::default()).unwrap();
        let fields: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields.len(), 29);
        for field in fields {
            let most = if field.ends_with("_ring") { u64::from(u32::MAX) } else { u64::MAX };
            let error = with(&field, most).validate().unwrap_err();
            assert_eq!(error.field, field);
            let zero = with(&field, 0).validate();
            if ["half_close_idle_secs", "tcp_idle_secs"].contains(&field.as_str()) {
                assert_eq!(zero, Ok(()), "{field}: zero means never");
            } else {
                assert!(zero.is_err(), "{field} = 0 must be refused");
            }
        }
    }

    #[test]
    fn missing_fields_default_and_unknown_ones_fail() {
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), Limits::default());
        assert_eq!(serde_json::from_str::<Limits>(r#"{"mailbox":9}"#).unwrap(), with("mailbox", 9));
        let error = serde_json::from_str::<Limits>(r#"{"max_flow":1}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `max_flow`"), "{error}");
    }

    #[test]
    fn schema_describes_every_field() {
        let schema = serde_json::to_value(schemars::schema_for!(Limits)).unwrap();
        for (field, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{field}");
            assert!(property["default"].is_number(), "{field}");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
