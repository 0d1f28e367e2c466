"""A transaction whose end Kafka forgot to write hides all behind it: the next claim ends it."""

from __future__ import annotations

import pytest

from engine.kafka.log import KafkaLog
from engine.kafka.settings import KafkaSettings
from engine.partition.ports import Claim, Commit, CommitResult, Committed
from tests.integration.conftest import StartBroker
from tests.integration.hanging import VERIFIES_NOTHING, hang

APP = "hanging"
HISTORY = f"wf.{APP}.history"


def commit(log: KafkaLog, claim: Claim, value: bytes) -> CommitResult:
    log.begin_commit(claim, Commit(records=[(b"key", value)], checkpoint=b"checkpoint", dead_letters=[]))
    while not (results := log.commit_results()):
        log.poll(10)
    return results[0][1]


def values(log: KafkaLog, claim: Claim) -> list[bytes | None]:
    """All of history that a claim reads."""
    batches = log.read_history(claim, claim.history_start, claim.history_end)
    return [record.value for batch in batches for record in batch]


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_claim_ends_what_hangs_and_reads_all_that_was_committed(
    start_broker: StartBroker, name: str
) -> None:
    broker = start_broker(VERIFIES_NOTHING)
    log = KafkaLog(
        KafkaSettings(
            bootstrap_servers=broker.bootstrap_servers,
            app=APP,
            partitions=1,
            is_dev=True,
            request_timeout_ms=60_000,
            commit_timeout_ms=60_000,
            transaction_timeout_ms=60_000,
        )
    )
    claim = log.claim(0)
    commits = [b"by x"] if name == "x" else [b"by x", b"by y"]
    for value in commits:
        assert isinstance(commit(log, claim, value), Committed)
    hang(broker, HISTORY, f"wf.{APP}-0-{name}")
    # The other id knows nothing of it, and what it commits hides with it.
    assert isinstance(commit(log, claim, b"behind"), Committed)
    log.release(claim)

    again = log.claim(0)
    found = [value for value in values(log, again) if value not in (b"checkpoint", None)]
    assert found == [*commits, commits[-1], b"behind"]
    log.close()
