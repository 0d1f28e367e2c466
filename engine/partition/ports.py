"""What a partition's machine asks of the world: a Log, a Store and a Clock. They speak bytes.

Three logs implement `Log` and pass one contract suite: Kafka, the embedded one, and the adversarial one of
the simulator. Nothing above this line knows which it has. All methods are called by one thread, the owner's,
except `Log.append`, which activity threads call too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

Headers = tuple[tuple[str, bytes], ...]


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as read. `value` None is a tombstone."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes | None
    headers: Headers = ()


class Append(msgspec.Struct, frozen=True, gc=False):
    """One record to be appended to the inbox."""

    partition: int
    key: bytes
    value: bytes
    headers: Headers = ()


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The log has it, at `offset`; or, with offset -1, it may or may not have it and was given up."""

    offset: int
    timestamp_ms: int


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A refused record as it was, and why, in headers."""

    key: bytes
    value: bytes
    headers: Headers


class ReplyRecord(msgspec.Struct, frozen=True, gc=False):
    """The answer to a command. `requester` names its partition, as `codec.topics` has it."""

    requester: str
    key: bytes
    value: bytes


class Identity(msgspec.Struct, frozen=True):
    """What must not change under an owner: the topics' ids and how many partitions they have."""

    commands_topic_id: str
    inbox_topic_id: str
    history_topic_id: str
    partitions: int


class Claim(msgspec.Struct, frozen=True):
    """A partition fenced for us, and the bounds of what there is to read.

    `history_end` is the high watermark: it lies behind every record of an earlier owner, aborted ones
    included.
    """

    partition: int
    token: int
    history_start: int
    history_end: int
    inbox_start: int
    inbox_end: int


class Commit(msgspec.Struct, frozen=True):
    """All that becomes true at once, or not at all. The checkpoint is written last."""

    records: Sequence[tuple[bytes, bytes | None]]
    checkpoint: bytes
    dead_letters: Sequence[DeadLetter] = ()
    replies: Sequence[ReplyRecord] = ()


class Committed(msgspec.Struct, frozen=True, gc=False):
    """A commit is in the log; `history_position` is the offset behind its checkpoint."""

    history_position: int
    timestamp_ms: int


class Fenced(msgspec.Struct, frozen=True, gc=False):
    """A later claim exists, or this one's transaction timed out.

    Nothing of the commit is or will be in the log.
    """

    detail: str


class Doubt(msgspec.Struct, frozen=True, gc=False):
    """The commit may be in the log or not, now or later. Only a new claim tells."""

    detail: str


CommitResult = Committed | Fenced | Doubt


class Appender(Protocol):
    """A second way into the inbox, for the ingress's thread: its own order, its own outcomes."""

    def append(self, record: Append, on_done: Callable[[Appended], None]) -> None:
        """Appends durably, in order per partition; the outcome is told by `deliver`, once."""
        ...

    def deliver(self) -> None:
        """Runs the `on_done` of what has an outcome."""
        ...

    def close(self) -> None:
        """Waits, briefly, for what is on its way."""
        ...


