//! Blanks comments and the inside of literals, keeping every line and column, so that a search
//! for a word finds code only.

/// The text with comments and literal contents replaced by spaces.
pub(super) fn blank(text: &str) -> String {
    let mut scanner = Scanner { input: text.chars().collect(), at: 0, output: String::new() };
    scanner.scan();
    scanner.output
}

struct Scanner {
    input: Vec<char>,
    at: usize,
    output: String,
}

impl Scanner {
    fn scan(&mut self) {
        while let Some(current) = self.peek(0) {
            match (current, self.peek(1)) {
                ('/', Some('/')) => self.blank_while(|c| c != '\n'),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                ('r' | 'b' | 'c', _) if !self.inside_word() && self.is_raw_string() => {
                    self.raw_string();
                }
                _ => self.keep(),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.input.get(self.at + ahead).copied()
    }

    fn keep(&mut self) {
        if let Some(current) = self.peek(0) {
            self.output.push(current);
            self.at += 1;
        }
    }

    fn blank(&mut self) {
        if let Some(current) = self.peek(0) {
            self.output.push(if current == '\n' { '\n' } else { ' ' });
            self.at += 1;
        }
    }

    fn blank_while(&mut self, go_on: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&go_on) {
            self.blank();
        }
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0usize;
        while let Some(current) = self.peek(0) {
            match (current, self.peek(1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    self.blank();
                    continue;
                }
            }
            self.blank();
            self.blank();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.keep();
        while let Some(current) = self.peek(0) {
            match current {
                '"' => return self.keep(),
                '\\' => {
                    self.blank();
                    self.blank();
                }
                _ => self.blank(),
            }
        }
    }

    /// A character literal is blanked; a lifetime or label is kept.
    fn quote(&mut self) {
        let escaped = self.peek(1) == Some('\\');
        if !escaped && self.peek(2) != Some('\'') {
            return self.keep();
        }
        self.keep();
        if escaped {
            self.blank();
        }
        self.blank();
        self.blank_while(|c| c != '\'');
        self.keep();
    }

    fn inside_word(&self) -> bool {
        self.output.chars().next_back().is_some_and(|c| c == '_' || c.is_alphanumeric())
    }

    /// `r"`, `r#"`, `br#"`, `cr"`: a raw identifier (`r#type`) is none.
    fn is_raw_string(&self) -> bool {
        let mut ahead = 0;
        if matches!(self.peek(0), Some('b' | 'c')) {
            ahead += 1;
        }
        if self.peek(ahead) != Some('r') {
            return false;
        }
        ahead += 1;
        while self.peek(ahead) == Some('#') {
            ahead += 1;
        }
        self.peek(ahead) == Some('"')
    }

    fn raw_string(&mut self) {
        let mut hashes = 0;
        while let Some(current) = self.peek(0) {
            self.keep();
            match current {
                '#' => hashes += 1,
                '"' => break,
                _ => {}
            }
        }
        while let Some(current) = self.peek(0) {
            let closes = current == '"' && (1..=hashes).all(|n| self.peek(n) == Some('#'));
            if closes {
                for _ in 0..=hashes {
                    self.keep();
                }
                return;
            }
            self.blank();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::blank;

    #[test]
    fn comments_and_literals_vanish_and_columns_stay() {
        let cases = [
            ("a // unsafe\nb", "a          \nb"),
            ("a /* x /* y */ z */ b", "a                   b"),
            (r#"f("unsafe \" x") g"#, r#"f("           ") g"#),
            ("r#\"a \"b\" c\"# d", "r#\"       \"# d"),
            ("let x: &'a str = 'b'; '\\''", "let x: &'a str = ' '; '  '"),
            ("br\"x\" r#type", "br\" \" r#type"),
            ("'outer: loop {}", "'outer: loop {}"),
        ];
        for (input, expected) in cases {
            assert_eq!(blank(input), expected, "{input}");
        }
    }
}
