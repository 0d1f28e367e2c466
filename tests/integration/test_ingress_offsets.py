"""A group offset that Kafka refused once is committed again: nobody may wait for the next record with it."""

from __future__ import annotations

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from engine.kafka.settings import KafkaSettings, open_admin
from engine.kafka.source import KafkaCommandSource
from engine.kafka.topics import TopicAdmin
from tests.integration.test_ingress_outage import poll_until

TOPIC = "wf.refused.commands"
METADATA_BYTES_MAX = 4_096


def committed(admin: AdminClient) -> int:
    asked = ConsumerGroupTopicPartitions("wf.refused.ingress", [TopicPartition(TOPIC, 0)])
    answer = admin.list_consumer_group_offsets([asked])["wf.refused.ingress"].result()
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
    poll_until(source, lambda: committed(admin) == 7)
    assert not source.is_behind
    source.close()
