//! Numbers for people: bytes, rates, counts, times.
//!
//! Powers of 1,000, as for all that moves on wires: 1 kB is 1,000 bytes.

use std::time::Duration;

/// Bytes, with three digits and a unit: `0 B`, `999 B`, `1.23 kB`, `12.3 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    scaled(bytes as f64, &[" kB", " MB", " GB", " TB", " PB", " EB"])
}

/// Bytes of a second, in the same way; what is not nothing does not look like it.
pub(crate) fn byte_rate(per_second: f64) -> String {
    bytes(if per_second > 0.0 { per_second.max(1.0).round() as u64 } else { 0 })
}

/// A count, with its thousands parted: `12,345`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that must be short: `9,999`, `12.3k`, `1.23M`.
pub(crate) fn short_count(number: u64) -> String {
    if number < 10_000 {
        return count(number);
    }
    scaled(number as f64, &["k", "M", "G", "T", "P", "E"])
}

/// Occurrences of a second: `0`, `0.2`, `12`, `1.23k`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 0.1 => "<0.1".to_owned(),
        // A whole number needs no digit behind the point, and one that is nearly whole neither.
        rate if rate < 9.95 && (rate - rate.round()).abs() >= 0.05 => format!("{rate:.1}"),
        rate if rate < 999.5 => format!("{rate:.0}"),
        rate => scaled(rate, &["k", "M", "G", "T"]),
    }
}

/// How long something has been there, in two units: `4s`, `12m05s`, `3h07m`, `4d03h`, `123d`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (..=99, _, _) => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// A time span of so many microseconds: `850 us`, `12.3 ms`, `1.20 s`, `12m05s`.
pub(crate) fn latency(microseconds: u64, micro: &str) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} {micro}"),
        1_000..1_000_000 => digits(microseconds as f64 / 1e3) + " ms",
        1_000_000..60_000_000 => digits(microseconds as f64 / 1e6) + " s",
        60_000_000.. => age(Duration::from_micros(microseconds)),
    }
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => "<1 %".to_owned(),
        // All is said of all only.
        percent if percent < 100.0 => format!("{:.0} %", percent.min(99.0)),
        percent => format!("{percent:.0} %"),
    }
}

/// `value` in the largest of `units` in which it is at least one; each is 1,000 of the one before,
/// and the first is 1,000.
fn scaled(value: f64, units: &[&str]) -> String {
    let mut value = value / 1e3;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1e3;
        unit += 1;
    }
    digits(value) + units[unit]
}

/// A number below a thousand, with three digits.
fn digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (12_345_678, "12.3 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(byte_rate(0.0), "0 B");
        assert_eq!(byte_rate(0.01), "1 B");
        assert_eq!(byte_rate(1_250_000.0), "1.25 MB");
    }

    #[test]
    fn counts_and_rates() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(short_count(9_999), "9,999");
        assert_eq!(short_count(10_000), "10.0k");
        assert_eq!(short_count(1_234_567), "1.23M");
        for (number, text) in [
            (0.0, "0"),
            (0.04, "<0.1"),
            (0.25, "0.2"),
            (3.0, "3"),
            (2.97, "3"),
            (9.97, "10"),
            (123.4, "123"),
            (8_100.0, "8.10k"),
        ] {
            assert_eq!(rate(number), text);
        }
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3_599, "59m59s"),
            (3_600, "1h00m"),
            (86_399, "23h59m"),
            (86_400, "1d00h"),
            (100 * 86_400, "100d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!(latency(850, "us"), "850 us");
        assert_eq!(latency(12_300, "us"), "12.3 ms");
        assert_eq!(latency(1_200_000, "us"), "1.20 s");
        assert_eq!(latency(725_000_000, "us"), "12m05s");
    }

    #[test]
    fn a_share_is_nothing_or_all_only_if_it_is() {
        for (share, text) in
            [(0.0, "0 %"), (0.001, "<1 %"), (0.5, "50 %"), (0.999, "99 %"), (1.0, "100 %")]
        {
            assert_eq!(percent(share), text);
        }
    }
}
