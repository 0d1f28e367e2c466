"""Where partitions begin and end. Asks again where a change of leaders is in the way."""

import time

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # exported, not declared

from engine.kafka.errors import PASSING_CODES, error_of
from engine.kafka.topics import refresh_leaders

PASSING_S = 0.05
# _NOENT is what the client says where it knows of no leader.
LEADERLESS_CODES = PASSING_CODES | {KafkaError._NOENT}


def list_offsets(
    admin: AdminClient,
    topic: str,
    asked: dict[int, OffsetSpec],
    isolation: IsolationLevel,
    timeout_ms: int,
) -> dict[int, int]:
    """The offsets that are `asked` for, by partition. Raises KafkaException when the time is over."""
    timeout = timeout_ms / 1000
    deadline = time.monotonic() + timeout
    places = {TopicPartition(topic, partition): spec for partition, spec in asked.items()}
    while True:
        try:
            return _ask(admin, places, isolation, timeout)
        except KafkaException as problem:
            # The client goes by the leaders and epochs that it remembers. Where they are no more, or where it
            # remembers that there was none, it looks for no newer ones by itself until its metadata expires,
            # in five minutes.
            refresh_leaders(admin, topic, timeout)
            if error_of(problem).code() not in LEADERLESS_CODES or time.monotonic() > deadline:
                raise
        time.sleep(PASSING_S)


def _ask(
    admin: AdminClient, places: dict[TopicPartition, OffsetSpec], isolation: IsolationLevel, timeout: float
) -> dict[int, int]:
    futures = admin.list_offsets(places, isolation_level=isolation, request_timeout=timeout)
    found = {place.partition: future.result().offset for place, future in futures.items()}
    if min(found.values(), default=0) < 0:
        # So librdkafka answers, without any error, while a partition changes its leader. Taken for an offset,
        # it says that the partition is empty: a claim would begin anew, or find the log damaged.
        raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
    return found
