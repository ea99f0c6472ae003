//! The example and the schema that are shipped say what the code does.

use std::path::PathBuf;

use portreeve_config::{Configuration, Format, load, parse, schema, to_toml};

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

#[test]
fn the_schema_is_the_committed_one() {
    let committed = std::fs::read_to_string(docs("portreeve.schema.json")).expect("the schema");
    assert!(
        committed == schema(),
        "docs/portreeve.schema.json is out of date: \
         portreeve check --schema > docs/portreeve.schema.json"
    );
}

#[test]
fn the_example_can_be_used() {
    let example = load(&docs("examples/portreeve.toml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(example.publish.len(), 3);
    assert!(example.link.is_some());
}

#[test]
fn the_defaults_in_the_example_are_the_defaults_and_all_of_them() {
    let text = std::fs::read_to_string(docs("examples/portreeve.toml")).expect("the example");
    let is_default = |line: &&str| {
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic()))
    };
    let defaults: String = text
        .lines()
        .filter(|line| is_default(line) || (line.starts_with('[') && !line.starts_with("[[")))
        .filter(|line| *line != "[link]")
        .map(|line| format!("{}\n", line.trim_start_matches('#')))
        .collect();
    let read = parse(&defaults, Format::Toml).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read, Configuration::default());
    // Every setting that a default is written down for is there.
    let all = to_toml(&Configuration::default()).expect("no odd paths");
    let key = |line: &str| line.split(" = ").next().map(str::to_owned);
    let settings = |text: &str| -> Vec<String> {
        let mut keys: Vec<_> =
            text.lines().filter(|line| line.contains(" = ")).filter_map(key).collect();
        keys.sort();
        keys
    };
    let mut expected = settings(&all);
    expected.retain(|key| key != "publish" && key != "records");
    assert_eq!(settings(&defaults), expected);
}

/// The blocks of a language in the manual.
fn blocks(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(docs("manual/configuration.md")).expect("the manual");
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

#[test]
fn the_manuals_examples_say_the_same_in_every_format() {
    let read = |language, format| -> Vec<Configuration> {
        let read = |text: String| parse(&text, format).unwrap_or_else(|error| panic!("{error}"));
        blocks(language).into_iter().map(read).collect()
    };
    let toml = read("toml", Format::Toml);
    assert!(toml.len() > 1);
    assert_eq!(read("yaml", Format::Yaml), toml[..1]);
    assert_eq!(read("json", Format::Json), toml[..1]);
}
