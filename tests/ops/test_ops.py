"""What lies in ops/ names what there is: metrics, labels, settings, commands, sections."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.cli.reference import commands
from engine.gateway.metrics import METRICS as GATEWAY_METRICS
from engine.node.metrics import METRICS as WORKER_METRICS
from engine.telemetry.table import Kind, Metric
from ops import generate
from tests.metrics.tools import run_tool

OPS = Path(__file__).parents[2] / "ops"
ALERTS = OPS / "prometheus" / "alerts.yml"
RUNBOOK = (OPS / "RUNBOOK.md").read_text(encoding="utf-8")
# By what they run: the command's name, its settings' directory, and all ports of its container.
DEPLOYED = {
    "worker": ("ENGINE_STATE_DIR", {"metrics": "ENGINE_METRICS_PORT"}),
    "gateway": ("ENGINE_GATEWAY_DIR", {"http": "ENGINE_HTTP_PORT", "metrics": "ENGINE_METRICS_PORT"}),
}
METRICS = (*WORKER_METRICS, *GATEWAY_METRICS)
# Labels that Prometheus gives, and what else a process exports.
TARGET_LABELS = {"instance", "job", "app", "le"}
OTHER_METRICS = {
    "up": Metric("up", Kind.GAUGE, ""),
    "process_cpu_seconds_total": Metric("process_cpu_seconds_total", Kind.COUNTER, ""),
    "process_resident_memory_bytes": Metric("process_resident_memory_bytes", Kind.GAUGE, ""),
}
METRIC_NAME = re.compile(r"\b(?:engine|dapr|process)_[a-z_]+\b|\bup\b(?=\{)")


def exported() -> dict[str, Metric]:
    """All series names, with their metric."""
    found = dict(OTHER_METRICS)
    for metric in METRICS:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        found |= {metric.name + suffix: metric for suffix in suffixes}
    return found


def panel_queries() -> Iterator[tuple[str, str]]:
    for panel in json.loads(generate.DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']}: {target['legendFormat']}", target["expr"]


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in rules["groups"] for rule in group["rules"]]


def problems_of(query: str) -> list[str]:
    """Each metric and label in it that is not exported."""
    series, problems = exported(), []
    names = METRIC_NAME.findall(
        re.sub(r"\{[^}]*\}|by \([^)]*\)", lambda m: "{" if m[0][0] == "{" else "", query)
    )
    if not names:
        problems.append("no metric")
    allowed = set(TARGET_LABELS)
    for name in names:
        if name not in series:
            problems.append(f"no metric {name}")
        else:
            allowed |= set(series[name].labels)
    used = [label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")]
    used += [
        label for group in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)[=!]", group)
    ]
    return problems + [f"no label {label.strip()}" for label in used if label.strip() not in allowed]


def test_the_reference_and_the_dashboard_are_in_step_with_the_table() -> None:
    assert generate.REFERENCE.read_text(encoding="utf-8") == generate.reference(), "python -m ops.generate"
    assert generate.DASHBOARD.read_text(encoding="utf-8") == generate.dashboard(), "python -m ops.generate"


@pytest.mark.parametrize(("panel", "query"), list(panel_queries()))
def test_every_panels_query_names_an_exported_metric_and_its_labels(panel: str, query: str) -> None:
    assert problems_of(query) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sum(engine_turn_total)", "no metric engine_turn_total"),
        ("sum by (shard) (engine_turns_total)", "no label shard"),
        ('engine_turns_total{reason="x"}', "no label reason"),
        ("rate(engine_turn_seconds[5m])", "no metric engine_turn_seconds"),
        ("1 + 1", "no metric"),
    ],
)
def test_a_query_of_what_is_not_there_is_noticed(query: str, problem: str) -> None:
    assert problem in problems_of(query)


def test_the_dashboards_variables_and_panels_are_what_grafana_expects() -> None:
    board = json.loads(generate.DASHBOARD.read_text(encoding="utf-8"))
    names = {each["name"] for each in board["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(board["panels"])))
    assert used <= names
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for each in board["templating"]["list"]:
        if each["type"] == "query":
            metrics, label = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]).groups()  # type: ignore[union-attr]
            for metric in re.findall(r"(?:engine|dapr)_\w+", metrics):
                assert label in {*exported()[metric].labels, *TARGET_LABELS}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_names_exported_metrics_and_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    assert problems_of(rule["expr"]) == []
    link = rule["annotations"]["runbook_url"]
    path, _, anchor = link.partition("#")
    assert path.endswith("/ops/RUNBOOK.md")
    assert anchor == rule["alert"].lower()
    headings = re.findall(r"^## (.*)$", RUNBOOK, re.MULTILINE)
    assert rule["alert"] in headings
    section = RUNBOOK.partition(f"\n## {rule['alert']}\n")[2].partition("\n## ")[0]
    assert all(f"**{part}**" in section for part in ("Means", "Look", "Do")), section


def test_the_runbook_has_no_section_without_an_alert_and_no_link_into_nothing() -> None:
    headings = re.findall(r"^## (.*)$", RUNBOOK, re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts()]
    anchors = {heading.lower() for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", RUNBOOK)) <= anchors


def test_the_runbook_names_commands_options_and_metrics_that_exist() -> None:
    known = {name.removeprefix("engine "): command for name, command in commands()}
    options = {option for command in known.values() for each in command.params for option in each.opts}
    used = [
        line.split("#")[0].split() for line in re.findall(r"(?:^|`)engine ([^`\n]*)", RUNBOOK, re.MULTILINE)
    ]
    assert len(used) > 5
    for words in used:
        assert words[0] in known or " ".join(words[:2]) in known, words
    spoken = set(re.findall(r"`(--[a-z-]+)`", RUNBOOK)) | {w for ws in used for w in ws if w.startswith("--")}
    assert spoken <= options
    series = {*exported(), *(metric.name for metric in METRICS)}
    assert set(re.findall(r"\bengine_[a-z_]+", RUNBOOK)) <= series


def test_the_alerts_do_what_their_tests_say() -> None:
    tests = yaml.safe_load((OPS / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8"))
    tried = {
        (each["alertname"], bool(each["exp_alerts"])) for t in tests["tests"] for each in t["alert_rule_test"]
    }
    names = {rule["alert"] for rule in alerts()}
    assert tried == {(name, fires) for name in names for fires in (True, False)}
    done = run_tool("promtool", "test", "rules", "alerts_test.yml", folder=OPS / "prometheus")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration() -> None:
    done = run_tool("promtool", "check", "config", "prometheus.yml", folder=OPS / "prometheus")
    assert done.returncode == 0, done.stdout + done.stderr


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((OPS / "kubernetes" / f"{name}.yml").read_text(encoding="utf-8")))


def config_of(name: str) -> dict[str, str]:
    (config,) = [each["data"] for each in manifests(name) if each["kind"] == "ConfigMap"]
    return config


@pytest.mark.parametrize("name", DEPLOYED)
def test_the_unit_and_the_manifests_set_variables_of_their_command_and_run_it(name: str) -> None:
    command = dict(commands())[f"engine {name}"]
    variables = {each.envvar for each in command.params if each.envvar} | {"ENGINE_API_TOKEN"}
    unit = (OPS / "systemd" / f"engine-{name}.service").read_text(encoding="utf-8")
    assert set(re.findall(r"\bENGINE_[A-Z_]+", unit)) - {"ENGINE_WORKER_APP"} <= variables
    assert f"/bin/engine {name}" in unit
    (container,) = set_of(name)["spec"]["template"]["spec"]["containers"]
    assert {*config_of(name), *(each["name"] for each in container.get("env", ()))} <= variables
    assert container["args"][:2] == ["engine", name]


def set_of(name: str) -> dict[str, Any]:
    (found,) = [each for each in manifests(name) if each["kind"] == "StatefulSet"]
    return found


@pytest.mark.parametrize("name", DEPLOYED)
def test_the_manifests_hang_together(name: str) -> None:
    state, ports = DEPLOYED[name]
    config, owners = config_of(name), set_of(name)["spec"]
    template = owners["template"]
    labels = template["metadata"]["labels"]
    services = {
        each["metadata"]["name"]: each["spec"] for each in manifests(name) if each["kind"] == "Service"
    }
    (budget,) = [each["spec"] for each in manifests(name) if each["kind"] == "PodDisruptionBudget"]
    for selector in (
        owners["selector"]["matchLabels"],
        *(service["selector"] for service in services.values()),
        budget["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert services[owners["serviceName"]]["clusterIP"] == "None"
    (container,) = template["spec"]["containers"]
    numbers = {port: int(config[variable]) for port, variable in ports.items()}
    assert {each["name"]: each["containerPort"] for each in container["ports"]} == numbers
    served = {port["name"]: port["port"] for service in services.values() for port in service["ports"]}
    assert served == numbers
    assert template["metadata"]["annotations"]["prometheus.io/port"] == config["ENGINE_METRICS_PORT"]
    for probe, path in (("livenessProbe", "live"), ("startupProbe", "live"), ("readinessProbe", "ready")):
        assert container[probe]["httpGet"] == {"path": f"/healthz/{path}", "port": "metrics"}
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts["state"] == config[state]


def test_a_gateway_that_others_reach_has_its_token_from_a_secret() -> None:
    (container,) = set_of("gateway")["spec"]["template"]["spec"]["containers"]
    (token,) = container["env"]
    assert (token["name"], *token["valueFrom"]) == ("ENGINE_API_TOKEN", "secretKeyRef")
    assert "ENGINE_API_TOKEN" not in config_of("gateway")
