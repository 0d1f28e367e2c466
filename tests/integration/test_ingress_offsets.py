"""A group offset that Kafka refused once is committed again: nobody may wait for the next record with it."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from engine.kafka.membership import Membership
from engine.kafka.settings import KafkaSettings, open_admin
from engine.kafka.source import KafkaCommandSource
from engine.kafka.topics import TopicAdmin
from tests.integration.auditor import PATIENCE_SECONDS
from tests.integration.test_ingress_outage import poll_until

TOPIC = "wf.refused.commands"
METADATA_BYTES_MAX = 4_096


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"


def committed(admin: AdminClient, group: str, asked: TopicPartition) -> int:
    answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [asked])])[group].result()
    (place,) = answer.topic_partitions
    assert isinstance(place.offset, int)
    return place.offset


def test_a_refused_group_offset_is_committed_again(bootstrap_servers: str) -> None:
    settings = KafkaSettings(bootstrap_servers=bootstrap_servers, app="refused", partitions=1, is_dev=True)
    TopicAdmin(settings).apply()
    admin = open_admin(settings)
    source = KafkaCommandSource(settings, "topic-id")
    poll_until(source, lambda: 0 in source.assignment())
    topic_id = source.topic_id

    # No rebalance can be made to cross a commit at will; a metadata too long is refused just so.
    source.topic_id = "x" * (METADATA_BYTES_MAX + 1)
    source.commit({0: 7})
    poll_until(source, lambda: source.is_behind)
    source.topic_id = topic_id
    poll_until(source, lambda: committed(admin, "wf.refused.ingress", TopicPartition(TOPIC, 0)) == 7)
    assert not source.is_behind
    source.close()


def test_an_owner_s_refused_group_offset_is_committed_again(bootstrap_servers: str) -> None:
    settings = KafkaSettings(bootstrap_servers=bootstrap_servers, app="owners", partitions=1, is_dev=True)
    TopicAdmin(settings).apply()
    admin = open_admin(settings)
    membership = Membership(settings, "wf.owners.inbox", "wf.owners.owners")
    wait_until(lambda: membership.assignment() == {0})

    place = TopicPartition("wf.owners.inbox", 0)
    # The first is said twice at once; from then on a refusal shows before everything is said again.
    membership.report({0: 6})
    wait_until(lambda: membership.assignment() == {0} and committed(admin, "wf.owners.owners", place) == 6)

    membership._offsets.commit(membership._consumer, {0: 7}, "x" * (METADATA_BYTES_MAX + 1))
    # Told once more, as owners do every second: what was said is not said again for that.
    membership.report({0: 7})
    wait_until(lambda: membership.assignment() == {0} and membership._offsets.is_behind)
    wait_until(lambda: membership.assignment() == {0} and committed(admin, "wf.owners.owners", place) == 7)
    membership.leave()
