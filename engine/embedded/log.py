"""The owner's side of an embedded log: the `Log` port on one directory, for one process at a time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.core.limits import check
from engine.embedded import database as db
from engine.embedded import tails
from engine.embedded.requests import (
    AppendRequest,
    ClaimRequest,
    CommitRequest,
    OnDone,
    Outcomes,
    Outlet,
    ProgressRequest,
    TrimRequest,
)
from engine.embedded.writer import Writer
from engine.errors import LogUnavailableFault
from engine.ownership import OwnerLock
from engine.partition.ports import Append, Appender, Claim, Commit, CommitResult, Headers, Identity, Record

PARTITIONS = 4
DIRECTORY_MODE = 0o700
# How often it is looked whether the file is still in its place.
LOOK_S = 1.0
# Kafka's default limit is a little above; what fits here must fit there.
RECORD_BYTES_MAX = 1_000_000


def wall_clock_ms() -> int:
    """The broker's clock, where we are the broker."""
    return time.time_ns() // 1_000_000


class EmbeddedLog:
    """Implements `Log`. There is no group: this process owns all partitions while it has the directory."""

    def __init__(
        self, directory: Path, *, partitions: int = PARTITIONS, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        """Raises ConfigurationError: the directory has an owner, or holds something else."""
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        self.directory = directory
        self._reading = threading.Lock()
        self._news = threading.Condition()
        self._tails = tails.Tails()
        self._results: deque[tuple[Claim, CommitResult]] = deque()
        self._appended: Outlet = deque()
        self._committing: set[Claim] = set()
        self._is_closed = False
        self._look_at = 0.0
        with ExitStack() as resources:
            resources.callback(OwnerLock(directory, "the log").release)
            written = db.Database(directory, create=True)
            resources.callback(written.close)
            several, single = (db.INBOX, db.HISTORY), (db.COMMANDS, db.DEADLETTER, db.REPLIES)
            written.create(dict.fromkeys(several, partitions) | dict.fromkeys(single, 1))
            self._reader = db.Database(directory, create=False)
            resources.callback(self._reader.close)
            topics = self._reader.topics()
            found = {number: self._reader.progress(db.INBOX, number) for number in range(partitions)}
            self._progress = {number: offset for number, offset in found.items() if offset is not None}
            self.writer = Writer(written, partitions, now_ms, self._take_outcomes)
            self._resources = resources.pop_all()
        self._identity = Identity(
            commands_topic_id=topics[db.COMMANDS].topic_id,
            inbox_topic_id=topics[db.INBOX].topic_id,
            history_topic_id=topics[db.HISTORY].topic_id,
            partitions=partitions,
        )

    @property
    def identity(self) -> Identity:
        """The topics' ids, made when the directory was."""
        return self._identity

    @property
    def is_member(self) -> bool:
        """Whether the directory is ours."""
        return not self._is_closed

    def close(self) -> None:
        """Writes what was asked for, and lets another process own the directory. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self.writer.stop()
        with self._reading:
            self._resources.close()
        with self._news:
            self._news.notify_all()

    def assignment(self) -> frozenset[int]:
        """All partitions, until closed."""
        return frozenset() if self._is_closed else frozenset(range(self._identity.partitions))

    def claim(self, partition: int) -> Claim:
        """Fences every earlier claim of the partition. Raises LogUnavailableFault or LogDamagedFault."""
        assert 0 <= partition < self._identity.partitions, f"there is no partition {partition}"
        self._refuse_when_closed()
        claimed: Future[Claim] = Future()
        self.writer.put(ClaimRequest(partition, claimed))
        return claimed.result()

    def release(self, claim: Claim) -> None:
        """Lets go of a claim."""
        with self._news:
            self._tails.unfollow(claim)

    def read_history(self, claim: Claim, start: int, end: int) -> Iterator[list[Record]]:
        """Committed records from offset `start` up to `end`, in order, in batches."""
        while start < end:
            with self._reader_as_faults() as reader:
                records = reader.read(db.HISTORY, claim.partition, start, end)
            if not records:
                return
            start = records[-1].offset + 1
            yield records

    def read_inbox(self, claim: Claim, offset: int) -> Record | None:
        """The one inbox record at `offset`, None where there is none any more."""
        with self._reader_as_faults() as reader:
            records = reader.read(db.INBOX, claim.partition, offset, offset + 1)
        return records[0] if records else None

    def follow(self, claim: Claim, offset: int) -> None:
        """From now on `poll` returns the inbox from `offset`."""
        with self._news:
            self._tails.follow(claim, offset)
        self._progress[claim.partition] = offset

    def poll(self, timeout_ms: int) -> list[Record]:
        """Inbox records of all followed partitions; in offset order per partition; [] when none came in time.

        Returns early also for what `commit_results` has to tell. Raises LogDamagedFault, LogUnavailableFault,
        and ConfigurationError where the file has gone.
        """
        now = time.monotonic()
        if now >= self._look_at:
            # Also where nothing is written: what others are told of it is not true any more.
            self._look_at = now + LOOK_S
            self._reader.check_in_place()
        deadline = now + timeout_ms / 1000
        while True:
            self.writer.raise_if_dead()
            self._catch_up()
            with self._news:
                records = self._tails.take()
                remaining = deadline - time.monotonic()
                has_news = records or self._results or self._appended or self._tails.behind()
                if has_news or self._is_closed or remaining <= 0:
                    return records
                self._news.wait(remaining)

    def append(self, record: Append, on_done: OnDone | None = None) -> None:
        """Appends to the inbox, durably, in order per partition and caller. Any thread may call it."""
        self.append_to(self._appended, record, on_done)

    def append_to(self, outlet: Outlet, record: Append, on_done: OnDone | None) -> None:
        """Appends; the outcome goes to an outlet."""
        check_record(record.key, record.value, record.headers)
        assert 0 <= record.partition < self._identity.partitions, f"there is no partition {record.partition}"
        self._refuse_when_closed()
        self.writer.put(AppendRequest(record, on_done, outlet))

    def open_commit(self, claim: Claim, ahead: Sequence[tuple[bytes, bytes | None]]) -> None:
        """See the port. Here a commit has nothing to begin with."""

    def begin_commit(self, claim: Claim, commit: Commit) -> None:
        """Sends a commit; its outcome comes by `commit_results`. One at a time for each claim.

        Raises LimitExceededError for a record no log would take; then nothing of the commit was sent.
        """
        for key, value in commit.records:
            check_record(key, value, ())
        for letter in commit.dead_letters:
            check_record(letter.key, letter.value, letter.headers)
        for reply in commit.replies:
            check_record(reply.key, reply.value, ())
        check_record(b"", commit.checkpoint, ())
        self._refuse_when_closed()
        with self._news:
            assert claim not in self._committing, "one commit at a time for each claim"
            self._committing.add(claim)
        self.writer.put(CommitRequest(claim, commit))

    def commit_results(self) -> list[tuple[Claim, CommitResult]]:
        """Outcomes since the last call. Also runs the `on_done` callbacks of appends."""
        with self._news:
            results = list(self._results)
            self._results.clear()
            self._committing.difference_update(claim for claim, _ in results)
        deliver(self._appended)
        return results

    def appender(self) -> Appender:
        """A way into the inbox for another thread."""
        return EmbeddedAppender(self)

    def progress(self, partition: int) -> int | None:
        """How far the owner of a partition is, or was when it last was."""
        return self._progress.get(partition)

    def report_progress(self, claim: Claim, next_offset: int) -> None:
        """Notes it, for lag tools in the file too."""
        self._progress[claim.partition] = next_offset
        self.writer.put(ProgressRequest(db.INBOX, claim.partition, next_offset))

    def holds_membership(self, claim: Claim) -> bool:
        """Nobody else can be a member while we have the directory."""
        return not self._is_closed

    def trim(self, claim: Claim, before_offset: int) -> None:
        """Lets the inbox before `before_offset` go."""
        self.writer.put(TrimRequest(db.INBOX, claim.partition, before_offset))

    def _take_outcomes(self, outcomes: Outcomes) -> None:
        """Called by the writer's thread, after each transaction."""
        with self._news:
            self._tails.add(outcomes.inbox)
            self._results.extend(outcomes.results)
            for outlet, on_done, outcome in outcomes.appended:
                outlet.append((on_done, outcome))
            self._news.notify_all()

    def _catch_up(self) -> None:
        with self._news:
            behind = self._tails.behind()
        for claim, start, end in behind:
            with self._reader_as_faults() as reader:
                records = tails.read(reader, claim, start, end)
            with self._news:
                self._tails.add_read(claim, records)

    @contextmanager
    def _reader_as_faults(self) -> Iterator[db.Database]:
        with self._reading, db.as_faults():
            self._refuse_when_closed()
            yield self._reader

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            message = f"the log in {self.directory} is closed"
            raise LogUnavailableFault(message)


class EmbeddedAppender:
    """Implements `Appender`, for one thread."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self._outlet: Outlet = deque()

    def append(self, record: Append, on_done: OnDone) -> None:
        """Appends durably, in order per partition; the outcome is told by `deliver`, once."""
        self._log.append_to(self._outlet, record, on_done)

    def deliver(self) -> None:
        """Runs the `on_done` of what has an outcome."""
        deliver(self._outlet)

    def close(self) -> None:
        """Closing the log writes what is on its way."""


def deliver(outlet: Outlet) -> None:
    """Runs the callbacks of what is in the outlet now, not of what they cause."""
    for _ in range(len(outlet)):
        on_done, outcome = outlet.popleft()
        on_done(outcome)


def check_record(key: bytes, value: bytes | None, headers: Headers) -> None:
    """Raises LimitExceededError for a record that no log would take."""
    size = len(key) + len(value or b"")
    if headers:
        size += sum(len(name.encode()) + len(data) for name, data in headers)
    check("a record (bytes)", size, RECORD_BYTES_MAX, "store large values elsewhere and pass a reference")
