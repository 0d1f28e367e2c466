"""What is due when, in the broker's time.

A heap that may hold entries nobody needs any more; firing checks them.
"""

import heapq

from engine.codec import avro
from engine.model.commands import FireTimer
from engine.model.effects import ArmTimer
from engine.model.state import InstanceState
from engine.partition.ports import Append


class BrokerClock:
    """The clock that stamps this partition's inbox, estimated from what it has stamped.

    A record proves that the clock had come as far, never that it is no further: records are read late. That
    it stepped back is proved only by a timer of our own that came too early. The history's broker has another
    clock: believed where it ran ahead of this one, it would fire each timer again and again until its time.
    """

    def __init__(self) -> None:
        # When a timer of ours was stamped, of late, that came before it was due.
        self.early_at_ms: int | None = None
        self._ahead_ms: int | None = None

    def saw(self, timestamp_ms: int, monotonic_ms: int) -> None:
        """An inbox record with this timestamp came in now."""
        if self.early_at_ms is not None:
            self._ahead_ms, self.early_at_ms = self.early_at_ms - monotonic_ms, None
        ahead_ms = timestamp_ms - monotonic_ms
        self._ahead_ms = ahead_ms if self._ahead_ms is None else max(self._ahead_ms, ahead_ms)

    def saw_commit(self, timestamp_ms: int, monotonic_ms: int) -> None:
        """A commit was stamped so: better than nothing, where nothing of the inbox was seen yet."""
        if self._ahead_ms is None:
            self.saw(timestamp_ms, monotonic_ms)

    def now_ms(self, monotonic_ms: int) -> int | None:
        """The broker's time now; None while nothing was ever seen."""
        return None if self._ahead_ms is None else monotonic_ms + self._ahead_ms


class Timers:
    """The armed timers of one partition."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, ArmTimer]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def arm(self, timer: ArmTimer) -> None:
        """Fires at its due time."""
        self._count += 1
        heapq.heappush(self._heap, (timer.due_at_ms, self._count, timer))

    def take_due(self, now_ms: int, count_max: int) -> list[ArmTimer]:
        """The timers due by now, oldest first, at most `count_max`.

        After an outage they are not to flood the inbox.
        """
        due: list[ArmTimer] = []
        while self._heap and self._heap[0][0] <= now_ms and len(due) < count_max:
            due.append(heapq.heappop(self._heap)[2])
        return due

    def next_due_ms(self) -> int | None:
        """When the next one is due."""
        return self._heap[0][0] if self._heap else None


def firing_of(timer: ArmTimer, partition: int) -> Append:
    """The append that fires it."""
    command = FireTimer(
        instance_id=timer.instance_id, run_id=timer.run_id, timer=timer.timer, due_at_ms=timer.due_at_ms
    )
    return Append(partition, timer.instance_id.encode(), avro.encode_command(command))


def is_wanted(state: InstanceState, timer: ArmTimer) -> bool:
    """Whether the run still waits for this timer, and for this time of it."""
    if state.run_id != timer.run_id:
        return False
    activity, child = state.activities.get(timer.timer), state.children.get(timer.timer)
    due = (
        state.timers.get(timer.timer),
        activity.retry_at_ms if activity is not None else None,
        child.retry_at_ms if child is not None else None,
    )
    return timer.due_at_ms in due
