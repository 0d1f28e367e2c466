"""`commands` is deleted and created again under a running worker: what comes then is no duplicate."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from tests.integration.auditor import PATIENCE_SECONDS
from tests.integration.harness import AppUnderTest

COMMANDS_BEFORE = 8


def until_kafka_does(what: Callable[[], bool]) -> None:
    """Tries until `what` is true; Kafka may not know yet that a topic is gone, or that it is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert time.monotonic() < deadline, "tried in vain"
        try:
            if what():
                return
        except KafkaException:
            continue


def create_anew(subject: AppUnderTest) -> None:
    """Deletes `commands`, creates it again, and waits until it is the new one that is written to."""

    def is_created() -> bool:
        subject.create_topics(commands={"cleanup.policy": "delete"})
        return True

    def is_empty() -> bool:
        places = {TopicPartition(subject.commands, each): OffsetSpec.latest() for each in range(2)}
        return not any(end.result().offset for end in subject.admin.list_offsets(places).values())

    subject.admin.delete_topics([subject.commands])[subject.commands].result()
    until_kafka_does(is_created)
    until_kafka_does(is_empty)


def test_commands_of_a_topic_created_anew_are_taken_in(subject: AppUnderTest) -> None:
    worker = subject.worker()
    worker.wait_ready()
    subject.auditor().read_outcomes(subject.start("chain", 1, count=COMMANDS_BEFORE, name="before"))
    subject.wait_forwarded()

    create_anew(subject)
    # Fewer than before: their offsets were all taken in once.
    ids = subject.start("chain", 1, count=2, name="after")

    worker.wait_log("was created anew")
    assert set(subject.auditor().read_outcomes(ids).values()) == {4}
    worker.stop()
