//! Text that fits: cut in the middle, free of what a terminal would obey.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::Look;

/// `text` in at most `width` columns. What is too long loses its middle: addresses and names tell
/// the most at their ends.
pub(super) fn fit(text: &str, width: usize, look: Look) -> String {
    let text = clean(text);
    if text.width() <= width {
        return text;
    }
    let ellipsis = look.ellipsis();
    let Some(room) = width.checked_sub(ellipsis.width()) else { return String::new() };
    let head = take(text.chars(), room.div_ceil(2));
    let tail = take(text.chars().rev(), room - head.width());
    head + ellipsis + &tail.chars().rev().collect::<String>()
}

/// `text` in at most `width` columns. What is too long loses its end, as sentences do.
pub(super) fn cut(text: &str, width: usize, look: Look) -> String {
    let text = clean(text);
    if text.width() <= width {
        return text;
    }
    let ellipsis = look.ellipsis();
    match width.checked_sub(ellipsis.width()) {
        Some(room) => take(text.chars(), room) + ellipsis,
        None => String::new(),
    }
}

/// As many letters from the front as fit.
fn take(letters: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    letters
        .take_while(|letter| {
            let wide = letter.width().unwrap_or(0);
            let fits = wide <= left;
            left = left.saturating_sub(wide);
            fits
        })
        .collect()
}

/// Without letters that move the cursor, turn the direction of writing or cannot be seen. Names
/// come from the guest, which would like to write on the user's terminal.
fn clean(text: &str) -> String {
    let hides = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|letter| if hides(letter) { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Look = Look::new(false, true);
    const ASCII: Look = Look::new(false, false);

    #[test]
    fn the_middle_goes_and_the_ends_stay() {
        for (text, width, fitted) in [
            ("example.org:443", 15, "example.org:443"),
            ("a-very-long-name.example.org:443", 15, "a-very-…org:443"),
            ("[2001:db8:1:2:3:4:5:6]:65535", 20, "[2001:db8:…:6]:65535"),
            ("abc", 2, "a…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(fit(text, width, UNICODE), fitted);
        }
        assert_eq!(fit("abcdefgh", 5, ASCII), "ab~gh");
        assert_eq!(cut("what happened here", 9, UNICODE), "what hap…");
        assert_eq!(cut("what", 4, UNICODE), "what");
    }

    #[test]
    fn wide_letters_count_twice() {
        assert_eq!(fit("日本語日本語", 7, UNICODE), "日…本語");
        assert!(fit("日本語日本語", 7, UNICODE).width() <= 7);
        assert_eq!(fit("日本", 3, UNICODE), "…本", "half of a letter does not fit");
    }

    #[test]
    fn a_name_writes_nothing_on_the_terminal() {
        assert_eq!(fit("a\x1b[2Jb\u{202e}c", 20, UNICODE), "a?[2Jb?c");
    }
}
