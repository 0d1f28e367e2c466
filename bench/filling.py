"""Fills one partition with instances that never ran, in the engine's own formats: for restores only.

The core derives the history of one run; every other one is the same bytes with another instance and run id.
They go through a transactional producer (Kafka), or the embedded log's own port, 20,000 events a transaction,
each ended by a checkpoint that is true: count and sum of all records, and the one inbox record that was
"processed last", which is appended first. So a restore checks all that it always checks.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future

from confluent_kafka import Message

from bench.links import EmbeddedPlace, KafkaPlace, Place, producer
from bench.records import HISTORY, Pair, script_of
from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY, partition_of
from engine.core.apply import key_digest
from engine.core.values import encode_value
from engine.embedded import EmbeddedLog
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin
from engine.model.checkpoint import Checkpoint
from engine.model.commands import StartInstance
from engine.partition.batch import digest_of_record
from engine.partition.ports import Append, Appended, Commit, Committed, Record

PARTITION = 0
EVENTS_PER_COMMIT = 20_000
SEND_SECONDS = 60.0
TEMPLATE_ID = "filled-00000000"
SUM_BYTES = 8


def ids(count: int, partitions: int) -> Iterator[str]:
    """Instances of partition 0, all of one length."""
    number = found = 0
    while found < count:
        instance_id = f"filled-{number:08d}"
        number += 1
        if partition_of.__wrapped__(instance_id, partitions) == PARTITION:
            found += 1
            yield instance_id


def fill(place: Place, workflow: str, value: object, count: int) -> float:
    """Puts `count` instances into partition 0, as far as they come by themselves; the seconds."""
    began = time.monotonic()
    target: _Target = _KafkaTarget(place) if isinstance(place, KafkaPlace) else _EmbeddedTarget(place)
    try:
        _fill(target, workflow, value, count)
    finally:
        target.close()
    return time.monotonic() - began


def _fill(target: "_Target", workflow: str, value: object, count: int) -> None:
    payload = encode_value(value, "the input")
    first = StartInstance(instance_id=TEMPLATE_ID, workflow=workflow, input=payload)
    last = target.append(TEMPLATE_ID.encode(), avro.encode_command(first))
    steps = script_of(workflow, value, instance_id=TEMPLATE_ID).steps
    template = [record for step in steps if step.topic == HISTORY for record in step.records]
    template_id, template_run = template[0][0].split(b"|")[:2]
    records: list[Pair] = []
    total = events = batch = 0
    for number, instance_id in enumerate(ids(count, target.partitions)):
        new_id, new_run = instance_id.encode(), b"%016x" % number
        for template_key, template_value in template:
            key = template_key.replace(template_id, new_id).replace(template_run, new_run)
            written = template_value.replace(template_id, new_id).replace(template_run, new_run)
            total += key_digest(key, written)
            records.append((key, written))
        events += len(template)
        if len(records) >= EVENTS_PER_COMMIT or number == count - 1:
            batch += 1
            target.commit(records, _checkpoint(target, last, batch, (events, total, len(records))))
            records = []


def _checkpoint(target: "_Target", last: Record, batch: int, sums: tuple[int, int, int]) -> bytes:
    events, total, records = sums
    return avro.encode_checkpoint(
        Checkpoint(
            epoch=1,
            batch=batch,
            records=records + 1,
            inbox_topic_id=target.inbox_topic_id,
            offset=last.offset,
            timestamp_ms=last.timestamp_ms,
            digest=digest_of_record(last),
            uncommitted_records_max=20_000,
            key_count=events,
            key_sum=total.to_bytes(SUM_BYTES, "big"),
        )
    )


class _Target(ABC):
    """A log without owners."""

    inbox_topic_id: str
    partitions: int

    @abstractmethod
    def append(self, key: bytes, value: bytes) -> Record:
        """To the inbox; the record as it is there."""

    @abstractmethod
    def commit(self, records: list[Pair], checkpoint: bytes) -> None:
        """One transaction."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything."""


class _KafkaTarget(_Target):
    def __init__(self, place: KafkaPlace) -> None:
        settings = KafkaSettings(
            bootstrap_servers=place.bootstrap_servers,
            app=place.app,
            namespace=place.namespace,
            partitions=place.partitions,
            is_dev=True,
        )
        admin = TopicAdmin(settings)
        admin.apply()
        self.inbox_topic_id = admin.identity().inbox_topic_id
        self.partitions = place.partitions
        self._place = place
        self._producer = producer(place, transactional_id=f"{place.app}-filling", linger_ms=5)
        self._producer.init_transactions(SEND_SECONDS)

    def append(self, key: bytes, value: bytes) -> Record:
        appended: list[Message] = []
        writer = producer(self._place)
        writer.produce(
            self._place.topics.inbox, value, key, PARTITION, lambda _, message: appended.append(message)
        )
        writer.flush(SEND_SECONDS)
        return Record(PARTITION, appended[0].offset() or 0, appended[0].timestamp()[1], key, value)

    def commit(self, records: list[Pair], checkpoint: bytes) -> None:
        writer, topic = self._producer, self._place.topics.history
        writer.begin_transaction()
        for key, value in records:
            writer.produce(topic, value, key, PARTITION)
        writer.produce(topic, checkpoint, CHECKPOINT_KEY, PARTITION)
        writer.commit_transaction(SEND_SECONDS)

    def close(self) -> None:
        self._producer.flush(SEND_SECONDS)


class _EmbeddedTarget(_Target):
    def __init__(self, place: EmbeddedPlace) -> None:
        self._log = EmbeddedLog(place.directory)
        self.inbox_topic_id = self._log.identity.inbox_topic_id
        self.partitions = self._log.identity.partitions
        self._claim = self._log.claim(PARTITION)

    def append(self, key: bytes, value: bytes) -> Record:
        appended: Future[Appended] = Future()
        self._log.append(Append(PARTITION, key, value), appended.set_result)
        while not appended.done():
            self._log.poll(1)
            self._log.commit_results()
        at = appended.result()
        return Record(PARTITION, at.offset, at.timestamp_ms, key, value)

    def commit(self, records: list[Pair], checkpoint: bytes) -> None:
        self._log.begin_commit(self._claim, Commit(records, checkpoint))
        while not (results := self._log.commit_results()):
            self._log.poll(1)
        assert isinstance(results[0][1], Committed), results[0][1]

    def close(self) -> None:
        self._log.close()
