"""A client's connection to Kafka. It belongs to no group, and writes to `commands` alone, but for replays."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from functools import cached_property

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # exported, not declared

from engine.client.connection import OnPublished, Ownership, TopicIds
from engine.client.errors import UnreachableError, faults_made_public
from engine.client.lone import LonePublisher
from engine.client.publisher import Publisher
from engine.client.replaying import KafkaReplayer
from engine.codec.topics import replies_partition, topics_of
from engine.errors import ConfigurationError
from engine.kafka.clients import CLIENTS, WatchedConsumer
from engine.kafka.errors import fault_of
from engine.kafka.membership import close_aside, partition_owners
from engine.kafka.offsets import list_offsets
from engine.kafka.reader import BATCH_RECORDS, message_is_good, read_range, reading, record_of
from engine.kafka.settings import KafkaSettings, check_properties, open_admin
from engine.kafka.topics import topic_ids, unreachable
from engine.partition.ports import Headers, Record

VISIBLE_WAIT_S = 30.0
VISIBLE_LOOK_S = 0.05


class KafkaConnection:
    """Implements `Connection`."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises UnreachableError, and ConfigurationError where the app's topics do not exist."""
        check_properties(settings.extra, settings.config)
        self._settings = settings
        self._topics = topics_of(settings.namespace, settings.app)
        self._admin = open_admin(settings)
        names = {self._topics.commands, self._topics.history, self._topics.deadletter}
        self._partitions = self._count_partitions(names)
        self._publisher = Publisher(settings, self._topics.commands)
        CLIENTS.begin()

    @property
    def partitions(self) -> int:
        """See the port."""
        return self._partitions[self._topics.history]

    def publish(self, key: bytes, value: bytes, on_done: OnPublished) -> None:
        """See the port."""
        self._publisher.publish(key, value, on_done)

    def publish_lone(self, key: bytes, value: bytes, headers: Headers) -> "Future[None]":
        """See the port."""
        return self._lone.publish(key, value, headers)

    @cached_property
    def _lone(self) -> LonePublisher:
        # Of all clients only a gateway has need of it.
        return LonePublisher(self._settings, self._topics.commands)

    def topic_ids(self) -> TopicIds:
        """See the port."""
        commands, history = self._topics.commands, self._topics.history
        try:
            found = topic_ids(self._admin, [commands, history], self._settings.request_timeout_ms)
        except KafkaException as problem:
            # It may be lost, as watched clients may be; nobody polls this one.
            self._admin = open_admin(self._settings)
            raise UnreachableError(str(fault_of(problem, "read the topics' ids"))) from problem
        return TopicIds(commands=found[commands], history=found[history])

    def ends(self) -> dict[int, int]:
        """See the port."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._offsets(self._topics.history, latest)

    def read_history(self, partition: int, start: int) -> Iterator[list[Record]]:
        """See the port."""
        return self._read(self._topics.history, partition, start)

    def open_tail(self) -> "KafkaTail":
        """See the port."""
        return KafkaTail(self._settings, self._topics.history)

    def read_dead_letters(self) -> Iterator[list[Record]]:
        """See the port."""
        for partition in range(self._partitions[self._topics.deadletter]):
            yield from self._read(self._topics.deadletter, partition, 0)

    def open_replayer(self) -> KafkaReplayer:
        """See the port."""
        replayer = KafkaReplayer(self._settings, self._topics)
        try:
            self._await_visible()
        except BaseException:
            replayer.close()
            raise
        return replayer

    def _await_visible(self) -> None:
        """Waits until no open transaction hides what is written of the dead letters by now."""
        topic, latest = self._topics.deadletter, OffsetSpec.latest()  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + VISIBLE_WAIT_S
        written = self._offsets(topic, latest, isolation=IsolationLevel.READ_UNCOMMITTED)
        while True:
            visible = self._offsets(topic, latest)
            if all(visible[number] >= end for number, end in written.items()):
                return
            if time.monotonic() > deadline:
                message = (
                    f"expected all of {topic} to be committed within {VISIBLE_WAIT_S:.0f} "
                    "s, but an open transaction hides some of it; try again when it is over"
                )
                raise UnreachableError(message)
            time.sleep(VISIBLE_LOOK_S)

    def ownership(self) -> dict[int, Ownership]:
        """See the port."""
        latest, earliest = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        inbox, count = self._topics.inbox, self.partitions
        try:
            owners = partition_owners(self._settings, inbox)
            timeout_ms, isolation = self._settings.request_timeout_ms, IsolationLevel.READ_UNCOMMITTED
            starts, ends = (
                list_offsets(self._admin, inbox, dict.fromkeys(range(count), spec), isolation, timeout_ms)
                for spec in (earliest, latest)
            )
        except KafkaException as problem:
            raise UnreachableError(str(fault_of(problem, "read who owns what"))) from problem
        return {
            number: Ownership(owner=owners.get(number), inbox_start=starts[number], inbox_end=ends[number])
            for number in range(count)
        }

    def reply_ends(self, requester: str) -> dict[int, int]:
        """See the port."""
        topic = self._topics.replies
        if topic not in self._partitions:
            # Only who asks for replies has need of them, and older workers made no such topic.
            self._partitions |= self._count_partitions({topic})
        partition = replies_partition(requester, self._partitions[topic])
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._offsets(topic, latest, [partition])

    def open_reply_tail(self) -> "KafkaTail":
        """See the port."""
        return KafkaTail(self._settings, self._topics.replies)

    def close(self) -> None:
        """See the port."""
        self._publisher.close()
        if "_lone" in vars(self):
            self._lone.close()

    def _count_partitions(self, names: set[str]) -> dict[str, int]:
        timeout = self._settings.request_timeout_ms / 1000
        try:
            topics = self._admin.list_topics(timeout=timeout).topics
        except KafkaException as problem:
            raise UnreachableError(str(unreachable(problem, self._settings.bootstrap_servers))) from problem
        missing = sorted(names - topics.keys())
        if missing:
            app = self._settings.app
            message = (
                f"expected the topics of app {app!r} at {self._settings.bootstrap_servers}, but "
                f"{', '.join(missing)} do not exist; 'engine topics apply --app {app}' creates them"
            )
            raise ConfigurationError(message)
        return {name: len(topics[name].partitions) for name in names}

    def _offsets(
        self,
        topic: str,
        spec: OffsetSpec,
        partitions: Iterable[int] | None = None,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[int, int]:
        """By partition. The committed end is where the first open transaction begins."""
        asked = dict.fromkeys(range(self._partitions[topic]) if partitions is None else partitions, spec)
        try:
            return list_offsets(self._admin, topic, asked, isolation, self._settings.request_timeout_ms)
        except KafkaException as problem:
            self._admin = open_admin(self._settings)
            raise UnreachableError(str(fault_of(problem, f"list offsets of {topic}"))) from problem

    def _read(self, topic: str, partition: int, start: int) -> Iterator[list[Record]]:
        earliest = self._offsets(topic, OffsetSpec.earliest())[partition]  # type: ignore[no-untyped-call]
        latest = self._offsets(topic, OffsetSpec.latest())[partition]  # type: ignore[no-untyped-call]
        with faults_made_public():
            yield from read_range(self._settings, topic, partition, (max(start, earliest), latest))


class KafkaTail:
    """Implements `Tail`."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._starts: dict[int, int] = {}
        self.is_down = False
        self._consumer = self._open()

    def _open(self) -> WatchedConsumer:
        settings = reading(f"{self._topic}.tail", committed=True)
        return CLIENTS.consumer(self._settings, self._topic, error_cb=self._on_error, **settings)

    def follow(self, positions: dict[int, int]) -> None:
        """See the port."""
        self._assign(positions)
        self._starts |= positions

    def _assign(self, positions: dict[int, int]) -> None:
        places = [TopicPartition(self._topic, partition, offset) for partition, offset in positions.items()]
        self._consumer.incremental_assign(places)

    def poll(self, timeout_ms: int) -> list[Record]:
        """See the port."""
        if self._consumer.vitals.is_lost:
            self._replace()
        first = self._consumer.poll(timeout_ms / 1000)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(BATCH_RECORDS, 0)]
        return [record_of(each) for each in messages if each.error() is None or message_is_good(each)]

    def positions(self) -> dict[int, int]:
        """See the port. Markers and aborted records are passed too, and return nothing."""
        places = [TopicPartition(self._topic, partition) for partition in self._starts]
        found = {place.partition: place.offset for place in self._consumer.position(places)}
        return {number: max(found[number], start) for number, start in self._starts.items()}

    def close(self) -> None:
        """See the port."""
        self._consumer.close()

    def _replace(self) -> None:
        positions = self.positions()
        close_aside(self._consumer)
        self._consumer = self._open()
        self._assign(positions)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.is_down = True
