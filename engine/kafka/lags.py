"""Reads where the topics end and how far the ingress's group is: a few requests, by clients of its own."""

from collections.abc import Iterable

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # exported, not declared

from engine.codec.topics import topics_of
from engine.kafka.errors import fault_of
from engine.kafka.membership import ingress_group
from engine.kafka.offsets import list_offsets
from engine.kafka.reader import read_range
from engine.kafka.settings import KafkaSettings, open_admin
from engine.partition.ports import CommandsEnd, Ends


class KafkaLags:
    """Implements `LagSource`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topics = topics_of(settings.namespace, settings.app)
        self._group = ingress_group(settings)
        self._admin = open_admin(settings)
        # Asks for the group's offsets as its members do, without being one. An admin client that has once
        # waited in vain for a group's coordinator never hears of it again, or ends the process as it does.
        self._reader = Consumer(settings.client(group_id=self._group, enable_auto_commit=False))
        # Stretches of commands found to hold no record, by partition: looked at once.
        self._empty: dict[int, tuple[int, int]] = {}

    def read(self, commands: Iterable[int], inbox: Iterable[int]) -> Ends:
        """See the port."""
        try:
            return Ends(self._commands(list(commands)), self._ends(self._topics.inbox, list(inbox)))
        except KafkaException as problem:
            raise fault_of(problem, "read the lags") from problem

    def _commands(self, partitions: list[int]) -> dict[int, CommandsEnd]:
        topic = self._topics.commands
        done = self._done(partitions)
        stable = self._ends(topic, partitions, IsolationLevel.READ_COMMITTED)
        # Asked for last, so that it is never the smaller: what came between looks like a transaction, but
        # only until the next sample.
        ends = self._ends(topic, partitions)
        return {
            each: CommandsEnd(self._passed(each, done[each], stable[each]), stable[each], ends[each])
            for each in partitions
        }

    def _ends(
        self,
        topic: str,
        partitions: list[int],
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[int, int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._offsets(topic, partitions, latest, isolation)

    def _offsets(
        self, topic: str, partitions: list[int], spec: OffsetSpec, isolation: IsolationLevel
    ) -> dict[int, int]:
        if not partitions:
            return {}
        timeout_ms = self._settings.request_timeout_ms
        return list_offsets(self._admin, topic, dict.fromkeys(partitions, spec), isolation, timeout_ms)

    def _done(self, partitions: list[int]) -> dict[int, int]:
        """How far the group is; where it never was, the begin of the partition."""
        if not partitions:
            return {}
        topic = self._topics.commands
        places = [TopicPartition(topic, partition) for partition in partitions]
        found = self._reader.committed(places, timeout=self._settings.request_timeout_ms / 1000)
        known = {place.partition: place.offset for place in found if place.offset >= 0}
        unknown = [partition for partition in partitions if partition not in known]
        earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        return known | self._offsets(topic, unknown, earliest, IsolationLevel.READ_UNCOMMITTED)

    def _passed(self, partition: int, done: int, stable: int) -> int:
        """How far the group is, past what is no record: the end of a transaction takes an offset too."""
        if done >= stable:
            return done
        if self._empty.get(partition) == (done, stable):
            return stable
        for _ in read_range(self._settings, self._topics.commands, partition, (done, stable)):
            return done
        self._empty[partition] = (done, stable)
        return stable
