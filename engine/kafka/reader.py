"""Bounded reads: from an offset to an offset, whatever markers, aborted records and gaps lie between."""

import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from engine.errors import LogUnavailableFault
from engine.kafka.errors import fault_of, is_final
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Record

BATCH_RECORDS = 5_000
STALL_SECONDS = 30.0


def reading(group: str, *, committed: bool) -> dict[str, Any]:
    """The settings of a consumer without a group's doings, tuned so that neither end waits for the other."""
    return {
        "group_id": group,
        "enable_auto_commit": False,
        "enable_auto_offset_store": False,
        "auto_offset_reset": "error",
        "isolation_level": "read_committed" if committed else "read_uncommitted",
        # Defaults of a second here and half a second there are the two latency traps of this client.
        "fetch_queue_backoff_ms": 5,
        "fetch_wait_max_ms": 50,
    }


def read_range(
    settings: KafkaSettings, topic: str, partition: int, bounds: tuple[int, int]
) -> Iterator[list[Record]]:
    """Committed records of [start, end), in batches. Raises LogUnavailableFault when nothing moves for 30 s.

    The end is reached by position, not by a record: the last offsets may be markers or aborted.
    """
    start, end = bounds
    if start >= end:
        return
    # A consumer of its own for every read: a used one would first sit out its long poll at the old place.
    consumer = Consumer(settings.client(**reading(f"{topic}.read", committed=True)))
    try:
        consumer.assign([TopicPartition(topic, partition, start)])
        yield from _until(consumer, TopicPartition(topic, partition), end)
    except KafkaException as problem:
        raise fault_of(problem, f"read {topic}/{partition}") from problem
    finally:
        consumer.close()


def _until(consumer: Consumer, place: TopicPartition, end: int) -> Iterator[list[Record]]:
    moved_at, position = time.monotonic(), -1
    while True:
        first = consumer.poll(0.01)
        messages = [first] if first is not None else []
        messages += consumer.consume(BATCH_RECORDS, 0)
        records = [record_of(message) for message in messages if message_is_good(message)]
        inside = [record for record in records if record.offset < end]
        if inside:
            yield inside
        now_at = consumer.position([place])[0].offset
        if now_at >= end:
            return
        if now_at != position:
            moved_at, position = time.monotonic(), now_at
        elif time.monotonic() - moved_at > STALL_SECONDS:
            message = (
                f"{place.topic}/{place.partition} stays at {position} below {end}: an open transaction or an "
                "unreachable leader holds it"
            )
            raise LogUnavailableFault(message)


def message_is_good(message: Message, *, joining: str = "") -> bool:
    """Whether it is a record. `joining` is what a member of a group does when it joins that.

    Raises the fault for an error that matters; passing ones are librdkafka's to retry.
    """
    error = message.error()
    if error is None:
        return True
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED and not joining:
        # librdkafka looks for the coordinator of every consumer's group. Who reads by assignment needs none.
        return False
    topic = message.topic()
    doing = joining or "consume" if topic is None else f"consume {topic}/{message.partition()}"
    fault = fault_of(error, doing)
    if isinstance(fault, LogUnavailableFault) and not is_final(error):
        return False
    raise fault


def record_of(message: Message) -> Record:
    """The port's form of a message."""
    headers: Any = message.headers()
    return Record(
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key() or b"",
        message.value(),
        # A header without a value is legal in Kafka, and an outsider may send one.
        tuple((name, value or b"") for name, value in headers) if headers else (),
    )
