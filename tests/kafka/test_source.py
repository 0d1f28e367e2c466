"""What becomes of the ingress's reading where its consumer met the end of what is there, at any moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from engine.kafka import source as module
from engine.kafka.progress import GroupOffsets
from engine.kafka.source import KafkaCommandSource

TOPIC = "wf.a.commands"


class Stopped:
    """A consumer that meets an offset out of range, and from then on reads only what is assigned anew."""

    def __init__(self) -> None:
        error = KafkaError(KafkaError._AUTO_OFFSET_RESET)
        self.news: list[Any] = [
            SimpleNamespace(error=lambda: error, topic=lambda: TOPIC, partition=lambda: 0, offset=lambda: 7)
        ]
        self.assigned: list[tuple[int, int]] = []
        self.sought: list[int] = []

    def poll(self, timeout: float) -> Any:
        return self.news.pop() if self.news else None

    def consume(self, count: int, timeout: float) -> list[Any]:
        return []

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, place.partition, 5, metadata="id") for place in places]

    def resume(self, places: list[TopicPartition]) -> None:
        pass

    def seek(self, place: TopicPartition) -> None:
        self.sought.append(place.partition)

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        pass

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self.assigned += [(place.partition, place.offset) for place in places]


@pytest.mark.parametrize("is_begun", [True, False])
def test_it_is_assigned_anew_whether_reading_went_on_or_was_about_to(
    is_begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "topic_ids", lambda *_: {TOPIC: "id"})
    source, consumer = KafkaCommandSource.__new__(KafkaCommandSource), Stopped()
    source.__dict__ |= {
        "topic_id": "id",
        "_topic": TOPIC,
        "_settings": SimpleNamespace(request_timeout_ms=1_000),
        "_admin": None,
        "_sessions": iter(range(1, 9)),
        "_offsets": GroupOffsets(TOPIC),
        "_trimmable": {},
        "_consumer": consumer,
        "_ours": {0: 1} if is_begun else {},
        "_unbegun": set() if is_begun else {0},
        "_gone": set(),
        "_joining": "join",
        "_heard_at": float("inf"),
        # Kafka could not tell a moment ago where to go on.
        "_ask_at": 0.0 if is_begun else float("inf"),
    }
    assert source.poll(0) == []
    source._ask_at = 0.0
    source.poll(0)
    assert consumer.assigned == [(0, OFFSET_BEGINNING)]
    assert consumer.sought == []
    assert source.assignment().keys() == {0}
