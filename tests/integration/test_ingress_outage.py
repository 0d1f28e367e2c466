"""An ingress whose Kafka does not answer waits and asks again: its worker must not end for that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from confluent_kafka import Producer

from engine.kafka.settings import KafkaSettings
from engine.kafka.source import KafkaCommandSource
from engine.kafka.topics import TopicAdmin
from tests.integration.auditor import PATIENCE_SECONDS
from tests.integration.conftest import StartBroker, freeze

ALL = {0, 1}


def poll_until(source: KafkaCommandSource, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        source.poll(10)


def test_an_ingress_begins_again_when_kafka_answers_again(start_broker: StartBroker) -> None:
    broker = start_broker()
    settings = KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers, app="outage", partitions=len(ALL), is_dev=True
    )
    TopicAdmin(settings).apply()
    source = KafkaCommandSource(settings, "topic-id")
    poll_until(source, lambda: source.assignment().keys() == ALL)
    before = source.assignment()

    pid = freeze(broker)
    source.restart()
    # Nobody answers: this takes until the request's time is over, and comes to nothing.
    source.poll(10)
    assert not source.assignment()
    os.kill(pid, signal.SIGCONT)

    poll_until(source, lambda: source.assignment().keys() == ALL)
    assert min(source.assignment().values()) > max(before.values())
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for partition in ALL:
        producer.produce("wf.outage.commands", b"after", partition=partition)
    assert producer.flush(PATIENCE_SECONDS) == 0
    read: list[bytes | None] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(read) < len(ALL):
        assert time.monotonic() < deadline, f"expected a record of each partition, but read {read}"
        read += [record.value for record in source.poll(10)]
    assert read == [b"after"] * len(ALL)
    source.close()
