//! The grammar of publish specifications as a table: every form, what it means, and its
//! canonical text.
//!
//! Never looks at how an error is shown; `error_test` does.

use std::{net::IpAddr, num::NonZeroU16, path::PathBuf};

use super::{
    HostBind, HostPorts, Listen, PublishItem, PublishLongForm, PublishRequest, PublishSpec,
};
use crate::{MAX_REQUESTS_PER_SPEC, SourceMode, Transport};

use Transport::{Tcp, Udp};

fn spec(text: &str) -> PublishSpec {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> String {
    match text.parse::<PublishSpec>() {
        Ok(spec) => panic!("`{text}` was accepted as `{spec}`"),
        Err(error) => error.to_string(),
    }
}

fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

fn one(number: u16) -> HostPorts {
    HostPorts::One(port(number))
}

fn at(addr: &str) -> HostBind {
    HostBind::Address { addr: addr.parse::<IpAddr>().unwrap(), interface: None }
}

fn on(addr: &str, interface: &str) -> HostBind {
    let interface = Some(interface.to_owned());
    HostBind::Address { addr: addr.parse::<IpAddr>().unwrap(), interface }
}

fn inet(host: HostBind, ports: HostPorts, guest_port: u16, transport: Transport) -> PublishItem {
    let listen = Listen::Inet { host, ports };
    PublishItem::Request(PublishRequest { transport, listen, guest_port, source: None, name: None })
}

fn loopback(ports: HostPorts, guest_port: u16, transport: Transport) -> PublishItem {
    inet(HostBind::Loopback, ports, guest_port, transport)
}

/// Checks what a text means, that its canonical text is `canonical`, and that this means the same.
#[track_caller]
fn means(text: &str, canonical: &str, items: &[PublishItem]) {
    let parsed = spec(text);
    assert_eq!(parsed.items(), items, "{text}");
    assert_eq!(parsed.to_string(), canonical, "{text}");
    assert_eq!(spec(canonical), parsed, "{text}");
    assert_eq!(spec(canonical).to_string(), canonical);
    for item in parsed.items() {
        if let PublishItem::Request(request) = item {
            assert_eq!(request.validate(), Ok(()), "{text}");
        }
    }
}

#[test]
fn guest_port_alone_leaves_the_host_port_to_the_kernel() {
    for text in ["80", ":80", "0:80", "80/tcp", "80/TCP"] {
        means(text, "80", &[loopback(HostPorts::Any, 80, Tcp)]);
    }
    means("80/udp", "80/udp", &[loopback(HostPorts::Any, 80, Udp)]);
    means("65535", "65535", &[loopback(HostPorts::Any, 65535, Tcp)]);
}

#[test]
fn one_port_to_one_port() {
    for text in ["8080:80", "8080:80/tcp", "8080:80/Tcp", "8080-8080:80-80"] {
        means(text, "8080:80", &[loopback(one(8080), 80, Tcp)]);
    }
    means("8080:80/udp", "8080:80/udp", &[loopback(one(8080), 80, Udp)]);
    means("53:53/TCP", "53:53", &[loopback(one(53), 53, Tcp)]);
    means("1:65535/UdP", "1:65535/udp", &[loopback(one(1), 65535, Udp)]);
}

#[test]
fn addresses() {
    means("127.0.0.1:8080:80", "127.0.0.1:8080:80", &[inet(at("127.0.0.1"), one(8080), 80, Tcp)]);
    for text in ["127.0.0.1::80", "127.0.0.1:0:80"] {
        means(text, "127.0.0.1::80", &[inet(at("127.0.0.1"), HostPorts::Any, 80, Tcp)]);
    }
    means("0.0.0.0:8080:80", "0.0.0.0:8080:80", &[inet(at("0.0.0.0"), one(8080), 80, Tcp)]);
    means("[::1]:8080:80", "[::1]:8080:80", &[inet(at("::1"), one(8080), 80, Tcp)]);
    means("[::]:8080:80", "[::]:8080:80", &[inet(at("::"), one(8080), 80, Tcp)]);
    means("[::1]::80/udp", "[::1]::80/udp", &[inet(at("::1"), HostPorts::Any, 80, Udp)]);
    means(
        "[2001:DB8:0:0:0:0:0:1]:8080:80",
        "[2001:db8::1]:8080:80",
        &[inet(at("2001:db8::1"), one(8080), 80, Tcp)],
    );
    for text in ["127.0.0.1:8080:80", "[::1]:8080:80", "8080:80"] {
        assert_eq!(spec(text).warnings(), [] as [String; 0]);
    }
}

#[test]
fn ipv6_without_brackets_is_accepted_with_a_warning() {
    for (text, canonical, addr, ports) in [
        ("::1:8080:80", "[::1]:8080:80", "::1", one(8080)),
        ("::1::80", "[::1]::80", "::1", HostPorts::Any),
        (":::8080:80", "[::]:8080:80", "::", one(8080)),
        ("2001:db8::5:8080:80", "[2001:db8::5]:8080:80", "2001:db8::5", one(8080)),
        ("1:2:3:4:5:6:7:8:9:10", "[1:2:3:4:5:6:7:8]:9:10", "1:2:3:4:5:6:7:8", one(9)),
    ] {
        let guest = if canonical.ends_with("10") { 10 } else { 80 };
        means(text, canonical, &[inet(at(addr), ports, guest, Tcp)]);
        let [warning] = spec(text).warnings().to_owned().try_into().unwrap();
        let wanted =
            format!("`{text}` is read as `{canonical}`: an IPv6 address belongs in brackets");
        assert_eq!(warning, wanted);
    }
    means("fe80::1%eth0:1:2", "[fe80::1%eth0]:1:2", &[inet(on("fe80::1", "eth0"), one(1), 2, Tcp)]);
}

#[test]
fn interfaces() {
    means(
        "127.0.0.1%lo:8080:80",
        "127.0.0.1%lo:8080:80",
        &[inet(on("127.0.0.1", "lo"), one(8080), 80, Tcp)],
    );
    means(
        "0.0.0.0%br-1a2b3c::80/udp",
        "0.0.0.0%br-1a2b3c::80/udp",
        &[inet(on("0.0.0.0", "br-1a2b3c"), HostPorts::Any, 80, Udp)],
    );
    means(
        "[fe80::1%eth0]:8080:80",
        "[fe80::1%eth0]:8080:80",
        &[inet(on("fe80::1", "eth0"), one(8080), 80, Tcp)],
    );
    means("[::1%lo]::80", "[::1%lo]::80", &[inet(on("::1", "lo"), HostPorts::Any, 80, Tcp)]);
    means("[fe80::1%2]:1:1", "[fe80::1%2]:1:1", &[inet(on("fe80::1", "2"), one(1), 1, Tcp)]);
}

#[test]
fn ranges() {
    means(
        "8080-8082:80-82",
        "8080-8082:80-82",
        &[loopback(one(8080), 80, Tcp), loopback(one(8081), 81, Tcp), loopback(one(8082), 82, Tcp)],
    );
    for text in ["80-82", ":80-82", "0:80-82"] {
        means(
            text,
            "80-82",
            &[
                loopback(HostPorts::Any, 80, Tcp),
                loopback(HostPorts::Any, 81, Tcp),
                loopback(HostPorts::Any, 82, Tcp),
            ],
        );
    }
    let free = HostPorts::FirstFree { first: port(8080), last: port(8090) };
    means("8080-8090:80", "8080-8090:80", &[loopback(free, 80, Tcp)]);
    means("[::1]:8080-8090:80/udp", "[::1]:8080-8090:80/udp", &[inet(at("::1"), free, 80, Udp)]);
    means(
        "65534-65535:65534-65535",
        "65534-65535:65534-65535",
        &[loopback(one(65534), 65534, Tcp), loopback(one(65535), 65535, Tcp)],
    );
    let every = HostPorts::FirstFree { first: port(1), last: port(65535) };
    means("1-65535:80", "1-65535:80", &[loopback(every, 80, Tcp)]);
}

#[test]
fn both_protocols() {
    for text in ["8080:80/tcp+udp", "8080:80/udp+tcp", "8080:80/UDP+Tcp"] {
        means(
            text,
            "8080:80/tcp+udp",
            &[loopback(one(8080), 80, Tcp), loopback(one(8080), 80, Udp)],
        );
    }
    means(
        "53-54/tcp+udp",
        "53-54/tcp+udp",
        &[
            loopback(HostPorts::Any, 53, Tcp),
            loopback(HostPorts::Any, 53, Udp),
            loopback(HostPorts::Any, 54, Tcp),
            loopback(HostPorts::Any, 54, Udp),
        ],
    );
}

#[test]
fn the_number_of_requests_is_limited() {
    assert_eq!(spec("10000-14095:10000-14095").items().len(), MAX_REQUESTS_PER_SPEC);
    assert_eq!(spec("1-4096").items().len(), MAX_REQUESTS_PER_SPEC);
    assert_eq!(spec("1-2048/tcp+udp").items().len(), MAX_REQUESTS_PER_SPEC);
    for text in ["1-65535", "1-4097", "1-2049/tcp+udp", "target=1-4097", "10000-20000:10000-20000"]
    {
        assert!(refused(text).contains("too many for one specification"), "{text}");
    }
}

#[test]
fn unix_sockets() {
    let unix = |path: &str| {
        let listen = Listen::Unix { path: PathBuf::from(path) };
        let request =
            PublishRequest { transport: Tcp, listen, guest_port: 80, source: None, name: None };
        [PublishItem::Request(request)]
    };
    means("unix:/run/x.sock:80", "unix:/run/x.sock:80", &unix("/run/x.sock"));
    means("unix:/run/x.sock:80/tcp", "unix:/run/x.sock:80", &unix("/run/x.sock"));
    means("unix:/run/a:b/c d=e,f:80", "unix:/run/a:b/c d=e,f:80", &unix("/run/a:b/c d=e,f"));
    means("unix:/run/é:80", "unix:/run/é:80", &unix("/run/é"));
    let longest = format!("/{}", "x".repeat(106));
    means(&format!("unix:{longest}:80"), &format!("unix:{longest}:80"), &unix(&longest));
    assert!(refused(&format!("unix:{longest}x:80")).contains("at most 107 bytes"));
}

#[test]
fn inherited_sockets() {
    let fd = |fd, transport, guest_port| {
        let listen = Listen::Fd { fd };
        let request = PublishRequest { transport, listen, guest_port, source: None, name: None };
        [PublishItem::Request(request)]
    };
    means("fd:3:80", "fd:3:80", &fd(3, Tcp, 80));
    means("fd:3:80/tcp", "fd:3:80", &fd(3, Tcp, 80));
    means("fd:17:53/UDP", "fd:17:53/udp", &fd(17, Udp, 53));
    let web = |transport| {
        let listen = Listen::Activated { name: "web.socket".into() };
        let guest_port = 80;
        let request = PublishRequest { transport, listen, guest_port, source: None, name: None };
        [PublishItem::Request(request)]
    };
    means("fd:web.socket:80", "fd:web.socket:80", &web(Tcp));
    means("fd:web.socket:80/udp", "fd:web.socket:80/udp", &web(Udp));
    means("fd:2147483647:1", "fd:2147483647:1", &fd(i32::MAX, Tcp, 1));
}

#[test]
fn auto_and_exclusions() {
    means("auto", "auto", &[PublishItem::Auto]);
    for text in ["~22", "~22/tcp+udp", "~22-22"] {
        means(text, "~22", &[PublishItem::Exclude { ports: 22..=22, transport: None }]);
    }
    means(
        "~22-25/udp",
        "~22-25/udp",
        &[PublishItem::Exclude { ports: 22..=25, transport: Some(Udp) }],
    );
    means("~22/TCP", "~22/tcp", &[PublishItem::Exclude { ports: 22..=22, transport: Some(Tcp) }]);
    means("~1-65535", "~1-65535", &[PublishItem::Exclude { ports: 1..=65535, transport: None }]);
}

#[test]
fn long_form_as_text() {
    means("target=80", "80", &[loopback(HostPorts::Any, 80, Tcp)]);
    for text in ["target=80,published=8080", "published=8080,protocol=TCP,target=80"] {
        means(text, "8080:80", &[loopback(one(8080), 80, Tcp)]);
    }
    means(
        "target=80,published=8080,host_ip=::1,protocol=udp",
        "[::1]:8080:80/udp",
        &[inet(at("::1"), one(8080), 80, Udp)],
    );
    means(
        "target=80,host_ip=fe80::1%eth0",
        "[fe80::1%eth0]::80",
        &[inet(on("fe80::1", "eth0"), HostPorts::Any, 80, Tcp)],
    );
    means(
        "target=80-81,published=8080-8081",
        "8080-8081:80-81",
        &[loopback(one(8080), 80, Tcp), loopback(one(8081), 81, Tcp)],
    );
}

#[test]
fn name_and_source_need_the_long_form() {
    let named = |transport| {
        let host = on("127.0.0.1", "lo");
        PublishItem::Request(PublishRequest {
            transport,
            listen: Listen::Inet { host, ports: one(8080) },
            guest_port: 80,
            source: Some(SourceMode::Preserve),
            name: Some("Web UI".to_owned()),
        })
    };
    let canonical = "target=80,published=8080,host_ip=127.0.0.1%lo,protocol=tcp+udp,name=Web UI,\
        source=preserve";
    means(canonical, canonical, &[named(Tcp), named(Udp)]);
    let shuffled = "source=preserve,name=Web UI,host_ip=127.0.0.1%lo,protocol=udp+tcp,target=80,\
        published=8080";
    means(shuffled, canonical, &[named(Tcp), named(Udp)]);
    for source in SourceMode::ALL {
        let text = format!("target=80,source={source}");
        let [PublishItem::Request(request)] = &spec(&text).items()[..] else { panic!("{text}") };
        assert_eq!(request.source, Some(source));
        assert_eq!(spec(&text).to_string(), text);
    }
    assert!(spec("target=80,protocol=udp,source=proxy-v2").items().len() == 1);
    for protocol in ["udp", "tcp+udp"] {
        let text = format!("target=80,protocol={protocol},source=proxy-v1");
        assert!(refused(&text).contains("for tcp only"));
    }
}

fn from_json(json: &str) -> Result<PublishSpec, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn configuration_takes_text_ports_and_maps() {
    for (json, canonical) in [
        (r#""8080:80""#, "8080:80"),
        (r#"80"#, "80"),
        (r#"{"target":80}"#, "80"),
        (r#"{"target":"80","published":8080}"#, "8080:80"),
        (r#"{"target":80,"published":"8080-8090","host_ip":"::1"}"#, "[::1]:8080-8090:80"),
        (r#"{"target":80,"host_ip":null,"name":null,"protocol":"udp"}"#, "80/udp"),
        (
            r#"{"target":80,"published":"8080","name":"web","source":"proxy-v2"}"#,
            "target=80,published=8080,name=web,source=proxy-v2",
        ),
        (r#""auto""#, "auto"),
        (r#""unix:/run/x.sock:80""#, "unix:/run/x.sock:80"),
    ] {
        let parsed = from_json(json).unwrap();
        assert_eq!(parsed.to_string(), canonical, "{json}");
        let again = serde_json::to_string(&parsed).unwrap();
        assert_eq!(again, format!("{canonical:?}"));
        assert_eq!(from_json(&again).unwrap(), parsed);
    }
}

#[test]
fn configuration_in_toml() {
    #[derive(serde::Deserialize)]
    struct File {
        publish: Vec<PublishSpec>,
    }
    let text = r#"publish = [80, "127.0.0.1:8080:80/udp", { target = 443, published = "8443" }]"#;
    let file: File = toml::from_str(text).unwrap();
    let shown: Vec<_> = file.publish.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["80", "127.0.0.1:8080:80/udp", "8443:443"]);
    let error = toml::from_str::<File>(r#"publish = ["8080:0"]"#).err().unwrap().to_string();
    assert!(error.contains("guest port 0 does not exist"), "{error}");
}

#[test]
fn configuration_refuses_the_rest() {
    for (json, wanted) in [
        (r#"{"target":80,"mode":"host"}"#, "unknown field `mode`"),
        (r#"{"published":80}"#, "missing field `target`"),
        (r#"{"target":80,"target":81}"#, "duplicate field `target`"),
        (r#"{"target":70000}"#, "`target=70000`: port 70000 is out of range"),
        (r#"{"target":-1}"#, "`target=-1`: the first port of the range `-1` is missing"),
        (r#"{"target":80,"source":"mask"}"#, "`mask` is not a source mode: choose gateway"),
        (r#"{"target":80,"name":"a,source=preserve"}"#, "cannot be the name of a port"),
        (r#"{"target":"80,name=x"}"#, "`80,name=x` is not a port number"),
        (r#"0"#, "guest port 0 does not exist"),
        (r#"-80"#, "invalid publish specification `-80`"),
        (r#"80.5"#, "invalid type: floating point"),
        (r#"true"#, "invalid type: boolean `true`, expected a publish specification such as"),
        (r#""localhost:8080:80""#, "did you mean `127.0.0.1:8080:80`?"),
    ] {
        let error = from_json(json).unwrap_err();
        assert!(error.contains(wanted), "{json}: {error}");
    }
}

#[test]
fn a_map_error_shows_the_map_as_text() {
    let json = r#"{"target":80,"host_ip":"localhost","published":8080}"#;
    let form: PublishLongForm = serde_json::from_str(json).unwrap();
    let error = PublishSpec::try_from(form).unwrap_err();
    assert_eq!(error.spec(), "target=80,published=8080,host_ip=localhost");
    assert_eq!(&error.spec()[error.span()], "localhost");
    assert_eq!(error.suggestion(), Some("target=80,published=8080,host_ip=127.0.0.1"));
}

#[test]
fn every_row_of_the_grammar_that_is_refused() {
    for (text, wanted) in [
        ("8080-8082:80-83", "3 host ports cannot lead to 4 guest ports"),
        ("8080:80-82", "1 host port cannot lead to 3 guest ports"),
        ("8080:80/sctp", "protocol `sctp` is not supported: choose tcp, udp or tcp+udp"),
        ("8080:80/icmp", "protocol `icmp` is not supported"),
        ("localhost:8080:80", "did you mean `127.0.0.1:8080:80`?"),
        ("*:8080:80", "did you mean `0.0.0.0:8080:80`?"),
        ("lo:8080:80", "did you mean `127.0.0.1%lo:8080:80`?"),
        ("127.0.0.1:80", "did you mean `127.0.0.1::80`?"),
        ("70000:80", "port 70000 is out of range: ports are 1 to 65535"),
        ("8080:0", "guest port 0 does not exist"),
        ("8080:80/tcp/udp", "did you mean `8080:80/tcp+udp`?"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(&format!("invalid publish specification `{text}`: ")), "{error}");
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn schema_of_a_specification() {
    let schema = schemars::schema_for!(PublishSpec);
    insta::assert_snapshot!("schema", serde_json::to_string_pretty(&schema).unwrap());
}

#[test]
fn request_in_json() {
    let [PublishItem::Request(request)] = &spec("[fe80::1%eth0]:8080-8090:80").items()[..] else {
        panic!("one request")
    };
    let json = serde_json::to_string(request).unwrap();
    insta::assert_snapshot!(
        json,
        @r#"{"transport":"tcp","listen":{"inet":{"host":{"address":{"addr":"fe80::1","interface":"eth0"}},"ports":{"first-free":{"first":8080,"last":8090}}}},"guest_port":80}"#
    );
    assert_eq!(serde_json::from_str::<PublishRequest>(&json).unwrap(), *request);
    let json = r#"{"transport":"udp","listen":{"inet":{"host":"loopback","ports":"any"}},"guest_port":53}"#;
    let request: PublishRequest = serde_json::from_str(json).unwrap();
    assert_eq!(PublishItem::Request(request), spec("53/udp").items()[0]);
    let json = r#"{"transport":"tcp","listen":{"unix":{"path":"/x","y":1}},"guest_port":53}"#;
    assert!(serde_json::from_str::<PublishRequest>(json).is_err());
}

#[test]
fn a_request_by_hand_is_checked() {
    let valid = PublishRequest {
        transport: Tcp,
        listen: Listen::Inet { host: HostBind::Loopback, ports: one(8080) },
        guest_port: 80,
        source: Some(SourceMode::ProxyV1),
        name: Some("web".to_owned()),
    };
    let listen = |host, ports| Listen::Inet { host, ports };
    let free = |first, last| HostPorts::FirstFree { first: port(first), last: port(last) };
    let unix = |path: &str| Listen::Unix { path: path.into() };
    assert_eq!(valid.validate(), Ok(()));
    for (request, wanted) in [
        (PublishRequest { guest_port: 0, ..valid.clone() }, "guest port 0"),
        (PublishRequest { transport: Udp, ..valid.clone() }, "proxy-v1 is for tcp only"),
        (PublishRequest { name: Some("\u{1b}".into()), ..valid.clone() }, "`\\u{1b}` cannot be"),
        (PublishRequest { name: Some(" ".into()), ..valid.clone() }, "cannot be the name"),
        (PublishRequest { name: Some("x".repeat(65)), ..valid.clone() }, "longer than 64 bytes"),
        (PublishRequest { listen: Listen::Fd { fd: -1 }, ..valid.clone() }, "they start at 3"),
        (
            PublishRequest { listen: Listen::Activated { name: "3".into() }, ..valid.clone() },
            "must begin with a letter",
        ),
        (PublishRequest { listen: unix("x"), ..valid.clone() }, "must begin with `/`"),
        (PublishRequest { listen: unix("/x\0"), ..valid.clone() }, "control character"),
        (
            PublishRequest { listen: listen(HostBind::Loopback, free(9, 8)), ..valid.clone() },
            "9-8 run backwards",
        ),
        (
            PublishRequest { listen: listen(at("fe80::1"), one(1)), ..valid.clone() },
            "means nothing without its interface",
        ),
        (
            PublishRequest { listen: listen(at("224.0.0.1"), one(1)), ..valid.clone() },
            "group address",
        ),
        (
            PublishRequest {
                listen: listen(on("::1", "sixteen-bytes-xx"), one(1)),
                ..valid.clone()
            },
            "longer than 15 bytes",
        ),
        (
            PublishRequest { transport: Udp, source: None, listen: unix("/x"), ..valid.clone() },
            "carries tcp only",
        ),
    ] {
        let error = request.validate().unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_request_is_shown_as_it_would_be_written() {
    for text in
        ["80", "8080:80/udp", "[::1%lo]:8080-8090:80", "0.0.0.0::80", "unix:/x:80", "fd:3:53/udp"]
    {
        let [PublishItem::Request(request)] = &spec(text).items()[..] else { panic!("{text}") };
        assert_eq!(request.to_string(), text);
    }
}
