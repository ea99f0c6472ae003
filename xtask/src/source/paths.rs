//! Expands `use` trees and inline paths of blanked code into flat paths: `a::{b, c::d}` is
//! `a::b` and `a::c::d`.

/// A path as it is used somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathUse {
    /// Segments joined by `::`; a glob ends in `*`.
    pub(crate) path: String,
    /// 1-based line of its last segment.
    pub(crate) line: usize,
}

/// Every path of the code, in order.
pub(crate) fn paths(code: &str) -> Vec<PathUse> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if matches!(tokens[at].kind, Kind::Word(_)) {
            at = path(&tokens, at, "", &mut found);
        } else {
            at += 1;
        }
    }
    found
}

enum Kind {
    Word(String),
    Separator,
    Open,
    Close,
    Other(char),
}

struct Token {
    kind: Kind,
    line: usize,
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = code.chars().peekable();
    while let Some(current) = rest.next() {
        let kind = match current {
            '\n' => {
                line += 1;
                continue;
            }
            c if c.is_whitespace() => continue,
            c if c == '_' || c.is_alphanumeric() => {
                let mut word = String::from(c);
                while let Some(next) = rest.next_if(|&c| c == '_' || c.is_alphanumeric()) {
                    word.push(next);
                }
                Kind::Word(word)
            }
            ':' if rest.next_if_eq(&':').is_some() => Kind::Separator,
            '{' => Kind::Open,
            '}' => Kind::Close,
            other => Kind::Other(other),
        };
        tokens.push(Token { kind, line });
    }
    tokens
}

/// Reads one path that starts at `at` and returns the position behind it.
fn path(tokens: &[Token], mut at: usize, prefix: &str, found: &mut Vec<PathUse>) -> usize {
    let mut path = prefix.to_owned();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    loop {
        match tokens.get(at) {
            Some(Token { kind: Kind::Word(word), line: here }) => {
                path.push_str(word);
                line = *here;
            }
            Some(Token { kind: Kind::Other('*'), .. }) if path.ends_with("::") => path.push('*'),
            Some(Token { kind: Kind::Open, .. }) if path.ends_with("::") => {
                return group(tokens, at + 1, &path, found);
            }
            _ => break,
        }
        at += 1;
        if !matches!(tokens.get(at), Some(Token { kind: Kind::Separator, .. })) {
            break;
        }
        path.push_str("::");
        at += 1;
    }
    found.push(PathUse { path, line });
    at
}

/// Reads the inside of a `{…}` group and returns the position behind its brace.
fn group(tokens: &[Token], mut at: usize, prefix: &str, found: &mut Vec<PathUse>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.kind {
            Kind::Close => return at + 1,
            Kind::Word(_) => at = path(tokens, at, prefix, found),
            Kind::Other('*') => {
                found.push(PathUse { path: format!("{prefix}*"), line: token.line });
                at += 1;
            }
            Kind::Separator | Kind::Open | Kind::Other(_) => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::paths;

    #[test]
    fn trees_are_flattened() {
        let code = "use std::{net::{IpAddr, TcpStream}, time::*};\nlet x = Instant::now();";
        let found: Vec<_> = paths(code).into_iter().map(|use_| (use_.path, use_.line)).collect();
        for expected in [
            ("std::net::TcpStream", 1),
            ("std::net::IpAddr", 1),
            ("std::time::*", 1),
            ("Instant::now", 2),
        ] {
            assert!(
                found.contains(&(expected.0.to_owned(), expected.1)),
                "{expected:?}: {found:?}"
            );
        }
    }

    #[test]
    fn blocks_and_generics_end_a_path() {
        let found: Vec<_> =
            paths("fn f() { a::b::<c::D>(); }").into_iter().map(|u| u.path).collect();
        assert!(found.contains(&"c::D".to_owned()), "{found:?}");
        assert!(!found.iter().any(|path| path.contains("b::c")), "{found:?}");
    }
}
