"""How far a member of a group is, as the group's offsets say.

A commit that crosses a rebalance is refused. It is made again, or the group would seem to be behind until the
next record comes, and that may be never. For the same reason all are told again now and then: around a
rebalance a late commit of less, by whoever had the partition before, may take the place of a newer one.
"""

import logging
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5
ASSURE_SECONDS = 5.0


class GroupOffsets:
    """The offsets of one topic that one member commits. One thread uses it, and polls the consumer."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._positions: dict[int, int] = {}
        self._refused: set[int] = set()
        self._again_at = 0.0
        self._assure_at = 0.0

    @property
    def is_behind(self) -> bool:
        """Whether an offset was refused and not sent again yet."""
        return bool(self._refused)

    def unrefused(self) -> dict[int, int]:
        """The newest offsets, but those that were refused."""
        return {p: offset for p, offset in self._positions.items() if p not in self._refused}

    def commit(self, consumer: Consumer, positions: dict[int, int], metadata: str = "") -> None:
        """Everything before these offsets is done. Returns before Kafka knows; says nothing twice."""
        news = {p: offset for p, offset in positions.items() if self._positions.get(p) != offset}
        if news:
            self._positions.update(news)
            self._refused -= news.keys()
            self._send(consumer, news, metadata)

    def assure(self) -> None:
        """Has the next `repeat` commit everything again: only of a member does Kafka take that."""
        self._assure_at = 0.0

    def repeat(self, consumer: Consumer, metadata: str = "") -> None:
        """Commits again what was refused, and at longer intervals everything."""
        now = time.monotonic()
        if self._positions and now >= self._assure_at:
            self._assure_at = now + ASSURE_SECONDS
            self._refused.clear()
            self._send(consumer, dict(self._positions), metadata)
        if self._refused and now >= self._again_at:
            positions = {partition: self._positions[partition] for partition in self._refused}
            self._refused.clear()
            self._send(consumer, positions, metadata)

    def told(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """What became of a commit: to be given to the consumer as its `on_commit`."""
        for place in places:
            problem = place.error or error
            # Past it already? Then a later commit is on its way, and says more.
            if problem is not None and self._positions.get(place.partition) == place.offset:
                text = "offset %d of %s/%d not committed: %s"
                log.info(text, place.offset, place.topic, place.partition, problem)
                self._refuse(place.partition)

    def forget(self, partition: int) -> None:
        """It is another member's now, or its offsets begin anew."""
        self._positions.pop(partition, None)
        self._refused.discard(partition)

    def clear(self) -> None:
        """Forgets all."""
        self._positions.clear()
        self._refused.clear()

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
            log.info("offsets of %s not committed: %s", self._topic, problem)
            for partition in positions:
                self._refuse(partition)
