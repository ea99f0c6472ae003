//! Lists of domain names as configuration protocols carry them: RFC 1035 §3.1 labels, uncompressed.
//!
//! RFC 8106 §5.2 and RFC 8415 §10 forbid compression; RFC 3397 §2 does not ask for it.

/// Writes `names` one behind the other. A name that no message can carry is left out.
pub fn encode<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > MAX_NAME || name.split('.').any(|label| !(1..=63).contains(&label.len())) {
            continue;
        }
        for label in name.split('.') {
            // At most 63.
            out.push(label.len() as u8);
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
    }
    out
}

/// Letters of the longest name: 255 bytes on the wire.
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        assert_eq!(encode(["a.bc", "d."]), b"\x01a\x02bc\x00\x01d\x00");
        let long = "x".repeat(64);
        for bad in ["", ".", "a..b", &long] {
            assert_eq!(encode([bad]), b"", "{bad}");
        }
    }
}
