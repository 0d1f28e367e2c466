"""Group offsets are told again, for a late commit of less may have taken their place."""

from __future__ import annotations

from confluent_kafka import TopicPartition

from engine.kafka import progress
from engine.kafka.progress import ASSURE_SECONDS, GroupOffsets


class Told:
    """A consumer that keeps what it is told to commit."""

    def __init__(self) -> None:
        self.commits: list[dict[int, int]] = []

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None:
        self.commits.append({place.partition: place.offset for place in offsets})


def test_all_offsets_are_told_again_now_and_then_and_nothing_in_between(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    offsets, told = GroupOffsets("t"), Told()
    offsets.repeat(told)
    assert told.commits == []
    offsets.commit(told, {0: 5, 1: 7})
    offsets.repeat(told)
    offsets.repeat(told)
    assert told.commits == [{0: 5, 1: 7}] * 2
    offsets.forget(1)
    now[0] += ASSURE_SECONDS
    offsets.repeat(told)
    assert told.commits[2:] == [{0: 5}]
