//! What is shown for a wrong file, in every format.

use std::fmt::Write as _;

use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::{Configuration, Format, load, parse, parse_named};

fn shown(text: &str, format: Format) -> String {
    let name = format!("portreeve.{format}");
    let error = parse_named(text, format, &name).expect_err("it is wrong");
    let mut out = format!("{error}\n");
    let theme = GraphicalTheme::unicode_nocolor();
    let handler = GraphicalReportHandler::new_themed(theme).with_wrap_lines(false);
    handler.render_report(&mut out, &error.diagnostic()).unwrap();
    out
}

fn all_shown(texts: &[&str], format: Format) -> String {
    let mut out = String::new();
    for text in texts {
        writeln!(out, "{text}\n{}\n{}", "─".repeat(40), shown(text, format)).unwrap();
    }
    out
}

fn snapshot(name: &str, shown: &str) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, shown) });
}

#[test]
fn wrong_toml() {
    snapshot(
        "wrong_toml",
        &all_shown(
            &[
                "publish = [\n",
                "name = 'a'\nname = 'b'\n",
                "publsh = ['8080:80']\n",
                "connect_timeout = '10s'\n",
                "[dns]\nupstream = ['1.1.1.1']\n",
                "source = 'preserv'\n",
                "publish = '8080:80'\n",
                "publish = ['8080:80', '127.0.0.1:80']\n",
                "publish = [{ target = 80, publshed = 8080 }]\n",
                "publish = [{ target = 80, protocol = 'sctp' }]\n",
                "drain = 'soon'\n",
                "[limits]\nmax_flows = -1\n",
                "[limits]\nto_guest_ring = 5000\n",
                "[addresses]\nmtu = 70000\n",
                "[addresses]\naddress = ['10.0.0.2/24']\ngateway = ['10.0.1.1']\n",
                "[link]\nstream = '/a'\ntap = 'b'\n",
                "[link]\nsteam = '/a'\n",
                "link = 'stream'\n",
                "limits = [1]\n",
                "link = { fd = [5] }\n",
                "[link.fd]\ndescriptor = 1\n",
                "[[dns.records]]\nname = 'db.test'\naddresses = ['10.0.0.7']\nttl = 100000\n",
                "[[dns.records]]\nname = 'db..test'\naddresses = []\n",
                "[[dns.records]]\nname = 'db.test'\n",
                "[egress]\nbind_addresses = ['10.0.0.1', '10.0.0.2']\n",
                "[control]\nui = '0.0.0.0:80'\n",
            ],
            Format::Toml,
        ),
    );
}

#[test]
fn wrong_yaml() {
    snapshot(
        "wrong_yaml",
        &all_shown(
            &[
                "publish: [\n",
                "name: a\nname: b\n",
                "- 8080:80\n",
                "# a comment with an ü\npublsh:\n  - 8080:80\n",
                "publish:\n  - 8080:80\n  - 127.0.0.1:80\n",
                "publish: 8080:80\n",
                "limits:\n  max_flows: many\n",
                "limits:\n  mailbox: 0\n",
                "dns:\n  records:\n    - name: db.test\n      addresses: [10.0.0.7]\n      ttl: 100000\n",
            ],
            Format::Yaml,
        ),
    );
}

#[test]
fn wrong_json() {
    snapshot(
        "wrong_json",
        &all_shown(
            &[
                "{\n  \"publish\": [\n",
                "{\"name\": \"a\", \"name\": \"b\"}\n",
                "[]\n",
                "{\n  \"comment\": \"ü\",\n  \"publish\": [\"8080:80\"]\n}\n",
                "{\n  \"publish\": [\"8080:80\", \"127.0.0.1:80\"]\n}\n",
                "{\n  \"limits\": { \"mailbox\": 0 }\n}\n",
                "{\n  \"limits\": { \"mailbox\": \"9\" }\n}\n",
                "{\"dns\": {\"upstreams\": [\"1.1.1.1\", \"one\"]}}\n",
            ],
            Format::Json,
        ),
    );
}

#[test]
fn many_faults_are_told_at_once_from_the_beginning() {
    snapshot(
        "many_faults",
        &shown(
            "publish = ['8080:80', '80:']\nsource = 'none'\nquiet = 'yes'\n\
         [limits]\nmailbox = 0\nmax_flow = 7\n",
            Format::Toml,
        ),
    );
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portreeve.toml");
    assert!(load(&path).unwrap_err().to_string().contains("No such file"));
    let path = directory.path().join("portreeve.conf");
    assert!(load(&path).unwrap_err().to_string().contains("which format"));
    let path = directory.path().join("portreeve.yml");
    std::fs::write(&path, "name: web\n").unwrap();
    assert_eq!(load(&path).unwrap().name.as_deref(), Some("web"));
    std::fs::write(&path, "#".repeat((4 << 20) + 1)).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("more than 4 MiB"));
}

#[test]
fn every_format_says_the_same() {
    let toml = "name = 'web'\npublish = ['8080:80', 53]\nlimits.max_flows = 7\n\
                dns.records = [{ name = 'db.test', addresses = ['10.0.0.7'] }]\n";
    let yaml = "name: web\npublish:\n  - 8080:80\n  - 53\nlimits: { max_flows: 7 }\ndns:\n  \
                records:\n    - name: db.test\n      addresses: [10.0.0.7]\n";
    let json = r#"{ "name": "web", "publish": ["8080:80", 53], "limits": { "max_flows": 7 },
                    "dns": { "records": [{ "name": "db.test", "addresses": ["10.0.0.7"] }] } }"#;
    let read = parse(toml, Format::Toml).unwrap();
    assert_eq!(parse(yaml, Format::Yaml).unwrap(), read);
    assert_eq!(parse(json, Format::Json).unwrap(), read);
    for (text, format) in [("", Format::Toml), ("", Format::Yaml), ("# x\n", Format::Yaml)] {
        assert_eq!(parse(text, format).unwrap(), Configuration::default());
    }
    assert_eq!(parse("{}", Format::Json).unwrap(), Configuration::default());
}
