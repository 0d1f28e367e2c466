"""What the owners of a process count, for whoever exports it. Plain integers: must never wait or raise.

Written by the owners' thread, read by any other: a reader may see a sum that lags by one turn, and no more
than that. Nothing here may decide anything. Times come from `now_ns`, which the process gives.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection

import msgspec

from engine.core import limits
from engine.model import commands as cm
from engine.model.state import InstanceState, Phase
from engine.partition.batch import Batch
from engine.partition.ports import CommitResult, Committed, Doubt

MS = 1_000_000
SECOND = 1_000 * MS
# What an app does not register is counted under one name: outsiders must not be able to make series.
OTHER = "other"

TURN_NS = tuple(us * 1_000 for us in (20, 50, 100, 200, 500, 1_000, 5_000, 20_000, 100_000, 1_000_000))
COMMIT_NS = tuple(ms * MS for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000))
WAIT_MS = (2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000, 30_000, 300_000)
SIZE_RECORDS = (1, 10, 50, 100, 500, 1_000, 5_000, 20_000)
SIZE_BYTES = (1_000, 10_000, 100_000, 500_000, 1_000_000, 4_000_000, 16_000_000, 64_000_000)
# Dapr's, for what has one of its names.
LATENCY_MS = (
    *(1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200, 250, 300, 400, 500),
    *(650, 800, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000),
)
RATIO_PER_MILLE = (100, 250, 500, 750, 900, 950, 990, 1_000, 1_500, 2_000)

# What Dapr calls the commands that it counts.
OPERATIONS: dict[type, str] = {
    cm.StartInstance: "create_workflow",
    cm.StartChild: "create_workflow",
    cm.RaiseEvent: "add_event",
    cm.PurgeInstance: "purge_workflow",
}


class Histogram:
    """Counts by upper bounds, inclusive; the last count is of what is above them all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, value: int, times: int = 1) -> None:
        """Counts `value`, in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Counters(msgspec.Struct):
    """What owners of one partition have done in this process, over all their claims."""

    turns: int = 0
    events: int = 0
    duplicates: int = 0
    gaps: int = 0
    orphans: int = 0
    replays: int = 0
    timers_fired: int = 0
    expired: int = 0


class RunsEnded:
    """The runs of one workflow that ended one way."""

    __slots__ = ("count", "lasted_ms")

    def __init__(self) -> None:
        self.count = 0
        self.lasted_ms = Histogram(LATENCY_MS)


class Runs:
    """The runs of one workflow."""

    __slots__ = ("failed", "recoverable", "scheduling_ms", "size_per_mille", "success", "terminated")

    def __init__(self) -> None:
        self.success = RunsEnded()
        self.failed = RunsEnded()
        self.terminated = RunsEnded()
        # Not over: stalled, until its code is put right.
        self.recoverable = RunsEnded()
        self.scheduling_ms = Histogram(LATENCY_MS)
        self.size_per_mille = Histogram(RATIO_PER_MILLE)

    def ended(self, phase: Phase) -> RunsEnded:
        """Those that ended so."""
        if phase is Phase.FAILED:
            return self.failed
        # A run that goes on as a new one has not failed.
        return self.terminated if phase is Phase.TERMINATED else self.success


class Measures:
    """All of it, for one process."""

    def __init__(
        self, now_ns: Callable[[], int] = lambda: 0, workflows: Collection[str] = frozenset()
    ) -> None:
        self.now_ns = now_ns
        self.partitions: dict[int, Counters] = {}
        self.turn_ns = Histogram(TURN_NS)
        self.commit_ns = Histogram(COMMIT_NS)
        self.commit_records = Histogram(SIZE_RECORDS)
        self.commit_bytes = Histogram(SIZE_BYTES)
        self.inbox_wait_ms = Histogram(WAIT_MS)
        self.timer_late_ms = Histogram(WAIT_MS)
        self.restore_ns = Histogram(COMMIT_NS)
        self.restored_records = 0
        self.claim_failures = 0
        self.reclaims = 0
        self.commits: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.stalls: Counter[str] = Counter()
        # By command: how many were taken, how many refused.
        self.operations: dict[type, list[int]] = {command: [0, 0] for command in OPERATIONS}
        self._runs = {name: Runs() for name in (*workflows, OTHER)}
        self._other = self._runs[OTHER]
        self._began_ns = self._turns_before = 0

    def partition(self, number: int) -> Counters:
        """The counters of a partition: a claim goes on where the one before left them."""
        return self.partitions.setdefault(number, Counters())

    def turns_begin(self, counters: Counters, waited_ms: int) -> None:
        """Some turns are to be taken in one go; the first one's record has waited so long."""
        self.inbox_wait_ms.observe(max(0, waited_ms))
        self._turns_before, self._began_ns = counters.turns, self.now_ns()

    def turns_end(self, counters: Counters) -> None:
        """They were taken."""
        count = counters.turns - self._turns_before
        if count:
            self.turn_ns.observe((self.now_ns() - self._began_ns) // count, count)

    def commit_ended(self, batch: Batch, result: CommitResult) -> None:
        """The log has answered to a commit."""
        if not isinstance(result, Committed):
            self.commits["doubt" if isinstance(result, Doubt) else "fenced"] += 1
            return
        self.commits["committed"] += 1
        self.commit_ns.observe(self.now_ns() - batch.sealed_ns)
        self.commit_records.observe(len(batch.records))
        self.commit_bytes.observe(batch.size)

    def restored(self, seconds: float, records: int) -> None:
        """A claim has brought its partition back."""
        self.restore_ns.observe(int(seconds * SECOND))
        self.restored_records += records

    def started(self, workflow: str, waited_ms: int) -> None:
        """The first turn of a run, so long after its start was on record."""
        self._runs.get(workflow, self._other).scheduling_ms.observe(max(0, waited_ms))

    def stalled(self, workflow: str, reason: str) -> None:
        """A run waits for its code to be put right."""
        self.stalls[reason] += 1
        self._runs.get(workflow, self._other).recoverable.count += 1

    def run_ended(self, state: InstanceState) -> None:
        """A run is over."""
        runs = self._runs.get(state.workflow, self._other)
        ended = runs.ended(state.phase)
        ended.count += 1
        ended.lasted_ms.observe(max(0, state.last_event_at_ms - state.created_at_ms))
        events = state.sequence * 1_000 // limits.HISTORY_EVENTS_MAX
        size = state.history_bytes * 1_000 // limits.HISTORY_BYTES_MAX
        runs.size_per_mille.observe(max(events, size))

    def runs_ended(self) -> dict[tuple[str, str], RunsEnded]:
        """By workflow and outcome, what there was any of."""
        return {
            (name, status): ended
            for name, runs in self._runs.items()
            for status in ("success", "failed", "terminated", "recoverable")
            if (ended := getattr(runs, status)).count
        }

    def scheduling_ms(self) -> dict[str, Histogram]:
        """By workflow, how long starts waited for their first turn."""
        return {name: runs.scheduling_ms for name, runs in self._runs.items()}

    def size_per_mille(self) -> dict[str, Histogram]:
        """By workflow, how near to a bound the histories of its runs came."""
        return {name: runs.size_per_mille for name, runs in self._runs.items()}
