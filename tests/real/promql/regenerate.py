#!/usr/bin/env python3
"""Writes golden.json: what a real Prometheus answers to a table of queries over fixed samples.

Needs `prometheus` and `promtool` in PATH (Debian: apt-get install prometheus). Runs a server of its
own on a free loopback port over a temporary directory and ends it again. Evaluation times fall between
samples, where Prometheus 2 (windows closed at their older end) and 3 (open) agree; the edges themselves
are covered by hand-computed tests.
"""

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

BASE = 1_700_000_000  # seconds; any fixed time will do
STEP = 15
COUNT = 46
NOW = BASE + 600 + 7.5  # instant queries: some 40 scrapes in, between two of them


def samples():
    """Label set -> list of (milliseconds, value as text). Seeded, so that each run writes the same."""
    rng = random.Random(20241124)
    out = {}

    def put(name, labels, values, skip=()):
        jitter = 100 * len(out) + 37
        key = (name, tuple(sorted(labels.items())))
        out[key] = [
            ((BASE + i * STEP) * 1000 + jitter, v) for i, v in enumerate(values) if i not in skip
        ]

    def counter(lowest, highest, start=0.0, reset=()):
        total, values = start, []
        for i in range(COUNT):
            total = 0.0 if i in reset else total
            total += rng.randint(lowest, highest)
            values.append(total)
        return values

    for app, pod, code, low, high, start, reset in [
        ("checkout", "checkout-a", "200", 80, 120, 0.0, ()),
        ("checkout", "checkout-a", "500", 0, 5, 3.0, ()),
        ("checkout", "checkout-b", "200", 60, 140, 1000.0, (25, 38)),
        ("checkout", "checkout-b", "503", 0, 2, 0.0, ()),
        ("cart", "cart-a", "200", 5, 9, 0.0, ()),
    ]:
        labels = {"app": app, "pod": pod, "code": code}
        put("http_requests_total", labels, counter(low, high, start, reset))
    for app, quirk in [("checkout", False), ("cart", True)]:
        bounds = ["0.01", "0.05", "0.1", "0.5", "+Inf"]
        totals = [0.0] * len(bounds)
        rows = [[] for _ in bounds]
        for i in range(COUNT):
            grown = 0
            for b in range(len(bounds)):
                grown += rng.randint(1, 30)
                totals[b] += grown
                rows[b].append(totals[b])
        if quirk:  # a scrape that was not atomic: a bucket below its smaller neighbour
            rows[2] = [v * 0.2 for v in rows[2]]
        for bound, row in zip(bounds, rows):
            put("http_request_duration_seconds_bucket", {"app": app, "le": bound}, row)
    put("temperature", {"room": "a"}, [20 + 5 * rng.random() for _ in range(COUNT)])
    put("temperature", {"room": "b"}, [-3 + rng.random() for _ in range(COUNT)])
    put("temperature", {"room": "c"}, [float("nan") if i % 3 == 0 else 1.5 for i in range(COUNT)])
    put("temperature", {"room": "d"}, [float("inf")] * COUNT)
    put("replicas", {"deployment": "checkout"}, [2.0] * COUNT)
    put("replicas", {"deployment": "cart"}, [1.0] * COUNT)
    put("zero", {"app": "checkout"}, [0.0] * COUNT)
    for pod, app, node in [("checkout-a", "checkout", "n1"), ("checkout-b", "checkout", "n2"), ("cart-a", "cart", "n1")]:
        put("pod_info", {"pod": pod, "app": app, "node": node}, [1.0] * COUNT)
    put("gone", {"app": "old"}, [7.0] * COUNT, skip=range(10, COUNT))
    put("gappy", {"app": "x"}, counter(1, 9), skip=list(range(20, 26)) + [33, 37])
    put("lonely", {"app": "x"}, [5.0] * COUNT, skip=[i for i in range(COUNT) if i != 39])
    return out


