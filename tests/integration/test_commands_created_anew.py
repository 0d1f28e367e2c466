"""`commands` is deleted and created again under a running worker: what comes then is no duplicate."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException

from tests.integration.auditor import PATIENCE_SECONDS
from tests.integration.harness import AppUnderTest

COMMANDS_BEFORE = 8


def create_anew(subject: AppUnderTest) -> None:
    """Deletes `commands`, and creates it as soon as Kafka lets go of the name."""
    subject.admin.delete_topics([subject.commands])[subject.commands].result()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            subject.create_topics(commands={"cleanup.policy": "delete"})
        except KafkaException:
            assert time.monotonic() < deadline, "the topic is still there"
        else:
            return


def test_commands_of_a_topic_created_anew_are_taken_in(subject: AppUnderTest) -> None:
    worker = subject.worker()
    worker.wait_ready()
    subject.auditor().read_outcomes(subject.start("chain", 1, count=COMMANDS_BEFORE, name="before"))
    subject.wait_forwarded()

    create_anew(subject)
    # Fewer than before: their offsets were all taken in once.
    ids = subject.start("chain", 1, count=2, name="after")

    assert set(subject.auditor().read_outcomes(ids).values()) == {4}
    worker.stop()
