"""Brokers that stood still name none of them for a moment; a client that hears that may be lost for good."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.client import WorkflowClient
from engine.kafka.clients import CLIENTS, LOOKS, TOLD_EVERY_MS, Clients, Vitals
from engine.kafka.settings import KafkaSettings
from ops.kafka.broker import BrokerOptions, KafkaBroker
from ops.kafka.cluster import KafkaCluster
from ops.kafka.network import HOST, free_ports
from ops.kafka.properties import SideDoor
from tests.integration.auditor import PATIENCE_SECONDS
from tests.integration.conftest import freeze
from tests.integration.harness import AppUnderTest
from tests.integration.nameless import NamelessProxy, lose

TOPIC = "any"


class Stand:
    """A broker, and the proxy before it."""

    def __init__(self, directory: Path) -> None:
        port, behind, before = free_ports(3)
        options = BrokerOptions(side_doors={1: SideDoor(behind, before)})
        self._cluster = KafkaCluster(directory / "kafka", 1, ports=[port], options=options)
        self._cluster.start()
        self.proxy = NamelessProxy(before, behind)
        self.proxied = f"{HOST}:{before}"
        self.direct = self._cluster.bootstrap_servers

    @property
    def broker(self) -> KafkaBroker:
        return self._cluster.brokers[0]

    def close(self) -> None:
        self._cluster.kill()
        self.proxy.close()


@pytest.fixture
def stand(kafka_distribution: object, tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.close()


@pytest.mark.parametrize("kind", ["producer", "consumer", "admin"])
def test_a_client_that_knows_no_broker_any_more_is_found(stand: Stand, kind: str) -> None:
    clients = Clients()
    lost, other = (_open(clients, kind, servers) for servers in (stand.proxied, stand.direct))
    for each in (lost, other):
        each.list_topics(TOPIC, PATIENCE_SECONDS)
    stand.proxy.is_fickle = True
    lose(lost, TOPIC)
    stand.proxy.is_fickle = False
    _look_until(clients, [lost, other], 1)
    assert lost.vitals.is_lost
    assert not other.vitals.is_lost
    assert clients.look() == 0, "it was told before"


def test_a_client_whose_kafka_is_away_is_not_lost(stand: Stand) -> None:
    clients = Clients()
    opened = [_open(clients, kind, stand.proxied) for kind in ("producer", "consumer", "admin")]
    pid = freeze(stand.broker)
    # As long as it takes them to tell of themselves.
    deadline = time.monotonic() + 2 * TOLD_EVERY_MS / 1000
    while time.monotonic() < deadline:
        _poll(opened)
        assert clients.look() == 0
    os.kill(pid, signal.SIGCONT)
    for each in opened:
        each.list_topics(TOPIC, PATIENCE_SECONDS)
    for _ in range(2 * LOOKS):
        assert clients.look() == 0


def _open(clients: Clients, kind: str, servers: str) -> Any:
    settings = KafkaSettings(bootstrap_servers=servers, app="lost")
    if kind == "admin":
        return clients.admin(settings, TOPIC)
    if kind == "producer":
        producer = clients.producer(settings, TOPIC)
        # What waits to be sent is what makes a loss hurt.
        producer.produce(TOPIC, b"")
        return producer
    consumer = clients.consumer(settings, TOPIC, group_id="lost")
    consumer.subscribe([TOPIC])
    return consumer


def _poll(opened: list[Any]) -> None:
    for each in opened:
        each.poll(0.05)


def _look_until(clients: Clients, opened: list[Any], count: int) -> None:
    """Until so many were newly found lost."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while count:
        assert time.monotonic() < deadline
        _poll(opened)
        count -= clients.look()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_that_lost_its_kafka_begins_anew(
    subject: AppUnderTest, bootstrap_servers: str, tmp_path: Path, processes: int
) -> None:
    """In its own place, or by its supervisor."""
    worker = subject.worker(app="tests.integration.losing:app", processes=processes)
    worker.wait_log("worker ready", processes)
    with WorkflowClient.kafka(bootstrap_servers=bootstrap_servers, app=subject.app) as client:
        started = client.schedule_new_workflow("lost", input=str(tmp_path / "marker"))
        ended = client.wait_for_workflow_completion(started, timeout_in_seconds=PATIENCE_SECONDS)
        assert ended.output == "in another life"
    worker.wait_log("begins anew")
    worker.wait_log("worker ready", processes + 1)
    worker.stop()


def test_a_connection_replaces_its_lost_clients(subject: AppUnderTest, bootstrap_servers: str) -> None:
    subject.worker().wait_ready()
    with WorkflowClient.kafka(bootstrap_servers=bootstrap_servers, app=subject.app) as client:

        def run(number: int) -> object:
            started = client.schedule_new_workflow("chain", input=number)
            seconds = PATIENCE_SECONDS
            return client.wait_for_workflow_completion(started, timeout_in_seconds=seconds).output

        assert run(1) == 4
        before = _vitals(client)
        assert sorted(each.kind for each in before) == ["consumer", "producer"]
        for each in before:
            each.is_lost = True
        assert run(2) == 5
        after = [each for each in _vitals(client) if not each.is_lost]
        assert sorted(each.kind for each in after) == ["consumer", "producer"]


def _vitals(client: WorkflowClient) -> list[Vitals]:
    """Of the clients that it has now."""
    gc.collect()
    connection = client._connection
    return [each for each in CLIENTS._vitals if each.settings is connection._settings]