QUERIES = [
    # Selectors
    "http_requests_total",
    'http_requests_total{app="checkout"}',
    'http_requests_total{app="checkout",code!~"5.."}',
    'http_requests_total{code=~"5.."}',
    'http_requests_total{code=~"5"}',
    'http_requests_total{pod!="cart-a",code!=""}',
    '{__name__=~"re.*|zero"}',
    "replicas{missing=\"\"}",
    "gone",
    "gone offset 8m",
    "http_requests_total offset 5m",
    "http_requests_total offset -1m",
    f"replicas @ {BASE + 100.5}",
    "temperature[1m]",
    "nothing_here",
    # Rates
    "rate(http_requests_total[1m])",
    "rate(http_requests_total[5m])",
    "increase(http_requests_total[2m])",
    "irate(http_requests_total[1m])",
    "rate(http_requests_total[10m])",
    "rate(gappy[2m])",
    "rate(gappy[5m])",
    "rate(lonely[5m])",
    "increase(gone[20m])",
    "delta(temperature[3m])",
    "idelta(temperature[3m])",
    "resets(http_requests_total[10m])",
    "changes(temperature[4m])",
    "rate(http_requests_total[10s])",
    'sum(rate(http_requests_total{app="checkout",code!~"5.."}[1m])) / sum(rate(http_requests_total{app="checkout"}[1m]))',
    # Over time
    "sum_over_time(temperature[2m])",
    "avg_over_time(temperature[5m])",
    "min_over_time(temperature[5m])",
    "max_over_time(temperature[5m])",
    "count_over_time(temperature[5m])",
    "last_over_time(temperature[5m])",
    "present_over_time(gone[20m])",
    "stddev_over_time(temperature[5m])",
    "stdvar_over_time(temperature[5m])",
    "quantile_over_time(0.9, temperature[5m])",
    "max_over_time(sum(rate(http_requests_total[1m]))[5m:30s])",
    "avg_over_time(rate(http_requests_total{app=\"cart\"}[1m])[4m:])",
    "count_over_time(temperature[5m:20s] offset 1m)",
    # Aggregations
    "sum(http_requests_total)",
    "sum by (app) (http_requests_total)",
    "sum without (pod, code) (http_requests_total)",
    "sum by (app, nothing) (rate(http_requests_total[1m]))",
    "avg by (app) (http_requests_total)",
    "min by (code) (http_requests_total)",
    "max without (pod) (http_requests_total)",
    "count by (code) (http_requests_total)",
    "group by (app) (http_requests_total)",
    "stddev(http_requests_total)",
    "stdvar by (app) (http_requests_total)",
    "topk(2, http_requests_total)",
    "bottomk(1, http_requests_total) by (app)",
    "topk(0, http_requests_total)",
    "quantile(0.4, http_requests_total)",
    "quantile(1.5, http_requests_total)",
    "sum(temperature)",
    "min(temperature)",
    "max(temperature)",
    "avg(temperature)",
    "sum by (__name__) ({__name__=~\"replicas|zero\"})",
    # Operators
    "1 + 2 * 3 ^ 2 / 4 % 5 - 1",
    "-2 ^ 2",
    "2 ^ 3 ^ 2",
    "replicas * 2",
    "10 - replicas",
    "-temperature",
    "temperature > 0",
    "0 < temperature",
    "temperature > bool 0",
    "temperature != temperature",
    "1 > bool 2",
    "zero / zero",
    "replicas / ignoring(deployment) group_left zero",
    "http_requests_total % 7",
    "http_requests_total / ignoring(code) group_left sum without (code) (http_requests_total)",
    "rate(http_requests_total[1m]) * on(pod) group_left(node) pod_info",
    "pod_info * on(pod) group_right(node) rate(http_requests_total[1m])",
    "sum by (node) (rate(http_requests_total[1m]) * on(pod) group_left(node) pod_info)",
    "sum by (app) (pod_info) == on(app) count by (app) (pod_info)",
    "sum by (app) (pod_info) > on(app) group_left sum by (app) (zero)",
    'http_requests_total and on(pod) pod_info{node="n1"}',
    'http_requests_total unless on(pod) pod_info{node="n1"}',
    'http_requests_total{code="500"} or http_requests_total{code="503"} or zero',
    'http_requests_total{code="418"} or vector(0)',
    "replicas == 2",
    "replicas == bool 2",
    # Errors
    "pod_info * on(app) pod_info",
    "http_requests_total * on(pod) pod_info",
    "zero * on(app) pod_info",
    'rate({__name__=~"replicas|zero"}[5m])',
    '-{__name__=~"pod_info|zero",app="checkout"}',
    'abs({__name__=~"gappy|lonely"})',
    '-{__name__=~"gappy|lonely"}',
    'sum_over_time({__name__=~"gappy|lonely"}[5m])',
    'zero * on() replicas{deployment="cart"}',
    # Functions
    "histogram_quantile(0.5, http_request_duration_seconds_bucket)",
    "histogram_quantile(0.9, rate(http_request_duration_seconds_bucket[5m]))",
    "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[2m])))",
    "histogram_quantile(0.01, sum by (le, app) (rate(http_request_duration_seconds_bucket[2m])))",
    "histogram_quantile(0, http_request_duration_seconds_bucket)",
    "histogram_quantile(1, http_request_duration_seconds_bucket)",
    "histogram_quantile(1.1, http_request_duration_seconds_bucket)",
    "histogram_quantile(-0.1, http_request_duration_seconds_bucket)",
    'histogram_quantile(0.5, http_request_duration_seconds_bucket{le!="+Inf"})',
    'histogram_quantile(0.5, http_request_duration_seconds_bucket{le="+Inf"})',
    "histogram_quantile(0.5, replicas)",
    'scalar(zero)',
    "scalar(replicas)",
    "vector(scalar(sum(replicas)))",
    "vector(42)",
    "time()",
    "timestamp(replicas)",
    "timestamp(replicas + 0)",
    "absent(nothing_here)",
    'absent(nothing_here{app="a",code=~"5.."})',
    'absent(nothing_here{app="a",app="b",code="1"})',
    "absent(replicas)",
    "absent(sum(nothing_here))",
    'absent_over_time(nothing_here{app="a"}[5m])',
    "absent_over_time(replicas[5m])",
    "clamp(temperature, 0, 20)",
    "clamp(temperature, 20, 0)",
    "clamp_min(temperature, 1)",
    "clamp_max(temperature, 1)",
    "abs(temperature)",
    "round(temperature)",
    "round(temperature, 0.1)",
    "ceil(temperature)",
    "floor(temperature)",
    "sqrt(temperature)",
    "sgn(temperature)",
    "sort(http_requests_total)",
    "sort_desc(http_requests_total)",
    '"text"',
    "1e-9",
    "123456789012345678901234",
    "0.1 + 0.2",
    # Refused by the parser
    "sum(rate(http_requests_total)",
    "rate(http_requests_total)",
    "1 > 2",
    "nope(replicas)",
    "",
]

