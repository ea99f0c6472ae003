//! What types and response codes are called, for people.
//!
//! Owns the names of those that are seen in practice; every other number has the generic name that
//! standards give it. Spec: the IANA registry "Domain Name System (DNS) Parameters", RFC 3597 §5.

use std::borrow::Cow;

/// The name of a record type, as in `A`; that of a type that is not listed here is its number.
///
/// ```
/// assert_eq!(portreeve_dns::record_type_name(28), "AAAA");
/// assert_eq!(portreeve_dns::record_type_name(62_347), "TYPE62347");
/// ```
pub fn record_type_name(record_type: u16) -> Cow<'static, str> {
    named(RECORD_TYPES, record_type).map_or_else(|| format!("TYPE{record_type}").into(), Cow::from)
}

/// The name of a response code, as in `NXDOMAIN`; that of one that is not listed is its number.
///
/// ```
/// assert_eq!(portreeve_dns::rcode_name(3), "NXDOMAIN");
/// assert_eq!(portreeve_dns::rcode_name(3_841), "RCODE3841");
/// ```
pub fn rcode_name(rcode: u16) -> Cow<'static, str> {
    named(RCODES, rcode).map_or_else(|| format!("RCODE{rcode}").into(), Cow::from)
}

fn named(names: &[(u16, &'static str)], number: u16) -> Option<&'static str> {
    let at = names.binary_search_by_key(&number, |&(number, _)| number).ok()?;
    Some(names[at].1)
}

/// In rising order.
const RECORD_TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (24, "SIG"),
    (25, "KEY"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (37, "CERT"),
    (39, "DNAME"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (108, "EUI48"),
    (109, "EUI64"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
];

/// In rising order.
const RCODES: &[(u16, &str)] = &[
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (16, "BADVERS"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{rcode, rtype};

    #[test]
    fn the_tables_can_be_searched_and_know_what_the_server_knows() {
        for table in [RECORD_TYPES, RCODES] {
            assert!(table.is_sorted_by(|(a, _), (b, _)| a < b));
        }
        for (number, name) in [
            (rtype::A, "A"),
            (rtype::NS, "NS"),
            (rtype::CNAME, "CNAME"),
            (rtype::SOA, "SOA"),
            (rtype::PTR, "PTR"),
            (rtype::HINFO, "HINFO"),
            (rtype::MX, "MX"),
            (rtype::AAAA, "AAAA"),
            (rtype::DNAME, "DNAME"),
            (rtype::SVCB, "SVCB"),
            (rtype::HTTPS, "HTTPS"),
            (rtype::ANY, "ANY"),
            (0, "TYPE0"),
            (u16::MAX, "TYPE65535"),
        ] {
            assert_eq!(record_type_name(number), name);
        }
        for (number, name) in [
            (rcode::NOERROR, "NOERROR"),
            (rcode::FORMERR, "FORMERR"),
            (rcode::SERVFAIL, "SERVFAIL"),
            (rcode::NXDOMAIN, "NXDOMAIN"),
            (rcode::NOTIMP, "NOTIMP"),
            (rcode::REFUSED, "REFUSED"),
            (rcode::BADVERS, "BADVERS"),
            (11, "RCODE11"),
        ] {
            assert_eq!(rcode_name(number), name);
        }
    }
}
