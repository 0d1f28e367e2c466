"""How long activities wait and run, by name and outcome. Must never fail an attempt, nor keep one waiting."""

import threading
import time
from bisect import bisect_left
from collections.abc import Collection

from engine.model.effects import RunActivity
from engine.partition.measures import LATENCY_MS, MS, OTHER, Histogram

LATENCY_NS = tuple(ms * MS for ms in LATENCY_MS)


class AttemptsEnded:
    """The attempts at one activity that ended one way."""

    __slots__ = ("count", "ran_ns", "took_ns")

    def __init__(self) -> None:
        self.count = 0
        self.ran_ns = Histogram(LATENCY_NS)
        self.took_ns = Histogram(LATENCY_NS)


class ActivityMeasures:
    """Of one pool. Any thread.

    Calls are known by their identity, which lives for as long as their attempt.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.finished_count = 0
        self.queue_ns = Histogram(LATENCY_NS)
        # By name: what succeeded, what failed.
        self._ended = {name: (AttemptsEnded(), AttemptsEnded()) for name in (*names, OTHER)}
        self._other = self._ended[OTHER]
        self._lock = threading.Lock()
        self._asked: dict[int, int] = {}
        self._began: dict[int, int] = {}

    def asked(self, call: RunActivity) -> None:
        """An attempt is asked for: from now on it waits."""
        self._asked[id(call)] = time.perf_counter_ns()

    def began(self, call: RunActivity) -> None:
        """A thread has taken it up. Not told of what waits in a pool of processes: that seems to run."""
        self._began[id(call)] = time.perf_counter_ns()

    def finished(self, call: RunActivity, *, has_failed: bool) -> None:
        """It has its outcome."""
        now, key = time.perf_counter_ns(), id(call)
        asked = self._asked.pop(key, now)
        began = self._began.pop(key, asked)
        ended = self._ended.get(call.name, self._other)[has_failed]
        waited, ran, took = began - asked, now - began, now - asked
        queue_ns, ran_ns, took_ns = self.queue_ns, ended.ran_ns, ended.took_ns
        # Written out, for this is paid for each attempt. Several threads count: a change lost for want of a
        # lock would never be made good.
        with self._lock:
            self.finished_count += 1
            ended.count += 1
            queue_ns.counts[bisect_left(LATENCY_NS, waited)] += 1
            queue_ns.total += waited
            ran_ns.counts[bisect_left(LATENCY_NS, ran)] += 1
            ran_ns.total += ran
            took_ns.counts[bisect_left(LATENCY_NS, took)] += 1
            took_ns.total += took

    def ended(self) -> dict[tuple[str, str], AttemptsEnded]:
        """By name and outcome, what there was any of."""
        return {
            (name, status): ended
            for name, outcomes in self._ended.items()
            for status, ended in zip(("success", "failed"), outcomes, strict=True)
            if ended.count
        }
