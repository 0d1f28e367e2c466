"""What a client asks of a log: publish a command, read and tail committed history, replies, dead letters.

Kafka and the embedded log implement it. Nothing uncommitted ever comes through here.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

import msgspec

from engine.errors import PublicError
from engine.partition.ports import Headers, Record

if TYPE_CHECKING:
    from engine.client.deadletters import DeadLetterEntry

OnPublished = Callable[[PublicError | None], None]


class TopicIds(msgspec.Struct, frozen=True):
    """What tells a topic from another of the same name that was made later."""

    commands: str
    history: str


class Ownership(msgspec.Struct, frozen=True, kw_only=True):
    """Who has a partition, None where nobody does; and where its inbox begins and ends."""

    owner: str | None
    inbox_start: int
    inbox_end: int


class Tail(Protocol):
    """Committed history, or replies, as they grow. One thread uses it."""

    def follow(self, positions: dict[int, int]) -> None:
        """From now on `poll` also returns these partitions, from these offsets. Each is followed once."""
        ...

    def poll(self, timeout_ms: int) -> list[Record]:
        """Further records, in order per partition; [] when none came in time. Raises a Fault."""
        ...

    def positions(self) -> dict[int, int]:
        """By followed partition: everything committed before this offset was returned by `poll`."""
        ...

    @property
    def is_down(self) -> bool:
        """Whether nobody answered at some time. It reads on later, and stays so: open another."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...


class Replayer(Protocol):
    """Publishes dead letters once more. One thread uses it."""

    def replay(self, letters: "Sequence[DeadLetterEntry]") -> int:
        """Publishes the letters that are not marked yet and marks them: all of it at once, or nothing.

        Returns how many there were. Raises UnreachableError.
        """
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

    def publish_lone(self, key: bytes, value: bytes, headers: Headers) -> "Future[None]":
        """As `publish`, but no other command holds it up. Dearer; in no order with what `publish` sends."""
        ...

    def topic_ids(self) -> TopicIds:
        """As they are now. Raises UnreachableError."""
        ...

    def ends(self) -> dict[int, int]:
        """By partition, the end of the last commit of history."""
        ...

    def read_history(self, partition: int, start: int) -> Iterator[list[Record]]:
        """What is committed at the call, from offset `start`, in batches. Raises UnreachableError."""
        ...

    def open_tail(self) -> Tail:
        """A tail of history that follows nothing yet."""
        ...

    def read_dead_letters(self) -> Iterator[list[Record]]:
        """All dead letters that are still kept, partition by partition; and the marks of those replayed.

        Raises UnreachableError.
        """
        ...

    def open_replayer(self) -> Replayer:
        """Whoever else replays is stopped; all marks are read by `read_dead_letters` from now on.

        Raises UnreachableError.
        """
        ...

    def ownership(self) -> dict[int, Ownership]:
        """By partition, as the group of workers says now. Raises UnreachableError."""
        ...

    def reply_ends(self, requester: str) -> dict[int, int]:
        """The end of the committed replies, in the one partition that has those to `requester`.

        Raises UnreachableError, and ConfigurationError where no worker has made the topic yet.
        """
        ...

    def open_reply_tail(self) -> Tail:
        """A tail of replies that follows nothing yet."""
        ...

    def close(self) -> None:
        """Waits, briefly, for what is being published, and lets go of everything."""
        ...
