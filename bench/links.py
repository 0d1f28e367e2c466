"""The leanest way to a log: publish commands, and read committed history as it grows.

One producer and one read_committed consumer on Kafka; two SQLite connections on the embedded log.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from engine.codec.topics import Topics, topics_of
from engine.embedded.client import EmbeddedClientLog

BATCH_RECORDS = 5_000
FLUSH_SECONDS = 10.0
READ_RECORDS = 2_000

Pair = tuple[bytes, bytes | None]


@dataclass(frozen=True)
class KafkaPlace:
    """An app on Kafka."""

    bootstrap_servers: str
    app: str
    partitions: int
    namespace: str = "wf"

    @property
    def topics(self) -> Topics:
        """The names of its topics."""
        return topics_of(self.namespace, self.app)


@dataclass(frozen=True)
class EmbeddedPlace:
    """An app on the embedded log."""

    directory: Path


Place = KafkaPlace | EmbeddedPlace


class Link(ABC):
    """One connection; one thread uses it."""

    @abstractmethod
    def publish(self, key: bytes, value: bytes) -> None:
        """Appends to `commands`; durable at the latest after `flush`. Raises where an append failed."""

    @abstractmethod
    def flush(self) -> None:
        """Returns when all that was published is durable."""

    @abstractmethod
    def poll(self, seconds: float) -> list[Pair]:
        """What was committed to history since the last call; [] where nothing came in time."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything."""


def producer(place: KafkaPlace, **settings: Any) -> Producer:
    """A producer with acks=all that doesn't wait for company unless told to."""
    config = {
        "bootstrap.servers": place.bootstrap_servers,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 0,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 512_000,
    }
    return Producer(config | {name.replace("_", "."): value for name, value in settings.items()})


def consumer(place: KafkaPlace, *, committed: bool) -> Consumer:
    """A consumer without a group, tuned so that no record waits in the client or the broker."""
    return Consumer(
        {
            "bootstrap.servers": place.bootstrap_servers,
            "group.id": f"bench.{place.app}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "fetch.queue.backoff.ms": 5,
            "fetch.wait.max.ms": 50,
        }
    )


def follow_end(reader: Consumer, topic: str, partitions: int) -> None:
    """Assigns all partitions from where they end now."""
    places = []
    for partition in range(partitions):
        place = TopicPartition(topic, partition)
        place.offset = reader.get_watermark_offsets(place, timeout=30)[1]
        places.append(place)
    reader.assign(places)


def drain(reader: Consumer, seconds: float) -> list[Any]:
    """The messages that are there, waiting for the first one."""
    first = reader.poll(seconds)
    if first is None:
        return []
    messages = [first, *reader.consume(BATCH_RECORDS, 0)]
    for message in messages:
        error = message.error()
        if error is not None and (error.fatal() or not error.retriable()):
            raise KafkaException(error)
    return [message for message in messages if message.error() is None]


class KafkaLink(Link):
    """On Kafka."""

    def __init__(self, place: KafkaPlace) -> None:
        self._topic = place.topics.commands
        self._producer = producer(place)
        self._consumer = consumer(place, committed=True)
        follow_end(self._consumer, place.topics.history, place.partitions)
        self._failure: KafkaError | None = None

    def publish(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def flush(self) -> None:
        if self._producer.flush(FLUSH_SECONDS):
            raise TimeoutError(f"not all commands were acknowledged in {FLUSH_SECONDS} s")
        self._check()

    def poll(self, seconds: float) -> list[Pair]:
        self._producer.poll(0)
        self._check()
        return [(message.key(), message.value()) for message in drain(self._consumer, seconds)]

    def close(self) -> None:
        self._producer.flush(FLUSH_SECONDS)
        self._consumer.close()

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        self._failure = error or self._failure

    def _check(self) -> None:
        if self._failure is not None:
            raise KafkaException(self._failure)


class EmbeddedLink(Link):
    """On the embedded log, from another process than the worker's."""

    def __init__(self, place: EmbeddedPlace) -> None:
        self._log = EmbeddedClientLog(place.directory)
        self._positions = self._log.end_offsets("history")

    def publish(self, key: bytes, value: bytes) -> None:
        self._log.publish(key, value)

    def flush(self) -> None:
        """Each was durable when it was published."""

    def poll(self, seconds: float) -> list[Pair]:
        found = self._read()
        if not found and self._log.wait_for_change(round(seconds * 1000)):
            found = self._read()
        return found

    def close(self) -> None:
        self._log.close()

    def _read(self) -> list[Pair]:
        found: list[Pair] = []
        for partition, position in self._positions.items():
            records = self._log.read_topic("history", partition, position, READ_RECORDS)
            if records:
                self._positions[partition] = records[-1].offset + 1
                found += [(record.key, record.value) for record in records]
        return found


def open_link(place: Place) -> Link:
    """A link to either log."""
    return KafkaLink(place) if isinstance(place, KafkaPlace) else EmbeddedLink(place)
