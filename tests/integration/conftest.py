"""Fixtures of the integration tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.kafka.broker import BrokerOptions, KafkaBroker
from ops.kafka.cluster import KafkaCluster
from tests.integration.harness import AppUnderTest

StartBroker = Callable[..., KafkaBroker]


@pytest.fixture
def subject(bootstrap_servers: str, tmp_path: Path) -> Iterator[AppUnderTest]:
    """An app of two partitions; whatever it started is gone afterwards."""
    app = AppUnderTest(bootstrap_servers, tmp_path)
    yield app
    app.close()


def freeze(broker: KafkaBroker) -> int:
    """Its process, which stands still: SIGSTOP alone would let it answer for a moment more."""
    pid = broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status
    return pid


@pytest.fixture
def start_broker(kafka_distribution: object, tmp_path: Path) -> Iterator[StartBroker]:
    """Starts a broker of the test's own, to be frozen or given settings, which are its arguments."""
    clusters: list[KafkaCluster] = []

    def start(settings: dict[str, str] | None = None) -> KafkaBroker:
        options = BrokerOptions(settings=settings or {})
        clusters.append(KafkaCluster(tmp_path / f"kafka-{len(clusters)}", options=options))
        clusters[-1].start()
        return clusters[-1].brokers[0]

    yield start
    for cluster in clusters:
        cluster.kill()
