# SPDX-License-Identifier: MIT
"""check_metrics.py OPENMETRICS PLAIN DASHBOARD: reads two files of metrics by the parsers that Prometheus's own client library has
for the two formats, and fails where they break the rules of these, or where the dashboard asks for a metric that they do not have.
Writes to FILE.samples for each sample a line "NAME LABEL=VALUE... VALUE", with labels in their order and as Python writes texts.
Exits with 77 where the parsers are missing."""
import json
import math
import re
import sys

try:
    from prometheus_client.openmetrics import parser as openmetrics
    from prometheus_client import parser as plain
except ImportError:
    print("no parser of metrics: python3-prometheus-client is missing")
    sys.exit(77)


def families_of(kind, path):
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    assert "\r" not in text
    parser = openmetrics if kind == "openmetrics" else plain
    assert (kind == "openmetrics") == text.endswith("# EOF\n")
    return list(parser.text_string_to_metric_families(text))


def check_histogram(family, kind):
    """The buckets of each series are cumulative, and the last one is all."""
    series = {}
    for sample in family.samples:
        labels = tuple(sorted(item for item in sample.labels.items() if item[0] != "le"))
        name = sample.name[len(family.name):]
        assert name in (("_bucket",) if kind == "openmetrics" else ("_bucket", "_count")), sample
        series.setdefault(labels, {"buckets": [], "count": None})
        if name == "_count":
            series[labels]["count"] = sample.value
        else:
            series[labels]["buckets"].append((float(sample.labels["le"]), sample.value))
    for labels, found in series.items():
        buckets = found["buckets"]
        assert len(buckets) > 10 and buckets == sorted(buckets), (family.name, labels)
        assert all(low[1] <= high[1] for low, high in zip(buckets, buckets[1:])), (family.name, labels)
        assert math.isinf(buckets[-1][0]), (family.name, labels)
        assert kind == "openmetrics" or found["count"] == buckets[-1][1], (family.name, labels)


def check(kind, path):
    """Returns the names of the samples."""
    seen, names = set(), set()
    with open(path + ".samples", "w", encoding="utf-8") as samples:
        for family in families_of(kind, path):
            assert family.name not in names and family.documentation and family.type != "unknown", family.name
            names.add(family.name)
            if family.type == "histogram":
                check_histogram(family, kind)
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert key not in seen, key
                seen.add(key)
                labels = (f"{name}={value!r}" for name, value in sample.labels.items())
                print(sample.name, *labels, f"{sample.value:.16g}", file=samples)
    return {name for name, _ in seen}


def check_dashboard(path, exported):
    with open(path, encoding="utf-8") as file:
        board = json.load(file)
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    assert len(asked) > 10
    for expression in asked:
        names = re.findall(r"\b(?:ctxring|ctxd)_\w+", expression)
        assert names, expression
        for name in names:
            assert name in exported, f"{name} is in no metrics"


check_dashboard(sys.argv[3], check("openmetrics", sys.argv[1]) & check("plain", sys.argv[2]))
