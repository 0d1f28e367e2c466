"""The Kafka that other tests build on: does it keep, commit, compact and survive?"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ops.kafka.cluster import KafkaCluster

PATIENCE_SECONDS = 120.0


def ignore_connection_errors(_error: KafkaError) -> None:
    """A client whose broker is restarted on purpose would otherwise print every refused connection."""


def new_topic(bootstrap_servers: str, partitions: int = 1, replicas: int = 1, **config: str) -> str:
    topic = f"local-kafka-{uuid.uuid4().hex[:8]}"
    settings = {name.replace("_", "."): value for name, value in config.items()}
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    created = admin.create_topics([NewTopic(topic, partitions, replicas, config=settings)])
    created[topic].result(PATIENCE_SECONDS)
    return topic


def produce(bootstrap_servers: str, topic: str, *records: tuple[bytes, bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "error_cb": ignore_connection_errors})
    for key, value in records:
        producer.produce(topic, value, key)
    assert producer.flush(PATIENCE_SECONDS) == 0


def read_until(
    bootstrap_servers: str,
    topic: str,
    is_enough: Callable[[list[Message]], bool],
    isolation: str = "read_committed",
) -> list[Message]:
    """Records from the topic's start up to where they are enough; fails after PATIENCE_SECONDS."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "error_cb": ignore_connection_errors,
        }
    )
    consumer.subscribe([topic])
    records: list[Message] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not is_enough(records):
            assert time.monotonic() < deadline, [record.value() for record in records]
            record = consumer.poll(1.0)
            if record is not None and record.error() is None:
                records.append(record)
    finally:
        consumer.close()
    return records


def count_of(expected: int) -> Callable[[list[Message]], bool]:
    return lambda records: len(records) == expected


def ends_with_key(key: bytes) -> Callable[[list[Message]], bool]:
    return lambda records: bool(records) and records[-1].key() == key


def values(records: list[Message]) -> list[bytes | None]:
    return [record.value() for record in records]


def test_what_is_produced_is_consumed(bootstrap_servers: str) -> None:
    topic = new_topic(bootstrap_servers)
    produce(bootstrap_servers, topic, (b"a", b"1"), (b"b", b"2"))
    records = read_until(bootstrap_servers, topic, count_of(2))
    assert values(records) == [b"1", b"2"]


def test_a_reader_of_committed_records_never_sees_an_aborted_one(bootstrap_servers: str) -> None:
    topic = new_topic(bootstrap_servers)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(PATIENCE_SECONDS)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(PATIENCE_SECONDS)
    producer.abort_transaction(PATIENCE_SECONDS)
    producer.begin_transaction()
    producer.produce(topic, b"committed")
    producer.commit_transaction(PATIENCE_SECONDS)
    committed = read_until(bootstrap_servers, topic, count_of(1))
    everything = read_until(bootstrap_servers, topic, count_of(2), "read_uncommitted")
    assert values(committed) == [b"committed"]
    assert values(everything) == [b"aborted", b"committed"]


def test_a_topic_that_asks_for_it_is_compacted_within_seconds(bootstrap_servers: str) -> None:
    topic = new_topic(
        bootstrap_servers,
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.001",
        max_compaction_lag_ms="1",
    )
    produce(bootstrap_servers, topic, (b"key", b"old"), (b"key", b"new"))
    deadline = time.monotonic() + PATIENCE_SECONDS
    found: list[bytes | None] = [b"old"]
    while b"old" in found:
        assert time.monotonic() < deadline, "never compacted"
        # A segment is rolled only by a later append, and only a rolled one is compacted.
        produce(bootstrap_servers, topic, (b"last", uuid.uuid4().bytes))
        found = values(read_until(bootstrap_servers, topic, ends_with_key(b"last")))
    assert b"new" in found


def test_no_topic_appears_by_being_written_to(bootstrap_servers: str) -> None:
    errors: list[KafkaError | None] = []
    # For so long librdkafka hopes that an unknown topic is merely new: 30 s if not told otherwise.
    hope = {"topic.metadata.propagation.max.ms": 1000}
    producer = Producer({"bootstrap.servers": bootstrap_servers, **hope})
    producer.produce("never-created", b"value", on_delivery=lambda error, _record: errors.append(error))
    assert producer.flush(PATIENCE_SECONDS) == 0
    assert [error.code() for error in errors if error is not None] == [KafkaError.UNKNOWN_TOPIC_OR_PART]


@pytest.mark.usefixtures("kafka_distribution")
def test_data_and_port_survive_a_restart_and_a_crash(tmp_path: Path) -> None:
    with KafkaCluster(tmp_path) as cluster:
        address = cluster.bootstrap_servers
        topic = new_topic(address)
        produce(address, topic, (b"", b"before the restart"))
        cluster.brokers[0].restart()
        produce(address, topic, (b"", b"before the crash"))
        cluster.brokers[0].kill()
        assert cluster.brokers[0].pid is None
        cluster.brokers[0].start()
        assert cluster.bootstrap_servers == address
        records = read_until(address, topic, count_of(2))
        assert values(records) == [b"before the restart", b"before the crash"]
    assert cluster.brokers[0].pid is None


@pytest.mark.usefixtures("kafka_distribution")
def test_three_brokers_keep_serving_while_one_is_dead(tmp_path: Path) -> None:
    cluster = KafkaCluster(tmp_path, 3)
    try:
        cluster.start()
        topic = new_topic(cluster.bootstrap_servers, replicas=3)
        produce(cluster.bootstrap_servers, topic, (b"", b"all alive"))
        cluster.brokers[0].kill()
        produce(cluster.bootstrap_servers, topic, (b"", b"one dead"))
        cluster.brokers[0].start()
        records = read_until(cluster.brokers[0].bootstrap_servers, topic, count_of(2))
        assert values(records) == [b"all alive", b"one dead"]
    finally:
        cluster.kill()
