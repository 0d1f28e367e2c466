"""`commands` for the ingress: read_committed, so that callers may publish inside their own transactions.

An open transaction of a caller holds back what is behind it on its partition of `commands`, and nothing else.
"""

import itertools
import logging
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from engine.codec.topics import topics_of
from engine.errors import LogDamagedFault, LogUnavailableFault
from engine.kafka.clients import CLIENTS
from engine.kafka.errors import fault_of, is_final
from engine.kafka.membership import Comeback, close_aside, ingress_group, joining
from engine.kafka.progress import GroupOffsets
from engine.kafka.reader import BATCH_RECORDS, message_is_good, record_of
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import topic_ids
from engine.partition.ports import Record

log = logging.getLogger(__name__)

TRIM_SECONDS = 5.0
HEAR_SECONDS = 1.0
SEEK_SECONDS = 0.02
ASK_SECONDS = 0.5


class KafkaCommandSource:
    """The group of ingresses of one app. One thread uses it."""

    def __init__(self, settings: KafkaSettings, topic_id: str) -> None:
        self.topic_id = topic_id
        self._settings = settings
        self._topic = topics_of(settings.namespace, settings.app).commands
        self._sessions = itertools.count(1)
        self._ours: dict[int, int] = {}
        # Given to us, but Kafka has not told yet where reading goes on.
        self._unbegun: set[int] = set()
        # Where reading went on is not there any more.
        self._gone: set[int] = set()
        self._ask_at = 0.0
        self._admin = CLIENTS.admin(settings, self._topic)
        self._offsets = GroupOffsets(self._topic)
        self._trimmable: dict[int, int] = {}
        self._trimmed_at = self._heard_at = 0.0
        self._comeback = Comeback()
        self._joining = joining(settings, ingress_group(settings))
        self._consumer = self._join()

    def _join(self) -> Consumer:
        settings = self._settings
        consumer = CLIENTS.consumer(
            settings,
            self._topic,
            group_id=ingress_group(settings),
            group_instance_id=settings.member,
            group_protocol="classic",
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            max_poll_interval_ms=settings.max_poll_interval_ms,
            isolation_level="read_committed",
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            auto_offset_reset="error",
            fetch_queue_backoff_ms=5,
            fetch_wait_max_ms=50,
            on_commit=self._offsets.told,
        )
        consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        return consumer

    def assignment(self) -> dict[int, int]:
        """See the port."""
        return dict(self._ours)

    @property
    def is_beginning(self) -> bool:
        """See the port."""
        return bool(self._unbegun)

    @property
    def is_behind(self) -> bool:
        """Whether Kafka refused an offset, and is to be told it again."""
        return self._offsets.is_behind

    def poll(self, timeout_ms: int) -> list[Record]:
        """See the port."""
        self._begin()
        self._hear()
        self._offsets.repeat(self._consumer, self.topic_id)
        first = self._consumer.poll(timeout_ms / 1000)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(BATCH_RECORDS, 0)]
        final = next((e for e in (message.error() for message in messages) if e and is_final(e)), None)
        if final is not None:
            self._join_again(final)
            return []
        records: list[Record] = []
        for message in messages:
            try:
                if message_is_good(message, joining=self._joining):
                    records.append(record_of(message))
            except LogDamagedFault as fault:
                # A group offset that is gone: the topic is another, or was trimmed by hand. What is left is
                # new to us.
                log.warning("%s; reading partition %d of commands from its start", fault, message.partition())
                # Also where reading is about to go on: a consumer that has met this reads on by no seek.
                self._gone |= (self._ours.keys() | self._unbegun) & {message.partition()}
        if self._gone:
            self.restart()
        return [record for record in records if record.partition in self._ours]

    def _hear(self) -> None:
        """Of what the admin client tells of itself, which would pile up."""
        now = time.monotonic()
        if now - self._heard_at >= HEAR_SECONDS:
            self._heard_at = now
            self._admin.poll(0)

    def _join_again(self, error: KafkaError) -> None:
        self._comeback.judge(error)
        self._ours.clear()
        self._unbegun.clear()
        self._gone.clear()
        self._forget_offsets()
        close_aside(self._consumer)
        self._consumer = self._join()

    def commit(self, positions: dict[int, int]) -> None:
        """See the port.

        The metadata names the topic, so that an offset is never used on another of the same name.
        """
        ours = {p: offset for p, offset in positions.items() if p in self._ours}
        self._offsets.commit(self._consumer, ours, self.topic_id)
        self._trim()

    def _forget_offsets(self) -> None:
        self._offsets.clear()
        self._trimmable.clear()

    def _trim(self) -> None:
        """Lets go what was committed a while ago: the newest commit is on its way, and might be lost."""
        if time.monotonic() - self._trimmed_at < TRIM_SECONDS:
            return
        self._trimmed_at = time.monotonic()
        places = [TopicPartition(self._topic, p, o) for p, o in self._trimmable.items() if p in self._ours]
        self._trimmable = self._offsets.unrefused()
        if places:
            self._admin.delete_records(places)

    def restart(self) -> None:
        """See the port."""
        self._unbegun |= self._ours.keys()
        self._ours.clear()

    def close(self) -> None:
        """Leaves the group at once, as membership does."""
        try:
            self._consumer.unsubscribe()
            for _ in range(50):
                if not self._ours:
                    break
                self._consumer.poll(0.02)
            self._consumer.poll(0.05)
            self._consumer.close()
        except KafkaException as problem:
            log.info("the ingress's group was not left, but its session ends by itself: %s", problem)

    def _begin(self) -> None:
        """Begins at the group offsets. A Kafka that can't tell them now is asked again until it can."""
        if not self._unbegun or time.monotonic() < self._ask_at:
            return
        try:
            self._name_topic()
            starts = self._starts(sorted(self._unbegun))
        except LogUnavailableFault as fault:
            log.warning("%s; asking again", fault)
            self._ask_at = time.monotonic() + ASK_SECONDS
            return
        # A pause outlasts an assignment.
        self._consumer.resume([TopicPartition(self._topic, place.partition) for place in starts])
        if self._gone:
            # A consumer that met the end of its topic reads on only if it is assigned anew.
            self._reassign(starts)
        else:
            for place in starts:
                self._seek(place)
        self._unbegun -= self._ours.keys()
        self._gone -= self._ours.keys()

    def _seek(self, place: TopicPartition) -> None:
        """Goes on there. To assign anew could pass for the answer to the group's next question."""
        try:
            self._consumer.seek(place)
        except KafkaException as problem:
            # Not yet begun to be read, or not ours any more: the next poll tries again, or knows.
            log.debug("%s/%d can't be sought yet: %s", place.topic, place.partition, problem)
            self._ask_at = time.monotonic() + SEEK_SECONDS
        else:
            self._ours[place.partition] = next(self._sessions)

    def _name_topic(self) -> None:
        """Learns the topic's id, for it may be another by now.

        Its offsets begin anew then, and owners must not take its records for those that they have.
        """
        try:
            topic_id = topic_ids(self._admin, [self._topic], self._settings.request_timeout_ms)[self._topic]
        except KafkaException as problem:
            raise fault_of(problem, f"read the id of {self._topic}") from problem
        if topic_id != self.topic_id:
            log.warning("%s was created anew: its id was %s and is %s", self._topic, self.topic_id, topic_id)
            self.topic_id = topic_id
            self._forget_offsets()

    def _starts(self, partitions: list[int]) -> list[TopicPartition]:
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        try:
            committed = self._consumer.committed(asked, timeout=self._settings.request_timeout_ms / 1000)
        except KafkaException as problem:
            raise fault_of(problem, "read the ingress's group offsets") from problem
        return [
            TopicPartition(self._topic, place.partition, place.offset)
            if place.offset >= 0 and place.metadata == self.topic_id and place.partition not in self._gone
            else TopicPartition(self._topic, place.partition, OFFSET_BEGINNING)
            for place in committed
        ]

    def _reassign(self, places: list[TopicPartition]) -> None:
        if not places:
            return
        self._consumer.incremental_unassign(
            [TopicPartition(self._topic, place.partition) for place in places]
        )
        self._consumer.incremental_assign(places)
        for place in places:
            self._ours[place.partition] = next(self._sessions)

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        # To ask where reading goes on may take long, and fail: not here, where nobody could try again.
        consumer.incremental_assign(
            [TopicPartition(self._topic, place.partition, OFFSET_BEGINNING) for place in places]
        )
        if places:
            consumer.pause(places)
        self._unbegun |= {place.partition for place in places}

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if consumer is self._consumer:
            for place in places:
                self._ours.pop(place.partition, None)
                self._offsets.forget(place.partition)
                self._trimmable.pop(place.partition, None)
                self._unbegun.discard(place.partition)
                self._gone.discard(place.partition)
        consumer.incremental_unassign(places)