RANGES = [
    "sum(rate(http_requests_total[1m]))",
    'sum(rate(http_requests_total{code!~"5.."}[1m])) / sum(rate(http_requests_total[1m]))',
    "gone",
    "gappy",
    "temperature",
    "temperature > 0",
    "replicas @ end()",
    "vector(1)",
    "time()",
    "topk(1, http_requests_total)",
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[2m])))",
    "replicas[1m]",
    "max_over_time(temperature{room=\"a\"}[2m:30s])",
    "absent(gone)",
]


def openmetrics(series):
    by_name = {}
    for (name, labels), points in series.items():
        by_name.setdefault(name, []).append((labels, points))
    lines = []
    for name, all_series in by_name.items():
        lines.append(f"# TYPE {name} unknown")
        for labels, points in all_series:
            text = ",".join(f'{k}="{v}"' for k, v in labels)
            lines += [f"{name}{{{text}}} {value!r} {t / 1000:.3f}" for t, value in points]
    return "\n".join(lines + ["# EOF", ""])


def ask(port, path, params):
    url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(params)}"
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def wait_ready(port, server):
    for _ in range(200):
        if server.poll() is not None:
            sys.exit("prometheus ended early")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready"):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("prometheus did not become ready")


def main():
    series = samples()
    with tempfile.TemporaryDirectory() as tmp:
        text, data, config = (os.path.join(tmp, n) for n in ("samples.txt", "data", "prometheus.yml"))
        with open(text, "w") as f:
            f.write(openmetrics(series))
        with open(config, "w") as f:
            f.write("global: {evaluation_interval: 1m}\n")
        backfill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", text, data]
        subprocess.run(backfill, check=True, stdout=subprocess.DEVNULL)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        server = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ]
        )
        try:
            wait_ready(port, server)
            cases = []
            for query in QUERIES:
                params = {"query": query, "time": f"{NOW}"}
                cases.append(("/api/v1/query", params))
            for query in RANGES:
                params = {"query": query, "start": f"{BASE + 61.25}", "end": f"{BASE + 661.25}", "step": "60"}
                cases.append(("/api/v1/query_range", params))
            for change in ({"step": "0"}, {"step": "1m"}, {"step": "0.01"}, {"end": "1"}, {"start": "x"}):
                params = {"query": "replicas", "start": f"{BASE + 61.25}", "end": f"{BASE + 361.25}", "step": "60"}
                cases.append(("/api/v1/query_range", params | change))
            answers = []
            for path, params in cases:
                status, body = ask(port, path, params)
                answers.append({"path": path, "params": params, "status": status, "body": body})
            version = ask(port, "/api/v1/status/buildinfo", {})[1]["data"]["version"]
        finally:
            server.terminate()
            server.wait()
    stored = [
        {"metric": {"__name__": name, **dict(labels)}, "samples": [[t, repr(v)] for t, v in points]}
        for (name, labels), points in series.items()
    ]
    # One line per series and per answer, so that a change is readable.
    lines = ["{", f'"prometheus": {json.dumps(version)},', '"series": [']
    lines += [",\n".join(json.dumps(s) for s in stored), "],", '"answers": [']
    lines += [",\n".join(json.dumps(a) for a in answers), "]", "}", ""]
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.json"), "w") as f:
        f.write("\n".join(lines))


if __name__ == "__main__":
    main()
