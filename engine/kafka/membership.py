"""Who should own what: a consumer that never consumes. Safety is fencing's; this only divides the work.

Classic protocol, cooperative-sticky, static membership: a killed member that comes back under its id has its
partitions at once; one that stays away loses them after the session timeout.
"""

import logging
import threading
import time
from collections import deque

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from engine.errors import ConfigurationError, FencedFault
from engine.kafka.clients import CLIENTS
from engine.kafka.errors import fault_of, is_final
from engine.kafka.progress import GroupOffsets
from engine.kafka.settings import KafkaSettings, open_admin

log = logging.getLogger(__name__)

LEAVE_SECONDS = 2.0
FENCES_MAX = 5
FENCES_SECONDS = 60.0


class Comeback:
    """How often a member whose consumer librdkafka gave up may join again under its id.

    An offset commit that crosses with the member's own rejoining, after a session that was over, is answered
    as if a rival had taken the id, and that ends the consumer for good. To come again is safe: a true rival
    is fenced by it, and comes again too. Whoever is fenced over and over has one, and goes.
    """

    def __init__(self) -> None:
        self._fenced_at: deque[float] = deque(maxlen=FENCES_MAX)

    def judge(self, error: KafkaError) -> None:
        """Raises FencedFault where another process has the id."""
        now = time.monotonic()
        self._fenced_at.append(now)
        if len(self._fenced_at) == FENCES_MAX and now - self._fenced_at[0] < FENCES_SECONDS:
            message = f"this worker is no member of its group any more, another has its id: {error.str()}"
            raise FencedFault(message)
        log.warning("this worker's membership is over, it joins again: %s", error.str())


def close_aside(consumer: Consumer) -> None:
    """Closes a consumer of no more use, which may take long, without anybody's waiting."""
    threading.Thread(target=_close, args=(consumer,), daemon=True).start()


def _close(consumer: Consumer) -> None:
    try:
        consumer.close()
    except KafkaException as problem:
        log.debug("a consumer was not closed: %s", problem)


def owners_group(settings: KafkaSettings) -> str:
    """The group that divides the partitions among the workers of an app."""
    return f"{settings.namespace}.{settings.app}.owners"


def ingress_group(settings: KafkaSettings) -> str:
    """The group that divides the partitions of `commands`."""
    return f"{settings.namespace}.{settings.app}.ingress"


def joining(settings: KafkaSettings, group: str) -> str:
    """What a member does that an error about its group is told by."""
    return f"join the group {group} with a session timeout of {settings.session_timeout_ms:,} ms"


def partition_owners(settings: KafkaSettings, topic: str) -> dict[int, str]:
    """By partition of the inbox, which member of the group has it, and where. Raises KafkaException."""
    group = owners_group(settings)
    timeout = settings.request_timeout_ms / 1000
    # A client for this one question: one that waited in vain for a coordinator once never hears of
    # it again, or is ended by its late answer, with the process (an assertion, librdkafka's issue 3663).
    admin = open_admin(settings)
    members = admin.describe_consumer_groups([group], request_timeout=timeout)[group].result().members
    return {
        place.partition: f"{member.group_instance_id or member.client_id} ({member.host.lstrip('/')})"
        for member in members
        for place in member.assignment.topic_partitions
        if place.topic == topic
    }


class Membership:
    """This process in the group of owners. One thread uses it."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        self._settings = settings
        self._topic = topic
        self._group = group
        self._mine: set[int] = set()
        self.is_member = self._was_member = False
        self._comeback = Comeback()
        self._offsets = GroupOffsets(topic)
        self._consumer = self._join()

    def _join(self) -> Consumer:
        settings = self._settings
        consumer = CLIENTS.consumer(
            settings,
            self._topic,
            group_id=self._group,
            group_instance_id=settings.member,
            group_protocol="classic",
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            max_poll_interval_ms=settings.max_poll_interval_ms,
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            auto_offset_reset="latest",
            fetch_queue_backoff_ms=1_000,
            queued_min_messages=1,
            on_commit=self._offsets.told,
        )
        consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        return consumer

    def assignment(self) -> frozenset[int]:
        """What is ours now. Must be called within the poll interval, or the group takes it for dead.

        Raises ConfigurationError where Kafka refuses for good what was never let in.
        """
        message = self._consumer.poll(0)
        error = message.error() if message is not None else None
        if error is not None and is_final(error):
            self._comeback.judge(error)
            self._mine.clear()
            self._offsets.clear()
            self.is_member = False
            close_aside(self._consumer)
            self._consumer = self._join()
        elif error is not None:
            self._mind(error)
        self._offsets.repeat(self._consumer)
        return frozenset(self._mine)

    def _mind(self, error: KafkaError) -> None:
        fault = fault_of(error, joining(self._settings, self._group))
        # Who works keeps working: its rights may have been mistaken for a moment only.
        if isinstance(fault, ConfigurationError) and not self._was_member:
            raise fault
        log.warning("group membership: %s", fault)

    def report(self, offsets: dict[int, int]) -> None:
        """Commits group offsets of what is ours, for lag tools and for other workers' ingress."""
        # Who is not in the group yet, as after a fence, would be fenced for it: once more, and over and over.
        self._offsets.commit(self._consumer, {p: o for p, o in offsets.items() if p in self._mine})

    def ask(self) -> frozenset[int]:
        """What is ours as far as we know. The group is asked too, and answers by later assignments."""
        self._offsets.assure()
        return self.assignment()

    def leave(self) -> None:
        """Leaves the group, so that another member takes over at once."""
        try:
            # librdkafka sends a static member's leave on unsubscribe, but not on close.
            self._consumer.unsubscribe()
            deadline = time.monotonic() + LEAVE_SECONDS
            while self._mine and time.monotonic() < deadline:
                self._consumer.poll(0.01)
            self._consumer.poll(0.1)
            self._consumer.close()
        except KafkaException as problem:
            log.info("the group was not left, but its session ends by itself: %s", problem)

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self.is_member = self._was_member = True
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        self._mine |= {place.partition for place in places}

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if consumer is self._consumer:
            self.is_member = False
        self._revoked(consumer, places)

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if consumer is self._consumer:
            for place in places:
                self._mine.discard(place.partition)
                self._offsets.forget(place.partition)
        consumer.incremental_unassign(places)
