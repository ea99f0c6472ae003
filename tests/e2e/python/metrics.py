"""Reads a scrape on standard input with Prometheus' own parser, and prints its samples.

    metrics.py prometheus|openmetrics

One line for each: `NAME VALUE`, or `NAME{LABEL=VALUE,...} VALUE`.
"""

import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

parse = {
    "prometheus": parser.text_string_to_metric_families,
    "openmetrics": openmetrics_parser.text_string_to_metric_families,
}[sys.argv[1]]
for family in parse(sys.stdin.read()):
    assert family.documentation, family.name
    assert family.type in ("counter", "gauge", "histogram"), (family.name, family.type)
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
        print(sample.name + (f"{{{labels}}}" if labels else ""), sample.value)
