"""Writes what is derived from the table of metrics: METRICS.md and the dashboard. A test compares them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.gateway.metrics import METRICS as GATEWAY_METRICS
from engine.node.metrics import METRICS
from engine.telemetry.table import Metric
from ops.panels import ROWS, Panel

HERE = Path(__file__).parent
REFERENCE = HERE / "METRICS.md"
DASHBOARD = HERE / "grafana" / "engine.json"
# What a panel's query says for the processes that are looked at.
SELECTOR = 'instance=~"$instance"'
COLUMNS, WIDTH, HEIGHT = 24, 6, 7

_HEAD = """\
# Metrics

Written by `python -m ops.generate`; do not edit.

`engine worker --metrics-port 9464` serves them on `/metrics` of 127.0.0.1 (`--metrics-host`), and health on
`/healthz`, `/healthz/live` and `/healthz/ready`; so does `engine dev`. Each process of `--processes` has a
port of its own, that number plus the number of its slot, from 0 on: a scrape then tells one process from
another, and a counter begins anew with its process, as Prometheus expects. So use `rate` and `increase`. A
counter with the label `partition` goes on where the partition's last owner in the same process left it.

`engine gateway --metrics-port 9463` has its own, with its health; in `engine dev` and `engine worker
--http` the worker's port tells of the gateway too. No port of metrics asks for a token, and none tells what
is served.

Lags and the cache's size are read every 5 s, a gateway's lag every second, not at the scrape. Everything is
in seconds and bytes, but for what has one of Dapr's names, which is in Dapr's milliseconds. No label holds
what an outsider can choose: a workflow or activity that the app doesn't register is counted as `other`, and
so is a path that is no route.
"""
_TABLE = """
## Of a {what}

| name | kind | labels | meaning |
|---|---|---|---|
"""
_TAIL = """
## Besides

There are `process_…` of prometheus-client: memory, CPU, files.

Dapr's counters have no suffix `_total`, hence no type here. Not exported are
`…_activity_payload_size_ratio`, and what measures parts that are not in this engine: actors, their locks
and wakes, the scheduler, attestation, access lists, resiliency policies. A run that continues as a new one
counts as `success`; one that stalls, as `recoverable`.
"""


def reference() -> str:
    """The text of METRICS.md."""
    return _HEAD + _table("worker", METRICS) + _table("gateway", GATEWAY_METRICS) + _TAIL


def _table(what: str, metrics: Sequence[Metric]) -> str:
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in metrics
    ]
    return _TABLE.format(what=what) + "\n".join(rows) + "\n"


def dashboard() -> str:
    """Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        panels.append(
            _placed({"type": "row", "title": row.title, "collapsed": False}, panels, (0, top, COLUMNS, 1))
        )
        top += 1
        for number, panel in enumerate(row.panels):
            left, down = number * WIDTH % COLUMNS, number * WIDTH // COLUMNS * HEIGHT
            panels.append(_placed(_graph(panel), panels, (left, top + down, WIDTH, HEIGHT)))
        top += -(-len(row.panels) * WIDTH // COLUMNS) * HEIGHT
    board = {
        "title": "kafka-workflow-engine",
        "uid": "kafka-workflow-engine",
        "tags": ["engine"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }
    return json.dumps(board, indent=1, ensure_ascii=False) + "\n"


def _placed(
    panel: dict[str, Any], before: list[dict[str, Any]], place: tuple[int, int, int, int]
) -> dict[str, Any]:
    return {"id": len(before) + 1, **panel, "gridPos": dict(zip("xywh", place, strict=True))}


def _graph(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": query.replace("$pod", SELECTOR), "legendFormat": legend}
            for n, (query, legend) in enumerate(panel.queries)
        ],
    }


def _variables() -> list[dict[str, Any]]:
    source = {"type": "datasource", "name": "source", "label": "source", "query": "prometheus"}
    labels = (
        ("instance", '{__name__=~"engine_build_info|engine_gateway_ready"}', "instance"),
        ("app", "dapr_runtime_workflow_operation_count", "app_id"),
        ("workflow", "dapr_runtime_workflow_execution_count", "workflow_name"),
    )
    return [source, *(_variable(*each) for each in labels)]


def _variable(name: str, metric: str, label: str) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": name,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": f"label_values({metric}, {label})",
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
    DASHBOARD.parent.mkdir(exist_ok=True)
    DASHBOARD.write_text(dashboard(), encoding="utf-8")
