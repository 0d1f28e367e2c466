"""What a client asks of a log: publish a command, read and tail committed history, read dead letters.

Kafka and the embedded log implement it. Nothing uncommitted ever comes through here.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from engine.errors import PublicError
from engine.partition.ports import Record

OnPublished = Callable[[PublicError | None], None]


class HistoryTail(Protocol):
    """Committed history as it grows. One thread uses it."""

    def follow(self, positions: dict[int, int]) -> None:
        """From now on `poll` also returns these partitions, from these offsets. Each is followed once."""
        ...

    def poll(self, timeout_ms: int) -> list[Record]:
        """Further records, in order per partition; [] when none came in time. Raises a Fault."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...


class Connection(Protocol):
    """A log as clients see it. Any thread."""

    @property
    def partitions(self) -> int:
        """How many partitions history has."""
        ...

    def publish(self, key: bytes, value: bytes, on_done: OnPublished) -> None:
        """Appends to `commands`, in order per key.

        `on_done` is called once, by any thread, also this one: with None when all replicas have it, or with
        why that is not known.
        """
        ...

    def ends(self) -> dict[int, int]:
        """By partition, the end of the last commit of history."""
        ...

    def read_history(self, partition: int, start: int) -> Iterator[list[Record]]:
        """What is committed at the call, from offset `start`, in batches. Raises UnreachableError."""
        ...

    def open_tail(self) -> HistoryTail:
        """A tail that follows nothing yet."""
        ...

    def read_dead_letters(self) -> Iterator[list[Record]]:
        """All dead letters that are still kept, partition by partition. Raises UnreachableError."""
        ...

    def close(self) -> None:
        """Waits, briefly, for what is being published, and lets go of everything."""
        ...
