"""Who should own what: a consumer that never consumes. Safety is fencing's; this only divides the work.

Classic protocol, cooperative-sticky, static membership: a killed member that comes back under its id has its
partitions at once; one that stays away loses them after the session timeout.
"""

import logging
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from engine.errors import FencedFault
from engine.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)

LEAVE_SECONDS = 2.0


class Membership:
    """This process in the group of owners. One thread uses it."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        self._topic = topic
        self._mine: set[int] = set()
        self._consumer = Consumer(
            settings.client(
                group_id=group,
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
            )
        )
        self._consumer.subscribe(
            [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def assignment(self) -> frozenset[int]:
        """What is ours now. Must be called within the poll interval, or the group takes it for dead."""
        message = self._consumer.poll(0)
        error = message.error() if message is not None else None
        if error is not None and error.fatal():
            # Another process has come under our member id: it has our partitions, and we are the zombie.
            raise FencedFault(f"this worker is no member of its group any more: {error.str()}")
        if error is not None:
            log.warning("group membership: %s", error)
        return frozenset(self._mine)

    def commit(self, offsets: dict[int, int], *, wait: bool) -> bool:
        """Commits group offsets.

        For lag tools, and with `wait` as a question whether we are still a member.
        """
        places = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
        try:
            if wait:
                self._consumer.commit(offsets=places, asynchronous=False)
            else:
                self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as problem:
            log.info("group offsets not committed: %s", problem)
            return False
        return True

    def committed(self, partitions: list[int]) -> dict[int, int]:
        """Group offsets as the broker has them."""
        try:
            places = self._consumer.committed([TopicPartition(self._topic, p) for p in partitions], timeout=2)
        except KafkaException as problem:
            log.info("group offsets not read: %s", problem)
            return {}
        return {place.partition: place.offset for place in places if place.offset >= 0}

    def leave(self) -> None:
        """Leaves the group, so that another member takes over at once."""
        # librdkafka sends a static member's leave on unsubscribe, but not on close.
        self._consumer.unsubscribe()
        deadline = time.monotonic() + LEAVE_SECONDS
        while self._mine and time.monotonic() < deadline:
            self._consumer.poll(0.01)
        self._consumer.poll(0.1)
        self._consumer.close()

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        self._mine |= {place.partition for place in places}

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._mine -= {place.partition for place in places}
        consumer.incremental_unassign(places)
