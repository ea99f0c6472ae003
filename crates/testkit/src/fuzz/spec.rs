//! The grammar of publish specifications: no text makes it panic, and what it prints it reads.

use portreeve_types::PublishSpec;

/// Parses `data` as a specification.
///
/// # Panics
/// When the parser does, or when what it prints means something else.
pub fn fuzz_spec(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<PublishSpec>() {
        Ok(spec) => {
            let printed = spec.to_string();
            let again = printed.parse::<PublishSpec>();
            assert_eq!(again.as_ref().ok(), Some(&spec), "{text:?} is printed as {printed:?}");
            assert!(!spec.items().is_empty(), "{text:?} means nothing");
        }
        Err(error) => {
            let span = error.span();
            assert!(error.spec().get(span).is_some(), "{text:?}: a span outside the text");
            assert!(!error.to_string().is_empty());
            if let Some(suggestion) = error.suggestion() {
                let parsed = suggestion.parse::<PublishSpec>();
                assert!(parsed.is_ok(), "{text:?}: the suggestion {suggestion:?} is wrong");
            }
        }
    }
}
