//! What the gateway tells a guest that asks (DHCP, DHCPv6, router advertisements), beyond addresses.
//!
//! Never answers anything itself: the core does. The addresses are [`Addressing`]'s.
//! Spec: RFC 2132, RFC 3397, RFC 8106 (what can be announced); RFC 1123 §2.1 (host names).
//!
//! [`Addressing`]: crate::Addressing

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the gateway tells a guest beyond its addresses. A field left out keeps its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    /// Domains that the guest's resolver appends to short names, first to last. The first is the
    /// guest's own domain as well.
    pub search: Vec<String>,
    /// The guest's host name, where it does not know one itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Whether the gateway is announced as the guest's name server.
    pub dns: bool,
    /// Seconds an address is given for; the guest renews it after half of them.
    pub lease_secs: u32,
}

/// Something that cannot be announced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// Not a name that a resolver takes.
    #[error("{role} `{}`: {reason}", .name.escape_debug())]
    Name {
        /// `search domain` or `host name`.
        role: &'static str,
        /// What was set.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// More search domains than one option carries.
    #[error("search domains of {length} bytes together: at most {MAX_SEARCH_LEN}")]
    SearchTooLong {
        /// Their length as they are announced.
        length: usize,
    },
    /// The lease time is out of range.
    #[error("lease_secs = {0}: must be {MIN_LEASE_SECS} to {MAX_LEASE_SECS}")]
    Lease(u32),
}

impl Default for Announce {
    /// The gateway as name server, no names, and an hour: a change of what is announced reaches
    /// the guest within half of it.
    fn default() -> Self {
        Self { search: Vec::new(), hostname: None, dns: true, lease_secs: 3_600 }
    }
}

impl Announce {
    /// Checks that all of it can be announced.
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn validate(&self) -> Result<(), AnnounceError> {
        let mut length = 0;
        for name in &self.search {
            check_name("search domain", name)?;
            length += name.trim_end_matches('.').len() + 2;
        }
        if length > MAX_SEARCH_LEN {
            return Err(AnnounceError::SearchTooLong { length });
        }
        if let Some(name) = &self.hostname {
            check_name("host name", name)?;
            if name.ends_with('.') {
                return Err(bad_name("host name", name, "leave out the dot at the end"));
            }
        }
        if !(MIN_LEASE_SECS..=MAX_LEASE_SECS).contains(&self.lease_secs) {
            return Err(AnnounceError::Lease(self.lease_secs));
        }
        Ok(())
    }
}

fn check_name(role: &'static str, name: &str) -> Result<(), AnnounceError> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let fits = |label: &str| (1..=63).contains(&label.len());
    // Underscores are no part of a host name, but of domains that people do search.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let reason = if bare.is_empty() {
        "the name is empty"
    } else if bare.len() > 253 {
        "a name has at most 253 characters"
    } else if !bare.split('.').all(fits) {
        "each part between dots has 1 to 63 characters"
    } else if !bare.split('.').all(|label| label.bytes().all(allowed)) {
        "only letters, digits, `-` and `_` (write other scripts as xn--…)"
    } else if bare.split('.').any(|label| label.starts_with('-') || label.ends_with('-')) {
        "a part may not start or end with `-`"
    } else {
        return Ok(());
    };
    Err(bad_name(role, name, reason))
}

fn bad_name(role: &'static str, name: &str, reason: &'static str) -> AnnounceError {
    AnnounceError::Name { role, name: name.to_owned(), reason }
}

/// Bytes of one DHCP option, which is also what a C library's resolver takes.
const MAX_SEARCH_LEN: usize = 255;
/// Less would have the guest renew every few seconds.
const MIN_LEASE_SECS: u32 = 60;
/// A year; RFC 2131 §3.3 keeps the largest number for "for ever".
const MAX_LEASE_SECS: u32 = 31_536_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn search(names: &[&str]) -> Announce {
        let search = names.iter().map(|&name| name.to_owned()).collect();
        Announce { search, ..Announce::default() }
    }

    #[test]
    fn what_can_be_announced() {
        assert_eq!(Announce::default().validate(), Ok(()));
        assert_eq!(search(&["example.org", "_x.corp.", "a"]).validate(), Ok(()));
        let hostname = Some("vm-1.example.org".to_owned());
        assert_eq!(Announce { hostname, ..Announce::default() }.validate(), Ok(()));
        for lease_secs in [60, 31_536_000] {
            assert_eq!(Announce { lease_secs, ..Announce::default() }.validate(), Ok(()));
        }
    }

    #[test]
    fn what_cannot() {
        let long = "x".repeat(64);
        for (name, reason) in [
            ("", "the name is empty"),
            (".", "the name is empty"),
            ("a..b", "each part between dots has 1 to 63 characters"),
            (&long, "each part between dots has 1 to 63 characters"),
            ("a b", "only letters, digits, `-` and `_` (write other scripts as xn--…)"),
            ("-a", "a part may not start or end with `-`"),
        ] {
            let error = search(&[name]).validate().unwrap_err().to_string();
            assert_eq!(error, format!("search domain `{name}`: {reason}"));
        }
        let many = ["0123456789.0123456789.example"; 9];
        let error = search(&many).validate().unwrap_err().to_string();
        assert_eq!(error, "search domains of 279 bytes together: at most 255");
        let hostname = Some("vm.".to_owned());
        let error = Announce { hostname, ..Announce::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "host name `vm.`: leave out the dot at the end");
        for lease_secs in [0, 59, 31_536_001] {
            let error = Announce { lease_secs, ..Announce::default() }.validate().unwrap_err();
            let expected = format!("lease_secs = {lease_secs}: must be 60 to 31536000");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn configuration_keeps_defaults_and_refuses_the_unknown() {
        let read: Announce = toml::from_str("search = [\"corp\"]").unwrap();
        assert_eq!(read, search(&["corp"]));
        assert_eq!(toml::from_str::<Announce>(&toml::to_string(&read).unwrap()).unwrap(), read);
        let error = toml::from_str::<Announce>("domains = []").unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
        let schema = serde_json::to_value(schemars::schema_for!(Announce)).unwrap();
        assert_eq!(schema["properties"]["dns"]["type"], "boolean");
    }
}
