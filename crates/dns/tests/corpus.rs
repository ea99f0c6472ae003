//! Replays every committed fuzz input, and pseudo-random and mutated ones on top.
//!
//! The inputs live in `fuzz/corpus/dns`; a folder without any fails, so that a moved folder cannot
//! turn this test into nothing. `PORTREEVE_WRITE_SEEDS=1` writes the seeds below there again.

use std::fs;
use std::path::PathBuf;

use portreeve_dns::fuzz;
use proptest::prelude::*;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/dns"))
}

fn committed() -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> =
        fs::read_dir(folder()).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(&path).expect("an input"))).collect()
}

/// A slice as the fuzz target reads it: half its length first.
fn slice(octets: &[u8]) -> Vec<u8> {
    let mut padded = octets.to_vec();
    padded.resize(octets.len().next_multiple_of(2), 0);
    [&[(padded.len() / 2) as u8][..], &padded].concat()
}

/// A sound query for `a.test`, and a response of these records.
fn exchange(counts: u8, records: &[u8]) -> Vec<u8> {
    [&[1, 0, 1, 1, 0xff, 0, 0, 3 | 16, 0, counts][..], &slice(records)].concat()
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let one = |body: Vec<u8>| [vec![1], body].concat();
    let a = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x5d\xb8\xd8\x22";
    let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c";
    let two_aliases = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e\x01b\xc0\x0e\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c";
    let soa = b"\xc0\x0e\0\x06\0\x01\0\0\0\x3c\0\x18\xc0\x0e\xc0\x0e\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\x07\0\x0f\0\x03\0\x06x";
    let loopback = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01";
    let https = b"\xc0\x0c\0\x41\0\x01\0\0\0\x3c\0\x0b\0\x01\0\0\x04\0\x04\x7f\0\0\x01";
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x03box\0\0\x01\0\x01\0\0\x29\x10\0\0\0\x80\0\0\x0c\0\x0a\0\x08cookie!!";
    let framed = [&(query.len() as u16).to_be_bytes()[..], query].concat();
    vec![
        ("answer", one(exchange(1, a))),
        ("answer-with-opt", one(exchange(0x11, &[&a[..], opt].concat()))),
        ("negative", one(exchange(4, soa))),
        ("alias-of-itself", one(exchange(1, alias))),
        ("alias-loop", one(exchange(2, two_aliases))),
        ("loopback", one(exchange(1, loopback))),
        ("loopback-hint", one([&[1, 0, 65, 1, 0xff, 0, 0, 19, 0, 1][..], &slice(https)].concat())),
        (
            "pointer-to-itself",
            one(exchange(1, b"\xc0\x1a\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04")),
        ),
        (
            "pointer-forward",
            one(exchange(1, b"\xc0\xff\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04")),
        ),
        (
            "record-too-long",
            one(exchange(1, b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\xff\xff\x01\x02\x03\x04")),
        ),
        ("local-with-edns", one([&[0][..], &slice(query)].concat())),
        ("framed", one([&[7][..], &slice(&framed)].concat())),
        (
            "framed-in-pieces",
            one([&[7][..], &slice(&framed[..10]), &[7], &slice(&framed[10..])].concat()),
        ),
        ("silence", vec![2, 1, 0, 1, 0, 0xff, 0, 0, 0xe5, 0xff]),
        ("all-fail", vec![2, 1, 0, 1, 0, 0xff, 0, 0, 6, 0, 6, 0]),
        ("new-upstreams", vec![1, 1, 0, 1, 0, 0xff, 0, 0, 0x17, 3, 5, 1]),
        ("forgotten", vec![1, 1, 0, 1, 0, 0xff, 0, 0, 0x16, 0]),
        ("wrong-id", [&[1, 1, 0, 1, 0, 0xff, 0, 0, 3, 0, 1][..], &slice(a), &[0, 0, 0]].concat()),
        (
            "wrong-case",
            [
                &[1, 1, 0, 1, 0, 0xff, 0, 0, 3, 0, 1][..],
                &slice(a),
                &[13, b'a', 0],
                &[3, 0, 1],
                &slice(a),
                &[13, b'A', 0],
            ]
            .concat(),
        ),
        (
            "truncated",
            [&[1, 1, 0, 1, 0, 0xff, 0, 0, 3, 0, 0, 0][..], &[2, 0x83, 0], &[19, 0, 1], &slice(a)]
                .concat(),
        ),
        (
            "formerr",
            [&[1, 1, 0, 1, 0, 0xff, 0, 0, 3, 0, 0, 0][..], &[3, 0x81, 0], &[19, 0, 1], &slice(a)]
                .concat(),
        ),
    ]
}

/// Each seed leads where its name says, or it would seed nothing.
#[test]
fn seeds_lead_where_they_should() {
    for (name, seed) in seeds() {
        let counters = fuzz::run(&seed);
        let expected = match name {
            "answer" | "answer-with-opt" | "negative" => counters.answered,
            "wrong-case" => counters.case_mismatches.min(counters.answered),
            "truncated" => counters.upstream_truncated.min(counters.answered),
            "formerr" => counters.answered.min(counters.upstream_asks - 1),
            "alias-of-itself" | "alias-loop" | "pointer-to-itself" | "pointer-forward"
            | "record-too-long" => counters.malformed_responses,
            "loopback" | "loopback-hint" => counters.rebind_blocked,
            "local-with-edns" | "framed" | "framed-in-pieces" => counters.local,
            "silence" => counters.upstream_timeouts,
            "all-fail" => counters.upstream_failures - 1,
            "new-upstreams" => counters.upstream_asks - 1,
            "forgotten" => counters.forgotten,
            "wrong-id" => counters.mismatched_responses,
            _ => 0,
        };
        assert!(expected > 0, "{name}: {counters:?}");
    }
}

#[test]
fn committed_inputs_break_nothing() {
    if std::env::var_os("PORTREEVE_WRITE_SEEDS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        for (name, seed) in seeds() {
            fs::write(folder().join(name), seed).unwrap();
        }
    }
    let inputs = committed();
    assert!(inputs.len() >= 20, "{} has {} inputs", folder().display(), inputs.len());
    for (path, data) in inputs {
        if let Err(panic) = std::panic::catch_unwind(|| fuzz::run(&data)) {
            eprintln!("input: {}", path.display());
            std::panic::resume_unwind(panic);
        }
    }
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(512), ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_inputs_break_nothing(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::run(&data);
    }

    /// Seeds one after the other with some octets changed: deep paths, and broken ones.
    #[test]
    fn mutated_seeds_break_nothing(
        picks in prop::collection::vec(0_usize..1_000, 1..12),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let seeds = seeds();
        let mut data = vec![1];
        for pick in picks {
            data.extend_from_slice(&seeds[pick % seeds.len()].1[1..]);
        }
        for (at, value) in edits {
            let at = at.index(data.len());
            data[at] = value;
        }
        fuzz::run(&data);
    }
}
