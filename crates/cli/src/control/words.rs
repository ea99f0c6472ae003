//! Which engine is meant, and which words are what is asked of it.
//!
//! Owns the one rule for commands that take an optional NAME and then something else: the first
//! word is the engine's name unless it has the form of what follows. An engine whose name looks
//! like a port is reached with --socket.

use std::path::Path;

use portreeve_client::{Address, Client, Error, InstanceName};

use super::Stop;

/// A client of the engine that is named, or serves the socket, or is the only one.
pub(super) fn engine(name: Option<&str>, socket: Option<&Path>) -> Result<Client, Stop> {
    let address = match (name, socket) {
        (_, Some(path)) => Address::Socket(path.to_owned()),
        (Some(name), None) => Address::Name(name_of(name)?),
        (None, None) => Address::Only,
    };
    Ok(Client::new(&address)?)
}

/// The same for a command with words behind the name, and those words.
///
/// `is_argument` says whether a word has the form of one of them.
pub(super) fn split(
    name: Option<&String>,
    rest: impl IntoIterator<Item = String>,
    socket: Option<&Path>,
    is_argument: impl Fn(&str) -> bool,
) -> Result<(Client, Vec<String>), Stop> {
    let (address, words) = address(name, rest, socket, is_argument)?;
    Ok((Client::new(&address)?, words))
}

fn address(
    name: Option<&String>,
    rest: impl IntoIterator<Item = String>,
    socket: Option<&Path>,
    is_argument: impl Fn(&str) -> bool,
) -> Result<(Address, Vec<String>), Stop> {
    let with_first = |rest| name.cloned().into_iter().chain(rest).collect();
    Ok(match (name, socket) {
        (_, Some(path)) => (Address::Socket(path.to_owned()), with_first(rest)),
        (Some(name), None) if !is_argument(name) => {
            (Address::Name(name_of(name)?), rest.into_iter().collect())
        }
        (_, None) => (Address::Only, with_first(rest)),
    })
}

fn name_of(word: &str) -> Result<InstanceName, Stop> {
    Ok(word.parse().map_err(Error::InvalidName)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_the_name_unless_it_looks_like_what_follows() {
        let digits = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        let read = |words: &[&str], socket: Option<&str>| {
            let mut words = words.iter().map(|&word| word.to_owned());
            let name = words.next();
            address(name.as_ref(), words, socket.map(Path::new), digits)
        };
        let name = |name: &str| Address::Name(name.parse().unwrap());
        let socket = Address::Socket("/x".into());
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for (words, given, expected) in [
            (&["web", "80"][..], None, (name("web"), owned(&["80"]))),
            (&["80", "81"], None, (Address::Only, owned(&["80", "81"]))),
            (&["80"], None, (Address::Only, owned(&["80"]))),
            (&["web"], None, (name("web"), owned(&[]))),
            (&[], None, (Address::Only, owned(&[]))),
            (&["web", "80"], Some("/x"), (socket.clone(), owned(&["web", "80"]))),
            (&[], Some("/x"), (socket, owned(&[]))),
        ] {
            assert_eq!(read(words, given).unwrap(), expected, "{words:?} {given:?}");
        }
        assert!(read(&["../x", "80"], None).is_err());
    }
}
