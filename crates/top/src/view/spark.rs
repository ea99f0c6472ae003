//! Sparklines: the course of a rate in one line of text.

use super::Look;

/// The newest `width` values, the newest at the right. The highest of them fills its cell; what is
/// not nothing is seen.
pub(super) fn line(values: impl ExactSizeIterator<Item = f64>, width: usize, look: Look) -> String {
    let values: Vec<f64> = values.collect();
    let values = &values[values.len().saturating_sub(width)..];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bars = look.bars();
    let highest = bars.len() - 1;
    let blank = std::iter::repeat_n(bars[0], width - values.len());
    let levels = values.iter().map(|&value| {
        if value <= 0.0 || most <= 0.0 {
            return bars[0];
        }
        let level = (value / most * highest as f64).round() as usize;
        bars[level.clamp(1, highest)]
    });
    blank.chain(levels).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spark(values: &[f64], width: usize, unicode: bool) -> String {
        line(values.iter().copied(), width, Look::new(false, unicode))
    }

    #[test]
    fn the_newest_stands_at_the_right() {
        assert_eq!(spark(&[0.0, 1.0, 4.0, 8.0], 6, true), "   ▁▄█");
        assert_eq!(spark(&[8.0, 1.0, 2.0], 2, true), "▄█");
        assert_eq!(spark(&[0.0, 1.0, 4.0, 8.0], 4, false), " .=@");
    }

    #[test]
    fn little_is_seen_and_nothing_is_not() {
        assert_eq!(spark(&[0.000_1, 0.0, 1e12], 3, true), "▁ █");
        assert_eq!(spark(&[0.0, 0.0], 3, true), "   ");
        assert_eq!(spark(&[], 3, true), "   ");
        assert_eq!(spark(&[1.0], 0, true), "");
    }
}
