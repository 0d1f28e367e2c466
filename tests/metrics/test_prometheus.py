"""A real Prometheus scrapes real workers and a gateway, and knows all that dashboard and alerts ask for."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from confluent_kafka import Producer

from ops import generate
from ops.kafka.network import free_ports, is_free
from tests.integration.harness import AppUnderTest
from tests.metrics.running import get, read, wait_metric
from tests.metrics.tools import tool
from tests.ops.test_ops import METRIC_NAME, OPS, OTHER_METRICS, exported

WAIT_S = 90


def ports(count: int) -> int:
    """The first of so many neighbouring ports that are free now."""
    while True:
        (first,) = free_ports(1)
        if all(is_free(first + more) for more in range(count)):
            return first


class Server:
    """A Prometheus."""

    def __init__(self, port: int) -> None:
        self._port = port

    def query(self, text: str) -> list[dict[str, Any]]:
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": text})
        status, body = get(self._port, path)
        assert status == 200, f"{text}: {body}"
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return found

    def wait(self, text: str) -> None:
        """Until the query finds something."""
        pause = threading.Event()
        for _ in range(WAIT_S * 5):
            if self.query(text):
                return
            pause.wait(0.2)
        raise AssertionError(f"expected Prometheus to find {text}")


@contextmanager
def prometheus(folder: Path, targets: list[int], gateways: list[int]) -> Iterator[Server]:
    """One with the configuration of ops/, but for these targets and a shorter interval."""
    program, port = tool("prometheus"), ports(1)
    config = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        ports_of = targets if job["job_name"] == "engine" else gateways
        job["static_configs"][0]["targets"] = [f"127.0.0.1:{each}" for each in ports_of]
    shutil.copy(OPS / "prometheus" / "alerts.yml", folder / "alerts.yml")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_listening(process, port, folder / "prometheus.log")
            yield Server(port)
        finally:
            process.terminate()
            process.wait(30)


def _wait_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    pause = threading.Event()
    for _ in range(WAIT_S * 10):
        assert process.poll() is None, log.read_text()
        try:
            if get(port, "/-/ready")[0] == 200:
                return
        except OSError:
            pause.wait(0.1)
    raise AssertionError(log.read_text())


def wanted() -> set[str]:
    """Every series name of the dashboard and of the alerts."""
    text = generate.DASHBOARD.read_text(encoding="utf-8") + (OPS / "prometheus" / "alerts.yml").read_text()
    return {name for name in METRIC_NAME.findall(text) if name in exported() or name in OTHER_METRICS}


def queries(server: Server) -> None:
    """Prometheus understands every query of the dashboard."""
    for panel in json.loads(generate.DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "1m")
            for variable in ("instance", "app", "workflow"):
                query = query.replace(f"${variable}", ".*")
            server.query(query)


def test_prometheus_finds_every_metric_of_the_dashboard_on_real_workers_and_a_gateway(
    subject: AppUnderTest, tmp_path: Path
) -> None:
    first = ports(3)
    worker = subject.worker(processes=2, metrics_port=first)
    worker.wait_ready(2)
    gateway = subject.gateway(metrics_port=first + 2)
    subject.start("chain", 1, count=20)
    subject.start("sleeper", 50)
    url = gateway.wait_log("serving HTTP")[0]["url"]
    assert httpx.get(f"{url}/v1.0/workflows/dapr/nobody", trust_env=False).status_code == 404
    with prometheus(tmp_path, [first, first + 1], [first + 2]) as server:
        server.wait('count(up{job="engine"} == 1) == 2')
        server.wait('up{job="engine-gateway"} == 1')
        server.wait('sum(dapr_runtime_workflow_execution_count{status="success"}) == 21')
        server.wait("sum(engine_rocksdb_bytes) > 0")
        for name in sorted(wanted()):
            # No partition is being claimed: that nothing is exported says so.
            if name != "engine_partition_claiming_seconds":
                server.wait(name)
        server.wait("sum(engine_commands_lag_records) == 0")
        server.wait('max(engine_partitions) - sum(engine_partitions_owned{status="live"}) == 0')
        queries(server)
        server.wait("sum(engine_projection_lag_records) == 0")
        assert server.query("engine_group_member == 0") == []
        assert server.query("engine_gateway_ready == 0") == []
    assert gateway.stop() < 10
    assert worker.stop() < 10


def test_a_foreign_open_transaction_is_seen_and_so_is_its_end(subject: AppUnderTest) -> None:
    port = ports(1)
    worker = subject.worker(metrics_port=port)
    worker.wait_ready()
    servers = {"bootstrap.servers": subject.bootstrap_servers, "transactional.id": f"foreign-{subject.app}"}
    producer = Producer(servers)
    producer.init_transactions(WAIT_S)
    producer.begin_transaction()
    start = {"type": "StartInstance", "instance_id": "held", "workflow": "chain", "input": 1}
    producer.produce(subject.commands, json.dumps(start), b"held", partition=0)
    producer.flush(WAIT_S)
    wait_metric(port, 1, "engine_commands_held_records", partition="0")
    wait_metric(port, 0.1, "engine_commands_held_seconds", partition="0")
    producer.commit_transaction(WAIT_S)
    wait_metric(port, 1, "dapr_runtime_workflow_execution_count", workflow_name="chain")
    _wait_gone(port, "engine_commands_held_records")
    # The end of a transaction takes an offset too, and nobody waits behind it.
    _wait_gone(port, "engine_commands_lag_records")
    assert read(port, "engine_commands_lag_seconds") == 0
    assert worker.stop() < 10


def _wait_gone(port: int, name: str) -> None:
    pause = threading.Event()
    for _ in range(WAIT_S * 5):
        if read(port, name) == 0:
            return
        pause.wait(0.2)
    raise AssertionError(f"expected {name} to fall to 0")


def test_a_worker_without_its_kafka_answers_and_says_so(subject: AppUnderTest) -> None:
    port = ports(1)
    worker = subject.worker(metrics_port=port, bootstrap_servers=f"127.0.0.1:{ports(1)}")
    worker.wait_log("metrics are served")
    assert get(port, "/healthz/live")[0] == 200
    status, body = get(port, "/healthz/ready")
    assert status == 503
    assert "waits for Kafka" in body
    worker.kill()


def test_a_metrics_port_that_is_taken_ends_the_worker_by_name(subject: AppUnderTest) -> None:
    port = ports(1)
    one = subject.worker(metrics_port=port)
    one.wait_log("metrics are served")
    other = subject.worker("b", metrics_port=port)
    assert other.wait() == 78
    assert f"port {port} for metrics, but it is taken" in other.records[-1]["message"]


@pytest.mark.parametrize("setting", ["metrics-port", "metrics-host"])
def test_the_command_line_knows_the_settings(setting: str) -> None:
    from engine.settings import declared

    assert f"--{setting}" in {each.option for each in declared()}
