//! How amounts and times are written: short, so that columns stay narrow.

use std::time::{Duration, SystemTime};

use portreeve_types::api::Timestamp;

/// `999`, `1.0k`, `12.3M`: bytes by powers of 1,000, as for all that moves on wires.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if count < 1000 {
        return count.to_string();
    }
    let mut value = count as f64;
    let mut unit = "";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1}{unit}")
}

/// `850us`, `12ms`, `4.1s`, `2m 5s`, `3h 12m`, `9d 4h`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time < Duration::from_millis(1) => format!("{}us", time.as_micros()),
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{:.1}s", (time.as_millis() / 100) as f64 / 10.0),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// How long ago; nothing if the clock was set back since.
pub(super) fn age(since: Timestamp, now: SystemTime) -> String {
    let age = now.duration_since(since.0).unwrap_or_default();
    if age < Duration::from_secs(1) { "<1s".to_owned() } else { span(age) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_at_most_six_characters() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (12_345, "12.3k"),
            (999_949, "999.9k"),
            (999_951, "1.0M"),
            (1 << 40, "1.1T"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn times_show_their_two_largest_units() {
        for (micros, text) in [
            (0, "0us"),
            (999, "999us"),
            (1_000, "1ms"),
            (999_999, "999ms"),
            (1_000_000, "1.0s"),
            (59_999_999, "59.9s"),
            (125_000_000, "2m 5s"),
            (11_520_000_000, "3h 12m"),
            (788_400_000_000_u64, "9d 3h"),
        ] {
            assert_eq!(span(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn ages() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let at = |seconds| Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(age(at(10), now), "1m 30s");
        assert_eq!(age(at(100), now), "<1s");
        assert_eq!(age(at(200), now), "<1s");
    }
}
