//! How every kind of wrong specification is shown, as snapshots.
//!
//! Each snapshot has the line a log or an API shows, and the report a terminal shows.

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::PublishSpec;

fn shown(specs: &[&str]) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_wrap_lines(false);
    let mut shown = String::new();
    for spec in specs {
        let error = match spec.parse::<PublishSpec>() {
            Ok(parsed) => panic!("`{spec}` was accepted as `{parsed}`"),
            Err(error) => error,
        };
        if let Some(suggestion) = error.suggestion() {
            assert!(suggestion.parse::<PublishSpec>().is_ok(), "{suggestion}");
        }
        shown.push_str(&format!("{error}\n"));
        handler.render_report(&mut shown, &error).unwrap();
        shown.push('\n');
    }
    // The renderer pads; what is committed has no trailing blanks.
    shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

macro_rules! snapshots {
    ($($name:ident: [$($spec:expr),* $(,)?];)*) => {$(
        #[test]
        fn $name() {
            insta::with_settings!({ omit_expression => true }, {
                insta::assert_snapshot!(stringify!($name), shown(&[$($spec),*]));
            });
        }
    )*};
}

snapshots! {
    ports_wrong: [
        "", "70000:80", "8080:65536", "99999999999999999999:80", "8080:0", "8080:", ":",
        "+8080:80", "8080:+80", "08080:80", "8080:080", "00:80", "8080:00", "http:80", "8080:80x",
        "8080:８０", "8080->80", "8080=80",
    ];
    ranges_wrong: [
        "8080-8082:80-83", "8080-8084:80-83", "8080:80-82", "65535:80-82", "8082-8080:80-82",
        "82-80", "-80", "80-", "-:80", "80-82-84", "0-5:80", "0-5", "8080:0-0", "1-4097",
        "1-2049/tcp+udp",
    ];
    protocols_wrong: [
        "8080:80/sctp", "8080:80/icmp", "8080:80/tpc", "8080:80/tcp6", "8080:80/", "8080:80/both",
        "8080:80/tcp/udp", "8080:80/tcp/tcp", "8080:80/tcp,udp", "8080:80/tcp+sctp",
        "8080:80/tcp+tcp", "8080:80/tcp+", "8080/tcp:80/tcp", "8080/udp:80", "8080:80:udp",
        "127.0.0.1/8080:80", "10.0.0.0/8:80:80", "http://127.0.0.1:8080",
    ];
    addresses_wrong: [
        "127.0.0.1:80", "[::1]:80", "localhost:80", "*:80", "127.0.0.1", "[::1]", "lo",
        "localhost:8080:80", "LOCALHOST:8080:80/udp", "ip6-localhost:8080:80", "*:8080:80",
        "lo:8080:80", "eth0:8080:80", "example.com:8080:80", "1.2.3:8080:80", "127.0.0.01:8080:80",
        "256.0.0.1:8080:80", ":8080:80", "::80", "8080:127.0.0.1:80", "8080:8080:80",
        "127.0.0.1:8080:80:90", "1:2:3:4", "224.0.0.1:8080:80", "255.255.255.255:8080:80",
        "::ffff:127.0.0.1:8080:80",
    ];
    ipv6_wrong: [
        "[::1:8080:80", "[::1]8080:80", "[::1]%lo:8080:80", "[::1]:8080:80:90", "[]:8080:80",
        "[::g]:8080:80", "[127.0.0.1]:8080:80", "[localhost]:8080:80", "[::ffff:127.0.0.1]:8080:80",
        "[fe80::1]:8080:80", "[ff02::1]:8080:80", ":::80", "2001:db8::1:80", "::g:8080:80",
        "fe80::1:8080:80",
    ];
    interfaces_wrong: [
        "127.0.0.1%:8080:80", "%lo:8080:80", "%eth0:8080:80", "127.0.0.1%a-name-of-16-byt:8080:80",
        "127.0.0.1%lo%lo:8080:80", "[::1%]:8080:80", "127.0.0.1%lo:80", "localhost%lo:8080:80",
    ];
    characters_wrong: [
        " 8080:80", "8080:80 ", "8080: 80", "8080 80", "8080:80 /tcp", "8080 : 80 / tcp", " ",
        "8080:80\t", "8080:80\0", "\x1b[31m8080:80", "8080:80,443:443", "8080:80, 443:443",
        " localhost:80 ", "\u{202e}8080:80", "8080\u{a0}:80",
        "8080:80/tcp, 443:443/tcp", "8080:80/tcp,443:443", "auto,~22",
    ];
    unix_wrong: [
        "unix:/run/x.sock", "unix::80", "unix:x.sock:80", "unix:./x.sock:80", "unix:@name:80",
        "unix:/run/:80", "unix:/run/x\0:80", "unix:/run/x.sock:80/udp", "unix:/run/x.sock:80/tcp+udp",
        "unix:/run/x.sock:80-82", "unix:/run/x.sock:0", "unix:/run/x.sock:", "unix:80:/run/x.sock",
        "UNIX:/run/x.sock:80", "unix", "unix:", "Unix",
    ];
    fd_wrong: [
        "fd:3", "fd:", "fd::80", "fd:3x:80", "fd:-x:80", "fd:+3:80", "fd:03:80", "fd:-1:80", "fd:0:80", "fd:2:80",
        "fd:2147483648:80", "fd:3:80:90", "fd:3:80-82", "fd:3:0", "fd:3:80/tcp+udp", "FD:3:80", "fd",
        "fd:3:80/",
    ];
    auto_and_exclusions_wrong: [
        "Auto", "auto/udp", "auto:80", "AUTO:80", "~", "~0", "~8080:80", "~127.0.0.1:8080:80",
        "~25-22", "~22/sctp", "~ssh", "~~22",
    ];
    long_form_wrong: [
        "published=8080", "target=", "target=80,published=8080,mode=host", "target=80,host=::1",
        "target=80,protocl=udp", "target=80,target=81", "target=80,8080", "target=80,",
        "target=80, published=8080", "target=80,colour=red", "target=80,published=70000",
        "target=80-83,published=8080-8082", "target=80,host_ip=localhost", "target=80,host_ip=lo",
        "target=80,host_ip=[::1]", "target=80,host_ip=", "target=80,host_ip=fe80::1",
        "target=80,protocol=sctp", "target=80,name=", "target=80,name= x",
        "target=80,name=a\u{7}b", "target=80,source=proxy", "target=80,source=proxyv1",
        "target=80,protocol=udp,source=proxy-v1", "Target=80", "port=80", "mode=host",
    ];
}

#[test]
fn a_long_text_is_refused_and_cut() {
    let text = format!("unix:/{}é", "x".repeat(505));
    assert_eq!(text.len(), 513);
    let error = text.parse::<PublishSpec>().unwrap_err();
    assert!(error.message().contains("513 bytes long, and the limit is 512"), "{error}");
    assert_eq!(error.spec().len(), 511);
    assert_eq!(error.span(), 0..511);
    let huge = "8".repeat(1 << 20);
    assert!(huge.parse::<PublishSpec>().unwrap_err().to_string().len() < 1024);
}
