"""With what ops/acls.md grants, and no more, everything works: over SASL and TLS, and nothing is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from engine.client import WorkflowClient
from tests.integration.harness import COMMAND_LINE, SAMPLE, WorkerProcess, run_command
from tests.integration.secured import SecuredKafka

WAIT_S = 60
CONFIGURATION_EXIT = 78
TRIMMED = ("wf.orders.commands", "wf.orders.inbox")


@pytest.fixture
def kafka(kafka_distribution: object, tmp_path: Path) -> Iterator[SecuredKafka]:
    made = SecuredKafka(tmp_path / "secured")
    yield made
    made.close()


@pytest.fixture
def worker(kafka: SecuredKafka, tmp_path: Path) -> Iterator[WorkerProcess]:
    provisioner = kafka.properties_file("orders-provisioner")
    options = ("--app=orders", "--partitions=2", "--dev")
    made = run_command(["topics", "apply", f"--config={provisioner}", *options], tmp_path)
    assert made.returncode == 0, made.stderr
    settings = {"trim-interval-ms": 100, "config": kafka.properties_file("orders-worker")}
    told = (f"--{name}={value}" for name, value in settings.items())
    process = WorkerProcess([*COMMAND_LINE, "worker", *options, *told, SAMPLE], tmp_path)
    yield process
    process.close()


def test_the_access_lists_of_the_documentation_are_all_that_is_needed(
    kafka: SecuredKafka, worker: WorkerProcess, tmp_path: Path
) -> None:
    worker.wait_ready()
    config = kafka.properties("orders-client")
    with WorkflowClient.kafka(
        bootstrap_servers=kafka.bootstrap_servers, app="orders", config=config
    ) as client:
        for number in range(4):
            # A child: messages between partitions go through the inbox, and their tombstones into history.
            client.schedule_new_workflow("parent", input=number, instance_id=f"p{number}")
        for number in range(4):
            state = client.wait_for_workflow_completion(f"p{number}", timeout_in_seconds=WAIT_S)
            assert state.output == (number + 3) * 10
        client.purge_workflow("p0")
        client.terminate_workflow("nobody")
        _eventually("purged", lambda: client.get_workflow_state("p0") is None)
        _eventually("refused", lambda: "InstanceNotFound" in {e.reason for e in client.read_dead_letters()})
        # What is taken in is trimmed when more comes: DeleteRecords needs a right of its own.
        _eventually("trimmed", lambda: _is_trimmed_by_more(kafka, client))
    _use_gateway(kafka, tmp_path)
    worker.stop()
    assert kafka.denials() == []


@pytest.fixture
def without_groups(kafka: SecuredKafka) -> None:
    kafka.revoke("orders-worker", "group")


@pytest.mark.usefixtures("without_groups")
def test_a_worker_without_a_right_to_its_groups_ends_and_names_it(worker: WorkerProcess) -> None:
    assert worker.wait() == CONFIGURATION_EXIT
    assert "grant its user Read on the app's groups" in worker.records[-1]["message"]


def _use_gateway(kafka: SecuredKafka, directory: Path) -> None:
    """Each of the things that a gateway has a right of its own for."""
    config = kafka.properties_file("orders-gateway")
    options = ("--app=orders", f"--config={config}", "--http-port=0", f"--state-dir={directory / 'gateway'}")
    gateway = WorkerProcess([*COMMAND_LINE, "gateway", *options], directory)
    try:
        url = gateway.wait_log("serving HTTP")[0]["url"]
        with httpx.Client(base_url=url, timeout=WAIT_S, trust_env=False) as http:
            started = http.post("/v1.0/workflows/dapr/parent/start?instanceID=g", content=b"1")
            assert started.headers["engine-outcome"] == "accepted"
            assert http.get("/api/v1/instances/g/wait").json()["instance"]["output"] == 40
            owners = [each["owner"] for each in http.get("/api/v1/partitions").json()["partitions"]]
            assert all(owners)
            meant = {"filter": {"reason": "InstanceNotFound"}, "dry_run": False}
            assert http.post("/api/v1/deadletters/replay", json=meant).json()["replayed"] > 0
        gateway.stop()
    finally:
        gateway.close()


def _is_trimmed_by_more(kafka: SecuredKafka, client: WorkflowClient) -> bool:
    client.raise_workflow_event("nobody", "more")
    return all(_is_trimmed(kafka, topic) for topic in TRIMMED)


def _is_trimmed(kafka: SecuredKafka, topic: str) -> bool:
    count = len(kafka.admin.list_topics(topic, timeout=10).topics[topic].partitions)
    earliest = {TopicPartition(topic, number): OffsetSpec.earliest() for number in range(count)}
    return any(future.result().offset > 0 for future in kafka.admin.list_offsets(earliest).values())


def _eventually(what: str, is_met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_met():
        assert time.monotonic() < deadline, f"expected to see it in time: {what}"
        threading.Event().wait(0.1)
