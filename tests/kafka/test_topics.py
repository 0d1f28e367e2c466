"""Whether Kafka keeps transactions as safely as history is checked wherever data matters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TRANSACTION_STATE, Difference, TopicAdmin
from ops.kafka.cluster import KafkaCluster

PATIENCE_SECONDS = 120


@pytest.fixture
def servers(kafka_distribution: object, tmp_path: Path) -> Iterator[str]:
    """A broker of its own, on which nobody has begun a transaction."""
    cluster = KafkaCluster(tmp_path)
    try:
        cluster.start()
        yield cluster.bootstrap_servers
    finally:
        cluster.kill()


def begin_transactions(servers: str) -> None:
    """Which makes the topic."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": "first"})
    while True:
        try:
            producer.init_transactions(PATIENCE_SECONDS)
        except KafkaException as problem:
            if not problem.args[0].retriable():
                raise
        else:
            return


def differences(servers: str, *, is_dev: bool = False) -> list[Difference]:
    """Of what Kafka keeps for itself, for the app's own topics are not there."""
    settings = KafkaSettings(bootstrap_servers=servers, app="a", partitions=1, is_dev=is_dev)
    return [each for each in TopicAdmin(settings).check() if each.topic.startswith(("__", "broker"))]


def alter(servers: str, setting: str, value: str) -> None:
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, TRANSACTION_STATE, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers})
    admin.incremental_alter_configs([resource])[resource].result(PATIENCE_SECONDS)


def test_unsafe_transactions_are_named_before_and_after_the_first(servers: str) -> None:
    before = differences(servers)
    assert [(each.setting, each.expected, each.found) for each in before] == [
        ("transaction.state.log.min.isr", "2", "1"),
        ("transaction.state.log.replication.factor", "3", "1"),
    ]
    assert differences(servers, is_dev=True) == []

    begin_transactions(servers)
    few = Difference(TRANSACTION_STATE, "replication factor", "at least 3", "1")
    assert differences(servers) == [few, Difference(TRANSACTION_STATE, "min.insync.replicas", "2", "1")]
    alter(servers, "min.insync.replicas", "2")
    assert differences(servers) == [few]
    alter(servers, "unclean.leader.election.enable", "true")
    unclean = Difference(TRANSACTION_STATE, "unclean.leader.election.enable", "false", "true")
    assert differences(servers) == [few, unclean]
    assert str(unclean).endswith("expected unclean.leader.election.enable=false, but it is true")
    assert differences(servers, is_dev=True) == []
