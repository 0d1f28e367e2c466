"""For how long something has been waiting, told from where an end was seen and when. It reads no clock."""

from collections import deque

import msgspec

MARKS_MAX = 1_000


class Backlog:
    """Since when there is something before a reader, from what was seen of the end."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, now: float, end: int) -> None:
        """The end, as it is now."""
        if self._marks and self._marks[-1][1] >= end:
            return
        if len(self._marks) == MARKS_MAX:
            # Better a little too old than forgotten: who is so far behind should be seen.
            now = self._marks.pop()[0]
        self._marks.append((now, end))

    def since(self, done: int) -> float | None:
        """When the oldest record at or behind `done` was first seen; None where there is none."""
        while self._marks and self._marks[0][1] <= done:
            self._marks.popleft()
        return self._marks[0][0] if self._marks else None


class Waiting(msgspec.Struct, frozen=True):
    """What waits in one partition: so many records, the oldest seen first at this time."""

    records: int = 0
    since: float | None = None

    def seconds(self, now: float) -> float:
        """For how long the oldest has been waiting."""
        return 0.0 if self.since is None or not self.records else max(0.0, now - self.since)
