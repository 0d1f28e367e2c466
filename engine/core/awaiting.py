"""What a run waits for: its open calls, and its mailbox of external events.

First in, first out, in any case.
"""

from collections import deque
from typing import Any

import msgspec

from engine.core import limits
from engine.core.tasks import Task
from engine.model.failure import Payload


class OpenCall(msgspec.Struct):
    """A task that a later event settles. `sequence` is of the event that recorded it, 0 until then."""

    task: Task[Any]
    kind: str
    result_kind: Any = None
    wait: "EventWait | None" = None
    sequence: int = 0


class EventWait(msgspec.Struct):
    """Someone waits for an event, perhaps with a timer that bounds the wait."""

    task: Task[Any]
    name: str
    timer: OpenCall | None = None


def timed_out(name: str) -> TimeoutError:
    """What a wait that was bounded raises."""
    return TimeoutError(f"no event {name!r} came in time")


class Mailbox:
    """Events that nobody has asked for, and askers whose event has not come."""

    __slots__ = ("_unconsumed", "_waiting", "_waits", "count", "size")

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self._unconsumed: dict[str, deque[tuple[str, Payload | None]]] = {}
        self._waits: dict[str, deque[EventWait]] = {}
        self._waiting = 0

    def take(self, name: str) -> tuple[str, Payload | None] | None:
        """The oldest unconsumed event of that name."""
        queue = self._unconsumed.get(name.casefold())
        if not queue:
            return None
        taken = queue.popleft()
        self._count(taken[1], -1)
        return taken

    def expect(self, wait: EventWait) -> None:
        """Someone waits from now on. Raises LimitExceededError where too many do."""
        what = "the open waits of one run for external events"
        limits.check(what, self._waiting + 1, limits.OPEN_WAITS_MAX, "yield some before more")
        self._waiting += 1
        self._waits.setdefault(wait.name.casefold(), deque()).append(wait)

    def forget(self, wait: EventWait) -> None:
        """The wait is over without its event."""
        self._waits[wait.name.casefold()].remove(wait)
        self._waiting -= 1

    def is_awaited(self, name: str) -> bool:
        """Whether someone waits for such an event: then it takes up no room."""
        return bool(self._waits.get(name.casefold()))

    def offer(self, name: str, data: Payload | None) -> EventWait | None:
        """The oldest wait for that event, which ends; where there is none the event is kept."""
        waits = self._waits.get(name.casefold())
        if waits:
            self._waiting -= 1
            return waits.popleft()
        self._unconsumed.setdefault(name.casefold(), deque()).append((name, data))
        self._count(data, 1)
        return None

    def unconsumed(self) -> tuple[tuple[str, Payload | None], ...]:
        """All that nobody has asked for, in order per name."""
        return tuple(each for queue in self._unconsumed.values() for each in queue)

    def count_held(self, data: Payload | None, sign: int) -> None:
        """An event that waits for the end of a suspension takes up room as well."""
        self._count(data, sign)

    def _count(self, data: Payload | None, sign: int) -> None:
        self.count += sign
        self.size += sign * (len(data.data) if data is not None else 0)
