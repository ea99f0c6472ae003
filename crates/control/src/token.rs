//! The secret that callers over TCP must show.
//!
//! Owns its making, its reading from a file and the comparison, which takes the same time whatever
//! was guessed. Never shows it but to who asks for it: `Debug` does not.

use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// What callers over TCP must show.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one, of 128 bits from the system.
    ///
    /// # Errors
    /// When the system has no entropy to give.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let mut text = String::new();
        for byte in bytes {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// When it cannot be read, or holds less than 16 or other than visible ASCII characters.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().next().unwrap_or_default().trim();
        Self::new(line).ok_or_else(|| {
            let why = "the first line must be a token of 16 to 256 of the characters A-Z, a-z, \
                       0-9, `-`, `_`, `.` and `~`";
            io::Error::new(io::ErrorKind::InvalidData, why)
        })
    }

    /// This one; `None` unless it is 16 to 256 characters that need no escape in a URL.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let fits = (16..=256).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// The token, to be told to whom it is for.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it. Digests are compared: how much of a guess is right does not show in
    /// the time it takes.
    pub(crate) fn is(&self, guess: &[u8]) -> bool {
        let (right, guess) = (Sha256::digest(self.0.as_bytes()), Sha256::digest(guess));
        right.iter().zip(guess.iter()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token::random().unwrap();
        assert_eq!(token.reveal().len(), 32);
        assert!(token.is(token.reveal().as_bytes()));
        assert!(!token.is(b"") && !token.is(&token.reveal().as_bytes()[..31]));
        assert!(!Token::random().unwrap().is(token.reveal().as_bytes()));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_file_holds_one_line_that_needs_no_escape() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(Token::from_file(&path).unwrap().reveal(), "0123456789abcdef");
        for bad in ["", "short", "0123456789abcdef&x=y", "0123456789 abcdefghi"] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(Token::from_file(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
