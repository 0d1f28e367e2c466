"""The thread that keeps the read model true: it tails history, folds, writes. Only readers wait for it.

Rules
* One thread, with a tail and a file of its own: it can fall behind, or rebuild, without holding up anybody.
* A history that was made anew, or lost what was read of it, empties the file, and all is read again.
* What passes, such as a Kafka that doesn't answer, is tried again for as long as it takes.
"""

import logging
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from engine.client.connection import Connection, Tail
from engine.client.errors import UnreachableError, faults_made_public
from engine.client.fold import Commits, whole
from engine.codec.topics import CHECKPOINT_KEY
from engine.errors import ConfigurationError
from engine.partition.ports import Record
from engine.projection.database import Database, Source, remove, size_of
from engine.projection.fold import Folder
from engine.projection.reach import Reach
from engine.projection.reader import Reader

log = logging.getLogger(__name__)

POLL_MS = 50
PAUSE_S = 1.0
CLOSE_S = 5.0
DOUBTED = "a reader found it so"
GONE = "it was removed, or replaced, while it was in use"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the way to the end of history is, as it was when it began."""

    offset: int
    end: int
    is_rebuild: bool

    @property
    def is_done(self) -> bool:
        """Whether all of it is in the file."""
        return self.offset >= self.end


def _nobody(_: "Projection") -> None:
    """Told of every change, where nobody else is."""


class Projection:
    """The read model of an app in the SQLite file at `path`, or that of some partitions. Any thread."""

    def __init__(
        self,
        connection: Connection,
        path: Path,
        *,
        partitions: Sequence[int] | None = None,
        on_change: "Callable[[Projection], None]" = _nobody,
    ) -> None:
        """Made ready for readers at once; history is read from `start` on. Raises UnreachableError.

        `on_change` is called by its thread, when readers see more, or another file, or it has failed.
        """
        self._connection = connection
        self.path = path
        self._on_change = on_change
        self.partitions = tuple(range(connection.partitions)) if partitions is None else tuple(partitions)
        self._reach = Reach()
        self._stopping = threading.Event()
        # Whether a reader found the file of today damaged.
        self._doubted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projection", daemon=True)
        self._ends: dict[int, int] = {}
        self._is_rebuild = False
        # Files so far: readers of an earlier one must open anew.
        self.generation = 0
        self.events = 0
        self.failure: BaseException | None = None
        with closing(self._open()):
            pass

    def start(self) -> None:
        """Begins to follow history."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, within seconds. What it did not write is read again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def doubt(self, generation: int) -> None:
        """A reader of that file found it damaged, which a writer may never meet. It is built anew."""
        if generation == self.generation:
            self._doubted.set()

    def is_damaged(self) -> bool:
        """Whether its file is, as far as SQLite can tell. Reads all of it."""
        try:
            with closing(self.open_reader()) as reader:
                return not reader.is_sound()
        except sqlite3.OperationalError:
            return False
        except sqlite3.DatabaseError:
            return True

    def open_reader(self) -> Reader:
        """A way to ask, for one thread."""
        return Reader(self.path)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where its file is."""
        return (self.path,)

    def file_bytes(self) -> int:
        """What its files take on disk now."""
        return size_of(self.path)

    @property
    def has_failed(self) -> bool:
        """Whether a bug of ours ended the thread: from then on the file stands still."""
        return self.failure is not None

    @property
    def positions(self) -> Mapping[int, int]:
        """By partition, the offset of history that readers see."""
        return self._reach.positions

    @property
    def progress(self) -> Progress:
        """How far the way to where history ended at the start is."""
        positions = self._reach.positions
        reached = sum(min(positions.get(number, 0), end) for number, end in self._ends.items())
        return Progress(offset=reached, end=sum(self._ends.values()), is_rebuild=self._is_rebuild)

    def reached(self, wanted: Mapping[int, int]) -> "Future[None]":
        """Done when readers see all of history up to these positions."""
        return self._reach.reached({n: wanted[n] for n in wanted if n in self.partitions})

    # --- the thread ---

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._try_to_follow()
                self._stopping.wait(PAUSE_S)
        except BaseException as problem:
            log.critical("the projection stands still by a bug of its own", exc_info=problem)
            self.failure = problem
            self._on_change(self)

    def _try_to_follow(self) -> None:
        try:
            with faults_made_public():
                self._follow()
        except UnreachableError as problem:
            log.warning("the projection can't read history, and tries again: %s", problem)
        except ConfigurationError as problem:
            # History no longer holds what the file was made from.
            log.warning("the projection is built anew: %s", problem)
            self._empty()
        except sqlite3.OperationalError as problem:
            log.warning("the projection can't be written, and is tried again: %s", problem)
        except sqlite3.DatabaseError as problem:
            log.warning("the projection's file is damaged, and is built anew: %s", problem)
            # At once, lest readers find none meanwhile.
            with suppress(sqlite3.Error):
                self._anew().close()

    def _open(self) -> Database:
        self._source = Source(
            history_topic_id=self._connection.topic_ids().history, partitions=tuple(sorted(self.partitions))
        )
        try:
            return self._opened()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return self._anew()

    def _opened(self) -> Database:
        database = Database(self.path)
        try:
            if not database.prepare(self._source):
                self._is_rebuild = True
                self._reach.reset()
                self._on_change(self)
        except BaseException:
            database.close()
            raise
        return database

    def _empty(self) -> None:
        with closing(Database(self.path)) as database:
            database.prepare(Source(history_topic_id="", partitions=()))

    def _anew(self) -> Database:
        """Another file in place of this one."""
        remove(self.path)
        self._doubted.clear()
        # Nobody sees anything of it from here on.
        self._reach.reset()
        try:
            return self._opened()
        finally:
            self.generation += 1
            self._on_change(self)

    def _follow(self) -> None:
        with closing(self._open()) as database, closing(self._connection.open_tail()) as tail:
            folder = Folder(database)
            starts = dict.fromkeys(self.partitions, 0) | database.positions()
            self._check(starts)
            self._advance(starts)
            tail.follow(starts)
            self._drive(tail, database, folder)

    def _check(self, starts: dict[int, int]) -> None:
        ends = self._connection.ends()
        self._ends = {number: ends[number] for number in starts}
        for number, start in starts.items():
            # An open transaction may hold the end back, but never before what was read committed.
            if start > ends[number]:
                message = f"history partition {number} ends at {ends[number]}, but was read up to {start}"
                raise ConfigurationError(message)

    def _drive(self, tail: Tail, database: Database, folder: Folder) -> None:
        commits: dict[int, Commits] = defaultdict(Commits)
        began, before = time.monotonic(), self.events
        is_told = False
        positions: dict[int, int] = {}
        while not self._stopping.is_set():
            has_news = self._take(tail.poll(POLL_MS), commits, folder)
            if not database.is_in_place():
                raise sqlite3.DatabaseError(GONE)
            if self._doubted.is_set():
                raise sqlite3.DatabaseError(DOUBTED)
            # Inside a commit the file is true up to the commit before.
            reached = whole(commits, tail.positions())
            if has_news:
                folder.write(reached)
                self.events = before + folder.events
            if reached != positions:
                positions = reached
                self._advance(reached)
            if not is_told and self.progress.is_done:
                is_told = True
                count, seconds = self.events - before, time.monotonic() - began
                log.info("the projection has caught up: %d events in %.1f s", count, seconds)

    def _advance(self, positions: Mapping[int, int]) -> None:
        self._reach.advance(positions)
        self._on_change(self)

    def _take(self, records: list[Record], commits: dict[int, Commits], folder: Folder) -> bool:
        """Whether there is anything to write."""
        has_news = False
        for record in records:
            events = commits[record.partition].add(record)
            if record.key == CHECKPOINT_KEY:
                folder.take(events, record.partition, record.offset + 1)
                has_news = True
        return has_news
