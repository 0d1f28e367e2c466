"""What the writer can be asked for, and the group of such requests that becomes one SQLite transaction.

A group is built in memory first: offsets, fencing and outcomes are decided without a statement being run,
because every statement gives the GIL away. An outcome is told only after the transaction that holds it was
committed.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import msgspec

from engine.codec.topics import CHECKPOINT_KEY
from engine.embedded import database as db
from engine.partition.ports import (
    Append,
    Appended,
    Claim,
    Commit,
    CommitResult,
    Committed,
    Fenced,
    Headers,
    Record,
)

# Readers find every checkpoint of this stretch; older ones are deleted, as Kafka's compaction would.
CHECKPOINTS_KEPT_OFFSETS = 10_000
PRUNED = "pruned history"
# Who asked reads at once; on Kafka they are kept for an hour.
REPLIES_KEPT = 10_000

OnDone = Callable[[Appended], None]
# Where a caller's outcomes wait until it runs the callbacks. Adding to a deque needs no lock.
Outlet = deque[tuple[OnDone, Appended]]


class AppendRequest(msgspec.Struct, frozen=True, gc=False):
    """Append to the inbox. The outcome goes to the outlet, where the caller's thread runs `on_done`."""

    record: Append
    on_done: OnDone | None
    outlet: Outlet


class PublishRequest(msgspec.Struct, frozen=True):
    """Append to the commands; others do so too, from other processes."""

    key: bytes
    value: bytes
    headers: Headers
    result: "Future[Appended]"


class CommitRequest(msgspec.Struct, frozen=True, gc=False):
    """Append a commit to the history, if the claim still counts."""

    claim: Claim
    commit: Commit


class ClaimRequest(msgspec.Struct, frozen=True):
    """Fence all earlier claims of a partition."""

    partition: int
    result: "Future[Claim]"


class TrimRequest(msgspec.Struct, frozen=True, gc=False):
    """Delete what lies before an offset."""

    topic: str
    partition: int
    before_offset: int


class ProgressRequest(msgspec.Struct, frozen=True, gc=False):
    """Note how far a reader has come."""

    name: str
    partition: int
    offset: int


class StopRequest(msgspec.Struct, frozen=True, gc=False):
    """End the writer, after what was asked for before."""


Request = (
    AppendRequest
    | PublishRequest
    | CommitRequest
    | ClaimRequest
    | TrimRequest
    | ProgressRequest
    | StopRequest
)


class Bounds:
    """What the writer knows of the log without asking SQLite: nobody else writes these topics."""

    def __init__(self, database: db.Database, partitions: int) -> None:
        places = [(db.INBOX, number) for number in range(partitions)]
        places += [(db.HISTORY, number) for number in range(partitions)]
        places += [(db.DEADLETTER, 0), (db.REPLIES, 0), (db.COMMANDS, 0)]
        self.starts = {place: database.start_offset(*place) for place in places}
        self.ends = {place: database.end_offset(*place) for place in places}
        self.pruned = {number: database.progress(PRUNED, number) or 0 for number in range(partitions)}
        self.epochs = database.epochs()


class Outcomes:
    """What is told once a group is committed."""

    def __init__(self) -> None:
        self.inbox: list[Record] = []
        self.appended: list[tuple[Outlet, OnDone, Appended]] = []
        self.results: list[tuple[Claim, CommitResult]] = []
        self.claims: list[tuple[Future[Claim], Claim]] = []
        self.published: list[tuple[Future[Appended], Appended]] = []