class Log(Protocol):
    """The topics of one app, as their owners see them."""

    @property
    def identity(self) -> Identity:
        """The topics' ids, read when the log was opened."""
        ...

    def assignment(self) -> frozenset[int]:
        """The partitions that the group gives us now.

        Also keeps us a member; call it often (every 100 ms).
        """
        ...

    def claim(self, partition: int) -> Claim:
        """Fences every earlier claim of the partition and ends what they left open.

        Raises LogUnavailableFault (try again later) or LogDamagedFault (topics changed).
        """
        ...

    def release(self, claim: Claim) -> None:
        """Lets go of a claim: its producers are closed, its inbox is no longer polled. Never raises."""
        ...

    def read_history(self, claim: Claim, start: int, end: int) -> Iterator[list[Record]]:
        """Committed records from offset `start` up to `end`, in order, in batches.

        Raises LogUnavailableFault.
        """
        ...

    def read_inbox(self, claim: Claim, offset: int) -> Record | None:
        """The one inbox record at `offset`, None where there is none any more. Raises LogUnavailableFault."""
        ...

    def follow(self, claim: Claim, offset: int) -> None:
        """From now on `poll` returns the inbox from `offset`."""
        ...

    def poll(self, timeout_ms: int) -> list[Record]:
        """Inbox records of all followed partitions; in offset order per partition; [] when none came in time.

        Raises LogDamagedFault where a followed offset is gone.
        """
        ...

    def append(self, record: Append, on_done: Callable[[Appended], None] | None = None) -> None:
        """Appends to the inbox, durably.

        Without `on_done` it is retried without limit, and may be overtaken by later ones: results and timers
        have no order among each other. With it they are in order per partition and caller, and the outcome is
        told by `commit_results`, once.
        """
        ...

    def open_commit(self, claim: Claim, ahead: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Lets the next commit begin early, with the first of its records, which it is to repeat.

        For latency alone; does not wait, and fails by the commit's outcome. Not while one is under way.
        """
        ...

    def begin_commit(self, claim: Claim, commit: Commit) -> None:
        """Sends a commit; its outcome comes by `commit_results`. One at a time for each claim."""
        ...

    def commit_results(self) -> list[tuple[Claim, CommitResult]]:
        """Outcomes since the last call.

        After Fenced or Doubt the claim is void. Also runs `on_done` callbacks.
        """
        ...

    def appender(self) -> Appender:
        """A way into the inbox for another thread."""
        ...

    def progress(self, partition: int) -> int | None:
        """How far the owner of a partition is, as far as is known here: the next offset it will process."""
        ...

    def report_progress(self, claim: Claim, next_offset: int) -> None:
        """Tells lag tools and the ingress how far the inbox is processed and committed. Best effort."""
        ...

    def holds_membership(self, claim: Claim) -> bool:
        """Whether the group counts us as the partition's member, as far as we know.

        Then a fence was not meant. The group is asked too. Its answer comes by `assignment`, and is not
        waited for: a group that stands still would hold up every partition of the process.
        """
        ...

    def trim(self, claim: Claim, before_offset: int) -> None:
        """Lets the inbox before `before_offset` go. Best effort, asynchronous."""
        ...


class CommandSource(Protocol):
    """`commands` as the ingress reads it: committed records only, shared out among the workers of the app."""

    @property
    def topic_id(self) -> str:
        """The id of `commands`."""
        ...

    @property
    def is_beginning(self) -> bool:
        """Whether the next `poll` asks where some partition begins, which may take as long as a request."""
        ...

    def assignment(self) -> dict[int, int]:
        """Our partitions of `commands`, each with a number that changes when it starts over."""
        ...

    def poll(self, timeout_ms: int) -> list[Record]:
        """Further records, in order per partition.

        A partition that is ours anew begins at its group offset.
        """
        ...

    def commit(self, positions: dict[int, int]) -> None:
        """Everything before these offsets is in the inbox. Lets the log drop it. Best effort."""
        ...

    def restart(self) -> None:
        """Reads again from the group offsets; the numbers in `assignment` change."""
        ...


class CommandsEnd(msgspec.Struct, frozen=True):
    """One partition of `commands`: how far the group of ingresses is, can be, and could be.

    Between `stable` and `end` stands a transaction that its producer has left open.
    """

    done: int
    stable: int
    end: int


class Ends(msgspec.Struct, frozen=True):
    """What was found."""

    commands: dict[int, CommandsEnd]
    inbox: dict[int, int]


class LagSource(Protocol):
    """Who reads it. One thread."""

    def read(self, commands: Iterable[int], inbox: Iterable[int]) -> Ends:
        """The ends of these partitions. Raises EngineError."""
        ...


class Store(Protocol):
    """The cache of one partition.

    Keys and values that may vanish at any time, with the position they stand for.
    """

    def position(self) -> "StorePosition | None":
        """What the last write said, None for a new or wiped store."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`. Raises CacheCorruptFault."""
        ...

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with `prefix`, in order, and are not before `start`.

        Raises CacheCorruptFault, also for a scan cut short.
        """
        ...

    def write(
        self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], position: "StorePosition"
    ) -> None:
        """All of it and the position, at once. Raises CacheCorruptFault."""
        ...

    def wipe(self) -> None:
        """Empties it."""
        ...

    def size_bytes(self) -> int:
        """How much room it takes, about. Any thread."""
        ...

    def close(self) -> None:
        """Lets go of its files."""
        ...


class StorePosition(msgspec.Struct, frozen=True, kw_only=True):
    """What a store is true up to."""

    history_topic_id: str
    history_position: int
    written_at_ms: int
    checkpoint: bytes = b""


class Clock(Protocol):
    """Time as this machine has it: only for waiting and measuring, never for what is recorded."""

    def monotonic_ms(self) -> int:
        """A clock that only goes forward."""
        ...
