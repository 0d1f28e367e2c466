"""The owners' loop on the memory log: what a claim that fails costs its partition."""

from __future__ import annotations

import errno
import random

import pytest

from engine.core.registry import Registry
from engine.errors import ConfigurationError, LogDamagedFault
from engine.node.loop import BACKOFF_MS_MAX, DAMAGED_CLAIMS, OwnerLoop
from engine.partition.careful import Exam
from engine.partition.context import OwnerContext, OwnerSettings
from engine.partition.status import OwnerStatus
from engine.store.memory import MemoryStore
from engine.testing.faults import Faults
from engine.testing.memory_broker import MemoryBroker
from engine.testing.memory_log import MemoryLog

PASSES_MAX = 1_000
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class HeldClock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now_ms = 0

    def monotonic_ms(self) -> int:
        return self.now_ms


class Subject:
    """A loop that owns one partition, whose store can't be opened while `problems` lasts."""

    def __init__(self, problems: list[Exception]) -> None:
        self.problems = problems
        self.clock = HeldClock()
        broker = MemoryBroker(partitions=1)
        log = MemoryLog(broker, "a", Faults(random.Random(1), {}))
        log.is_polling_time = True
        log.ours = frozenset({0})
        broker.owner_of = {0: "a"}
        context = OwnerContext(
            registry=Registry(), settings=OwnerSettings(), run_activity=lambda *_: None, exam=Exam()
        )
        self.loop = OwnerLoop(log, self._open, context, self.clock)

    def _open(self, partition: int) -> MemoryStore:
        if self.problems:
            raise self.problems.pop(0)
        return MemoryStore()

    def pass_once(self) -> None:
        """One pass, and the end of a claim that it began."""
        self.loop.pass_once()
        for thread in self.loop._opening.values():
            thread.join()

    def pass_twice(self) -> None:
        """So that what the first one began has been judged."""
        self.pass_once()
        self.pass_once()

    def is_live(self) -> bool:
        return any(owner.status is OwnerStatus.LIVE for owner in self.loop.owners.values())


@pytest.mark.parametrize(
    "problem", [ConfigurationError("no new store could be made"), NO_SPACE], ids=["refused", "full"]
)
def test_a_claim_that_fails_for_its_disk_is_tried_again_in_bounded_time(problem: Exception) -> None:
    subject = Subject([problem] * 20)
    for _ in range(2 * 20):
        subject.pass_once()
        subject.clock.now_ms += BACKOFF_MS_MAX
    assert not subject.problems
    for _ in range(PASSES_MAX):
        subject.pass_once()
        if subject.is_live():
            break
    assert subject.is_live()
    assert not subject.loop.damaged


def test_a_damaged_log_is_left_alone_for_good() -> None:
    subject = Subject([LogDamagedFault("history was truncated")] * DAMAGED_CLAIMS)
    for _ in range(4 * DAMAGED_CLAIMS):
        subject.pass_once()
        subject.clock.now_ms += BACKOFF_MS_MAX
    assert subject.loop.damaged == {0: "history was truncated"}
    assert subject.loop.claims == DAMAGED_CLAIMS
    assert not subject.loop.owners


def test_a_bug_in_a_claim_is_not_mistaken_for_trouble() -> None:
    subject = Subject([ZeroDivisionError("a bug")])
    with pytest.raises(ZeroDivisionError):
        subject.pass_twice()
