//! Finds items under `#[cfg(test)]` in blanked code.

use std::ops::RangeInclusive;

/// 1-based line ranges of items under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub(super) fn test_lines(code: &str) -> Vec<RangeInclusive<usize>> {
    let mut ranges: Vec<RangeInclusive<usize>> = Vec::new();
    for start in attributes(code) {
        let end = item_end(code, start);
        ranges.push(line_of(code, start)..=line_of(code, end));
    }
    ranges
}

/// Names declared as `#[cfg(test)] mod name;`.
pub(super) fn out_of_line_modules(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for start in attributes(code) {
        let item = &code[start..=item_end(code, start)];
        let words: Vec<&str> = item.split(|c: char| c != '_' && !c.is_alphanumeric()).collect();
        if item.ends_with(';')
            && let Some(at) = words.iter().position(|&word| word == "mod")
            && let Some(name) = words[at + 1..].iter().find(|word| !word.is_empty())
        {
            names.push((*name).to_owned());
        }
    }
    names
}

fn attributes(code: &str) -> impl Iterator<Item = usize> + '_ {
    ["#[cfg(test)]", "#[cfg(all(test,"]
        .into_iter()
        .flat_map(|attribute| code.match_indices(attribute).map(|(at, _)| at))
}

/// Byte position of the `;` or the closing `}` that ends the item whose attributes start here.
fn item_end(code: &str, start: usize) -> usize {
    let mut brackets = 0i32;
    let mut braces = 0i32;
    for (offset, byte) in code[start..].bytes().enumerate() {
        match byte {
            b'[' | b'(' => brackets += 1,
            b']' | b')' => brackets -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return start + offset;
                }
            }
            b';' if braces == 0 && brackets == 0 => return start + offset,
            _ => {}
        }
    }
    code.len().saturating_sub(1)
}

fn line_of(code: &str, at: usize) -> usize {
    code.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::{out_of_line_modules, test_lines};

    #[test]
    fn ranges_end_with_the_item() {
        let code =
            "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod t {\n fn b() { c[0]; }\n}\nfn d() {}\n";
        assert_eq!(test_lines(code), vec![2..=6]);
        assert_eq!(test_lines("#[cfg(all(test, unix))]\nuse a::{b, c};\nfn d() {}\n").len(), 1);
    }

    #[test]
    fn out_of_line() {
        assert_eq!(out_of_line_modules("#[cfg(test)]\nmod matrix;\nmod other;\n"), ["matrix"]);
        assert!(out_of_line_modules("#[cfg(test)]\nmod tests { mod inner; }\n").is_empty());
    }
}
