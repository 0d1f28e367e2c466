"""What librdkafka answers to a question for offsets while leaders change, and what is made of it."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from engine.kafka.offsets import list_offsets

ASKED = {0: OffsetSpec.latest()}


class Admin:
    """Answers as seen on a cluster whose leader is killed: with an offset that is none, and no error."""

    def __init__(self) -> None:
        self.answers = [OFFSET_INVALID, OFFSET_INVALID, 7]
        self.refreshed = 0

    def list_offsets(self, places: dict[TopicPartition, OffsetSpec], **_: object) -> dict[Any, Any]:
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(offset=self.answers.pop(0)))
        return dict.fromkeys(places, answer)

    def list_topics(self, *_: object) -> None:
        self.refreshed += 1


def test_an_offset_that_is_none_is_asked_for_again() -> None:
    admin = Admin()
    found = list_offsets(admin, "t", ASKED, IsolationLevel.READ_UNCOMMITTED, 10_000)  # type: ignore[arg-type]
    assert found == {0: 7}
    assert admin.refreshed == 2


def test_an_offset_that_stays_none_is_an_error() -> None:
    with pytest.raises(KafkaException):
        list_offsets(Admin(), "t", ASKED, IsolationLevel.READ_UNCOMMITTED, 0)  # type: ignore[arg-type]
