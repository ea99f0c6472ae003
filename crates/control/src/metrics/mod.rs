//! Counters and gauges for Prometheus.
//!
//! Owns one scrape: what is asked of the engine for it, and the two text formats. What there is to
//! see stands in `table`, from which the manual's table is made too.
//!
//! Spec: Prometheus exposition format 0.0.4, OpenMetrics 1.0.

mod table;

use std::fmt;

use portreeve::Handle;
use portreeve_types::api::{PortStatus, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use table::{Kind, METRICS, Metric, Sample, Value};

/// What one scrape shows.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) stats: Stats,
    pub(crate) ports: Vec<PortStatus>,
    /// Descriptors the process has open.
    pub(crate) open_descriptors: Option<u64>,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Snapshot {
    /// Asks the engine twice; `None` once it has stopped.
    pub(crate) fn take(engine: &Handle) -> Option<Self> {
        let stats = engine.stats()?;
        let mut ports = engine.port_status()?;
        ports.truncate(MAX_PORTS);
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as u64);
        // Not the one that the listing itself needs.
        Some(Self { stats, ports, open_descriptors: open.map(|open| open.saturating_sub(1)) })
    }
}

impl Format {
    /// The one that a client asks for by its `Accept` header.
    pub(crate) fn wanted(accept: &str) -> Self {
        let mut kinds = accept.split(',').filter_map(|kind| kind.split(';').next());
        let wanted = kinds.any(|kind| kind.trim() == "application/openmetrics-text");
        if wanted { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes a scrape.
pub(crate) fn expose(snapshot: Snapshot, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("portreeve");
    registry.register_collector(Box::new(snapshot));
    let mut out = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in METRICS {
            write(metric, self, &mut encoder)?;
        }
        Ok(())
    }
}

fn write(
    metric: &Metric,
    snapshot: &Snapshot,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let samples = (metric.read)(snapshot);
    if samples.is_empty() {
        return Ok(());
    }
    let kind = match metric.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let unit = metric.unit.map(|unit| Unit::Other(unit.to_owned()));
    let mut encoder = encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), kind)?;
    for Sample { labels, value } in samples {
        let mut one = encoder.encode_family(&labels)?;
        match (metric.kind, value) {
            (Kind::Counter, Value::Whole(value)) => {
                one.encode_counter::<NoLabels, _, u64>(&value, None)?
            }
            (Kind::Counter, Value::Real(value)) => {
                one.encode_counter::<NoLabels, _, f64>(&value, None)?
            }
            (_, Value::Whole(value)) => one.encode_gauge(&value)?,
            (_, Value::Real(value)) => one.encode_gauge(&value)?,
            (_, Value::Times(histogram)) => {
                // Each bucket by itself: the encoder adds them up again.
                let mut below = 0;
                let mut buckets = Vec::with_capacity(histogram.buckets.len() + 1);
                for bucket in &histogram.buckets {
                    buckets.push((bucket.le, bucket.count.saturating_sub(below)));
                    below = bucket.count;
                }
                buckets.push((f64::INFINITY, histogram.count.saturating_sub(below)));
                one.encode_histogram::<NoLabels>(histogram.sum, histogram.count, &buckets, None)?;
            }
        }
    }
    Ok(())
}

/// Exemplars have labels, and there are none.
type NoLabels = [(&'static str, &'static str); 0];

/// Ports shown one by one; the others are in the sums. A scrape has a bound.
const MAX_PORTS: usize = 1_000;

#[cfg(test)]
mod tests;
