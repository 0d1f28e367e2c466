"""How far an ingress is with `commands`, as its group's offsets say; and what is behind them is let go.

A commit that crosses a rebalance is refused. It is made again, or the group would seem to be behind until the
next record comes, and that may be never.
"""

import logging
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

log = logging.getLogger(__name__)

TRIM_SECONDS = 5.0
AGAIN_SECONDS = 0.5


class GroupProgress:
    """The offsets of one topic's partitions, for one member. One thread uses it, and polls the consumer."""

    def __init__(self, admin: AdminClient, topic: str) -> None:
        self._admin = admin
        self._topic = topic
        self._positions: dict[int, int] = {}
        self._refused: set[int] = set()
        self._again_at = 0.0
        self._trimmable: dict[int, int] = {}
        self._trimmed_at = 0.0

    def commit(self, consumer: Consumer, positions: dict[int, int], metadata: str) -> None:
        """Everything before these offsets is done. Returns before Kafka knows."""
        self._positions.update(positions)
        self._refused -= positions.keys()
        self._send(consumer, positions, metadata)
        self._trim()

    @property
    def is_behind(self) -> bool:
        """Whether an offset was refused and not sent again yet."""
        return bool(self._refused)

    def repeat(self, consumer: Consumer, metadata: str) -> None:
        """Commits again what was refused, now and then."""
        if self._refused and time.monotonic() >= self._again_at:
            positions = {partition: self._positions[partition] for partition in self._refused}
            self._refused.clear()
            self._send(consumer, positions, metadata)

    def told(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """What became of a commit: to be given to the consumer as its `on_commit`."""
        for place in places:
            problem = place.error or error
            # Past it already? Then a later commit is on its way, and says more.
            if problem is not None and self._positions.get(place.partition) == place.offset:
                log.info("offset %d of %s/%d not committed: %s", place.offset, *_name(place), problem)
                self._refuse(place.partition)

    def forget(self, partition: int) -> None:
        """It is another member's now, or its offsets begin anew."""
        self._positions.pop(partition, None)
        self._trimmable.pop(partition, None)
        self._refused.discard(partition)

    def clear(self) -> None:
        """Forgets all."""
        for partition in list(self._positions):
            self.forget(partition)

    def _refuse(self, partition: int) -> None:
        self._refused.add(partition)
        self._again_at = time.monotonic() + AGAIN_SECONDS

    def _send(self, consumer: Consumer, positions: dict[int, int], metadata: str) -> None:
        places = [
            TopicPartition(self._topic, partition, offset, metadata=metadata)
            for partition, offset in positions.items()
        ]
        try:
            consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as problem:
            log.info("ingress offsets not committed: %s", problem)
            for partition in positions:
                self._refuse(partition)

    def _trim(self) -> None:
        """Lets go what was committed a while ago: the newest commit is on its way, and might be lost."""
        if time.monotonic() - self._trimmed_at < TRIM_SECONDS:
            return
        self._trimmed_at = time.monotonic()
        places = [TopicPartition(self._topic, partition, o) for partition, o in self._trimmable.items()]
        self._trimmable = {p: o for p, o in self._positions.items() if p not in self._refused}
        if places:
            self._admin.delete_records(places)


def _name(place: TopicPartition) -> tuple[str, int]:
    return place.topic, place.partition
