use super::*;
use std::path::Path;

use portreeve::{HostEndpoint, PublishId, PublishedPort, SourceMode, Transport};
use portreeve_types::api::{Bucket, DnsStats, DropCount, Histogram, PortCounters, PortState};

fn snapshot() -> Snapshot {
    let mut stats = Stats { dns: Some(DnsStats::default()), ..Stats::default() };
    stats.drops = vec![DropCount { reason: "source_mac".into(), count: 3 }];
    stats.flows.tcp_by_phase.insert("relaying".into(), 2);
    stats.driver.busy_seconds = 1.5;
    stats.dial_seconds = Histogram {
        buckets: vec![Bucket { le: 0.1, count: 2 }, Bucket { le: 1.0, count: 5 }],
        count: 6,
        sum: 7.25,
    };
    let port = PortStatus {
        port: PublishedPort {
            id: PublishId(7),
            transport: Transport::Tcp,
            guest_port: 80,
            host: HostEndpoint::Unix("/run/a\"b".into()),
            source: SourceMode::Gateway,
            name: None,
        },
        state: PortState::Listening,
        cause: None,
        counters: PortCounters { bytes_to_guest: 9, ..PortCounters::default() },
    };
    Snapshot { stats, ports: vec![port], open_descriptors: Some(11) }
}

#[test]
fn both_formats_say_the_same_in_their_own_way() {
    let prometheus = expose(snapshot(), Format::Prometheus).unwrap();
    let open_metrics = expose(snapshot(), Format::OpenMetrics).unwrap();
    for text in [&prometheus, &open_metrics] {
        for line in [
            "portreeve_drops_total{reason=\"source_mac\"} 3",
            "portreeve_flows{kind=\"tcp\",state=\"relaying\"} 2",
            "portreeve_loop_busy_seconds_total 1.5",
            "portreeve_dial_duration_seconds_count 6",
            "portreeve_dial_duration_seconds_bucket{le=\"+Inf\"} 6",
            "portreeve_dial_duration_seconds_bucket{le=\"0.1\"} 2",
            "portreeve_open_fds 11",
            "portreeve_port_bytes_total{port=\"7\",transport=\"tcp\",guest_port=\"80\",\
             host=\"unix:/run/a\\\"b\",direction=\"to_guest\"} 9",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
    assert!(open_metrics.ends_with("# EOF\n") && !prometheus.contains("# EOF"));
    assert!(open_metrics.contains("# UNIT portreeve_loop_busy_seconds seconds\n"));
}

#[test]
fn a_format_is_negotiated() {
    assert_eq!(Format::wanted(""), Format::Prometheus);
    assert_eq!(Format::wanted("*/*"), Format::Prometheus);
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
    assert_eq!(Format::wanted(prometheus), Format::OpenMetrics);
}

#[test]
fn names_are_by_the_convention_and_labels_are_those_promised() {
    let snapshot = snapshot();
    for metric in METRICS {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(metric.name.chars().all(plain), "{}", metric.name);
        assert!(!metric.name.ends_with("_total") && metric.help.ends_with('.'), "{}", metric.name);
        for sample in (metric.read)(&snapshot) {
            let labels: Vec<_> = sample.labels.iter().map(|(name, _)| *name).collect();
            assert_eq!(labels, metric.labels, "{}", metric.name);
        }
    }
}

#[test]
fn the_manual_has_the_table() {
    const UPDATE: &str = "PORTREEVE_UPDATE_DOCS";
    const BEGIN: &str = "<!-- metrics: made from the code -->\n";
    const END: &str = "<!-- end of metrics -->";
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for Metric { name, unit, kind, labels, help, .. } in METRICS {
        let unit = unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let (total, kind) = match kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
        };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        table += &format!("| `portreeve_{name}{unit}{total}` | {kind} | {labels} | {help} |\n");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/control.md");
    let manual = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = manual.split_once(BEGIN).expect("where it begins");
    let (found, after) = rest.split_once(END).expect("where it ends");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        found == table,
        "the table in docs/manual/control.md is not the code's; write it with\n    \
         {UPDATE}=1 cargo test -p portreeve-control metrics"
    );
}
