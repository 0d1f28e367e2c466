"""Wakes the threads that wait for something to have changed."""

import threading


class Signal:
    """A counter that can be waited for. What was missed while not waiting is seen by the counter."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    @property
    def count(self) -> int:
        """How often it was notified."""
        return self._count

    def notify(self) -> None:
        """Wakes all who wait."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout_s: float) -> int:
        """Waits for a count other than `seen`; returns the count."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != seen, timeout_s)
            return self._count