class Group:
    """Requests taken together. Changes `bounds` as it goes: if it fails, they must be read again."""

    def __init__(self, bounds: Bounds, now_ms: int) -> None:
        self.outcomes = Outcomes()
        self._bounds = bounds
        self._now_ms = now_ms
        self._rows: dict[str, list[db.Row]] = {}
        self._claimed: dict[int, int] = {}
        self._trimmed: dict[tuple[str, int], tuple[int, int]] = {}
        self._pruned: dict[int, tuple[int, int]] = {}
        self._progress: dict[tuple[str, int], int] = {}

    def add(self, request: Request) -> None:
        """Decides what becomes of a request."""
        match request:
            case AppendRequest():
                self._append(request)
            case CommitRequest():
                self._commit(request)
            case PublishRequest():
                offset = self._add_row(db.COMMANDS, 0, request.key, request.value, request.headers)
                self.outcomes.published.append((request.result, Appended(offset, self._now_ms)))
            case ClaimRequest():
                self._claim(request)
            case TrimRequest():
                self._trim(request)
            case ProgressRequest():
                self._progress[request.name, request.partition] = request.offset
            case StopRequest():
                pass

    def write(self, database: db.Database) -> None:
        """Runs the statements; inside a transaction, unless there is but one."""
        for topic, rows in self._rows.items():
            database.insert(topic, rows)
        for partition, epoch in self._claimed.items():
            database.set_epoch(partition, epoch)
        for (topic, partition), (start, end) in self._trimmed.items():
            database.delete(topic, partition, start, end)
        for partition, bounds in self._pruned.items():
            database.delete_key(db.HISTORY, partition, bounds, CHECKPOINT_KEY)
            database.set_progress(PRUNED, partition, bounds[1])
        for (name, partition), offset in self._progress.items():
            database.set_progress(name, partition, offset)

    def is_one_statement(self) -> bool:
        """Whether SQLite's own transaction around a statement will do."""
        others = self._claimed or self._trimmed or self._pruned or self._progress
        return not others and len(self._rows) == 1 and len(next(iter(self._rows.values()))) in db.INSERT_SIZES

    def _append(self, request: AppendRequest) -> None:
        record = request.record
        offset = self._add_row(db.INBOX, record.partition, record.key, record.value, record.headers)
        self.outcomes.inbox.append(
            Record(
                partition=record.partition,
                offset=offset,
                timestamp_ms=self._now_ms,
                key=record.key,
                value=record.value,
                headers=record.headers,
            )
        )
        if request.on_done is not None:
            self.outcomes.appended.append((request.outlet, request.on_done, Appended(offset, self._now_ms)))

    def _commit(self, request: CommitRequest) -> None:
        partition = request.claim.partition
        latest = self._bounds.epochs.get(partition, 0)
        if latest != request.claim.token:
            fenced = Fenced(
                f"partition {partition}: claim {request.claim.token} was followed by claim {latest}"
            )
            self.outcomes.results.append((request.claim, fenced))
            return
        for key, value in request.commit.records:
            self._add_row(db.HISTORY, partition, key, value, ())
        for letter in request.commit.dead_letters:
            self._add_row(db.DEADLETTER, 0, letter.key, letter.value, letter.headers)
        for reply in request.commit.replies:
            self._add_row(db.REPLIES, 0, reply.key, reply.value, ())
        behind = self._add_row(db.HISTORY, partition, CHECKPOINT_KEY, request.commit.checkpoint, ()) + 1
        # The place of Kafka's marker, as `Database.end_offset` has it.
        self._bounds.ends[db.HISTORY, partition] = behind + 1
        self._prune(partition, behind)
        self._prune_replies()
        self.outcomes.results.append((request.claim, Committed(behind, self._now_ms)))

    def _prune(self, partition: int, history_position: int) -> None:
        start = self._bounds.pruned[partition]
        if history_position - start < 2 * CHECKPOINTS_KEPT_OFFSETS:
            return
        end = history_position - CHECKPOINTS_KEPT_OFFSETS
        self._bounds.pruned[partition] = end
        self._pruned[partition] = (start, end)

    def _prune_replies(self) -> None:
        place = (db.REPLIES, 0)
        end = self._bounds.ends[place]
        if end - self._bounds.starts[place] >= 2 * REPLIES_KEPT:
            self._trim(TrimRequest(*place, end - REPLIES_KEPT))

    def _claim(self, request: ClaimRequest) -> None:
        bounds, partition = self._bounds, request.partition
        epoch = bounds.epochs.get(partition, 0) + 1
        bounds.epochs[partition] = self._claimed[partition] = epoch
        claim = Claim(
            partition=partition,
            token=epoch,
            history_start=bounds.starts[db.HISTORY, partition],
            history_end=bounds.ends[db.HISTORY, partition],
            inbox_start=bounds.starts[db.INBOX, partition],
            inbox_end=bounds.ends[db.INBOX, partition],
        )
        self.outcomes.claims.append((request.result, claim))

    def _trim(self, request: TrimRequest) -> None:
        place = (request.topic, request.partition)
        start = self._bounds.starts[place]
        # Where commands end only a group that publishes some knows; but they are trimmed behind what was
        # read.
        end = request.before_offset if request.topic == db.COMMANDS else self._bounds.ends[place]
        before = min(request.before_offset, end)
        if before > start:
            self._bounds.starts[place] = before
            self._trimmed[place] = (self._trimmed.get(place, (start, 0))[0], before)

    def _add_row(self, topic: str, partition: int, key: bytes, value: bytes | None, headers: Headers) -> int:
        offset = self._bounds.ends[topic, partition]
        self._bounds.ends[topic, partition] = offset + 1
        row = (db.place_of(partition, offset), self._now_ms, key, value, db.headers_to_bytes(headers))
        self._rows.setdefault(topic, []).append(row)
        return offset
