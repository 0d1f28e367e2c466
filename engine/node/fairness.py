"""A queue of calls in which instances take turns: ten thousand calls of one hold up nobody else.

The calls of one instance keep their order.
"""

import threading
from collections import deque

from engine.model.effects import RunActivity

Call = tuple[RunActivity, int]


class FairQueue:
    """Calls with their partitions. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The next call of every instance that has any, in the order of their turns.
        self._next: deque[Call] = deque()
        self._instances: set[str] = set()
        # What an instance has asked for besides.
        self._behind: dict[str, deque[Call]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, call: Call) -> None:
        """At the end of its instance's own."""
        instance_id = call[0].instance_id
        with self._lock:
            self._size += 1
            if instance_id in self._instances:
                self._behind.setdefault(instance_id, deque()).append(call)
            else:
                self._instances.add(instance_id)
                self._next.append(call)

    def take(self) -> Call | None:
        """The call whose instance's turn it is; None where there is none."""
        with self._lock:
            if not self._next:
                return None
            self._size -= 1
            call = self._next.popleft()
            instance_id = call[0].instance_id
            behind = self._behind.get(instance_id)
            if behind is None:
                self._instances.discard(instance_id)
            else:
                self._next.append(behind.popleft())
                if not behind:
                    del self._behind[instance_id]
            return call

    def clear(self) -> None:
        """Forgets all of them."""
        with self._lock:
            self._size = 0
            self._next.clear()
            self._instances.clear()
            self._behind.clear()
