"""What a worker finds when it comes back may be damaged, gone, thinned out, or meant for other code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.harness import AppUnderTest

FIRST_VERSION = """
import engine as wf
app = wf.WorkflowRuntime()

@app.activity
def old(ctx, _):
    return "old"

@app.activity
def new(ctx, _):
    return "new"

@app.workflow
def changed(ctx, _):
    answer = yield ctx.call_activity(old)
    yield ctx.wait_for_external_event("go")
    return answer
"""
SECOND_VERSION = FIRST_VERSION.replace("call_activity(old)", "call_activity(new)")


def _delete(cache: Path) -> None:
    shutil.rmtree(cache)


def _damage(cache: Path) -> None:
    tables = sorted(cache.rglob("*.sst"))
    assert tables, "expected a table file to damage"
    for table in tables:
        data = bytearray(table.read_bytes())
        middle = len(data) // 3
        data[middle : middle + 64] = bytes(64)
        table.write_bytes(data)


@pytest.mark.parametrize(("hurt", "is_killed"), [(_delete, True), (_damage, False)])
def test_runs_go_on_whatever_happened_to_the_cache(subject: AppUnderTest, hurt, is_killed: bool) -> None:
    first = subject.worker()
    first.wait_ready()
    ids = subject.start("waiter", count=20)
    audit = subject.auditor()
    for each in ids:
        subject.raise_event(each, "add", 5)
    for each in ids:
        audit.read_events(each, "ActivityCompleted")
    if is_killed:
        first.kill()
    else:
        # Only a store that was closed has written all it holds, and can be damaged where it matters.
        first.stop()
    hurt(subject.state_directory())

    second = subject.worker()
    second.wait_ready()
    for each in ids:
        subject.raise_event(each, "add", 7)
        subject.raise_event(each, "add", 0)
    assert set(audit.read_outcomes(ids).values()) == {12}
    second.stop()
    audit.read_all()
    audit.check(started=ids)


def test_a_result_for_code_that_is_gone_is_not_given_to_its_neighbour(subject: AppUnderTest) -> None:
    module = subject.directory / "versioned.py"
    module.write_text(FIRST_VERSION)
    # No commit by time: what the first version decided is in no history when it dies.
    first = subject.worker(app="versioned:app", commit_interval_ms=10_000)
    first.wait_ready()
    ids = subject.start("changed")
    audit = subject.auditor()
    audit.read_inbox("CompleteActivity", ids[0])
    first.kill()
    audit.read_all()
    assert not audit.runs

    module.write_text(SECOND_VERSION)
    second = subject.worker(app="versioned:app")
    second.wait_ready()
    subject.raise_event(ids[0], "go", None)
    assert audit.read_outcomes(ids) == {ids[0]: "new"}
    second.stop()
    audit.read_all()
    audit.check(started=ids)


def test_a_compacted_history_rebuilds_the_state_it_had(subject: AppUnderTest) -> None:
    eager = {
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "100",
        "min.compaction.lag.ms": "0",
        "cleanup.policy": "compact",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": "2097152",
        "delete.retention.ms": "604800000",
    }
    subject.create_topics(history=eager)
    first = subject.worker()
    first.wait_ready()
    ids = subject.start("waiter", count=30)
    finished = subject.start("chain", 1, count=30)
    audit = subject.auditor()
    audit.has_gaps = True
    audit.read_outcomes(finished)
    for each in ids:
        subject.raise_event(each, "add", 3)
    for each in ids:
        audit.read_events(each, "ActivityCompleted")
    first.stop()
    audit.read_all()
    audit.check(started=[*ids, *finished])
    before = audit.fold()

    subject.wait_compacted(audit.commits())
    shutil.rmtree(subject.state_directory())
    after = subject.auditor()
    after.has_gaps = True
    after.read_all()
    after.check(started=[*ids, *finished])
    assert after.fold() == before

    second = subject.worker()
    second.wait_ready()
    for each in ids:
        subject.raise_event(each, "add", 0)
    assert set(audit.read_outcomes(ids).values()) == {3}
    # Finished ids may be used again: without the stubs of their runs, second ones would lie beside the first.
    for each in subject.start("chain", 5, count=5):
        audit.read_outcome(each, 8)
    second.stop()
    audit.read_all()
    audit.check(started=[*ids, *finished])
    assert len(audit.runs) == len(ids) + len(finished)
