"""Who feeds the inbox: the owners' thread while it is busy, but for what may take as long as a request."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.core.registry import Registry
from engine.embedded import EmbeddedLog
from engine.node.worker import Worker, WorkerPorts, WorkerSettings
from engine.partition.ports import Record
from engine.store.memory import MemoryStore


class _Source:
    """Counts how often it is asked."""

    topic_id = "commands"
    is_beginning = False

    def __init__(self) -> None:
        self.polls = 0

    def assignment(self) -> dict[int, int]:
        return {}

    def poll(self, _: int) -> list[Record]:
        self.polls += 1
        return []

    def commit(self, _: dict[int, int]) -> None: ...

    def restart(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def source() -> _Source:
    return _Source()


@pytest.fixture
def worker(tmp_path: Path, source: _Source) -> Iterator[Worker]:
    """One that is busy."""
    log = EmbeddedLog(tmp_path / "log")
    made = Worker(
        Registry(), WorkerPorts(log=log, source=source, open_store=lambda _: MemoryStore()), WorkerSettings()
    )
    made._context.pace.under_way = 1_000
    yield made
    made.pool.close()
    log.close()


def test_a_busy_owners_thread_feeds_the_inbox_itself(worker: Worker, source: _Source) -> None:
    worker._feed()
    assert (source.polls, worker._is_fed_by_owners) == (1, True)


@pytest.mark.parametrize("why", ["a new partition", "a failed append"])
def test_turns_wait_for_no_answer_to_where_commands_begin(worker: Worker, source: _Source, why: str) -> None:
    source.is_beginning = why == "a new partition"
    worker.ingress._has_failed = why == "a failed append"
    worker._feed()
    assert (source.polls, worker._is_fed_by_owners) == (0, False)


def test_an_owners_thread_that_is_not_busy_leaves_it_to_the_other(worker: Worker, source: _Source) -> None:
    worker._context.pace.under_way = 0
    worker._feed()
    assert (source.polls, worker._is_fed_by_owners) == (0, False)
