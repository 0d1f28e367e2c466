"""Committed history as it comes, for those who wait: it wakes them.

It never waits for SQLite, and decodes nothing.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

from engine.client.connection import Connection
from engine.client.fold import Commits, instance_key_of, whole
from engine.codec.topics import CHECKPOINT_KEY
from engine.gateway.follower import Follower
from engine.partition.ports import Record
from engine.projection import Reach

WATCHED_RECORDS_MAX = 20_000
WATCHED_BYTES_MAX = 16 * 1024 * 1024


class Watch:
    """What came of one instance, or of all, since it began. The feed adds, its one reader takes."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._records: list[Record] = []
        self._bytes = 0
        # Whether something of what came is missing here: its reader must look at what is on record again.
        self.is_cut = False

    def add(self, record: Record) -> None:
        """One more record."""
        with self._lock:
            self._bytes += len(record.value or b"")
            if len(self._records) >= WATCHED_RECORDS_MAX or self._bytes > WATCHED_BYTES_MAX:
                # Nobody took what came, and memory has a bound.
                self.is_cut = True
                return
            self._records.append(record)

    def cut(self) -> None:
        """What comes from now on does not follow what came before."""
        self.is_cut = True

    def wake(self) -> None:
        """Lets the reader look."""
        self._wake()

    def take(self) -> list[Record]:
        """All that came since the last call."""
        with self._lock:
            taken, self._records, self._bytes = self._records, [], 0
        return taken


class Feed:
    """The tail of history of one gateway. Any thread may watch."""

    def __init__(self, connection: Connection) -> None:
        self.reach = Reach()
        self._lock = threading.Lock()
        self._watches: dict[bytes, list[Watch]] = {}
        self._watches_of_all: list[Watch] = []
        self._commits: dict[int, Commits] = defaultdict(Commits)
        # How often history was found to be another than before.
        self.losses = 0
        self._follower = Follower(
            "gateway-feed", connection.open_tail, connection.ends, self._take, self._restart
        )

    def start(self) -> None:
        """Begins at the present end of history. Raises UnreachableError."""
        self.reach.advance(self._follower.start())

    def close(self) -> None:
        """Ends it."""
        self._follower.close()

    @property
    def is_following(self) -> bool:
        """Whether history can be read."""
        return self._follower.is_following

    def watch(self, instance_id: str | None, wake: Callable[[], None]) -> Watch:
        """From now on `wake` is called, by the feed's thread, when something came of the instance, or of any.

        It is certain to bring what lies behind `reach` as it is after this call.
        """
        watch = Watch(wake)
        with self._lock:
            if instance_id is None:
                self._watches_of_all = [*self._watches_of_all, watch]
            else:
                key = instance_id.encode()
                self._watches[key] = [*self._watches.get(key, ()), watch]
        return watch

    def leave(self, instance_id: str | None, watch: Watch) -> None:
        """Ends what `watch` began."""
        with self._lock:
            if instance_id is None:
                self._watches_of_all = [each for each in self._watches_of_all if each is not watch]
                return
            key = instance_id.encode()
            left = [each for each in self._watches.get(key, ()) if each is not watch]
            if left:
                self._watches[key] = left
            else:
                self._watches.pop(key, None)

    # --- the thread ---

    def _restart(self, positions: Mapping[int, int] | None) -> None:
        """A new tail. If it does not go on where the last ended, no watch may wait for what lies between."""
        self._commits.clear()
        if positions is None:
            return
        with self._lock:
            self.losses += 1
            self.reach.reset()
            self.reach.advance(positions)
            watches = [*self._watches_of_all, *(each for many in self._watches.values() for each in many)]
        for watch in watches:
            watch.cut()
            watch.wake()

    def _take(self, records: list[Record], positions: Mapping[int, int]) -> Mapping[int, int]:
        woken: dict[int, Watch] = {}
        # Watches that are added meanwhile lie behind a reach that does not count these records yet.
        with self._lock:
            for record in records:
                events = self._commits[record.partition].add(record)
                if record.key == CHECKPOINT_KEY:
                    self._add(events, woken)
            reached = whole(self._commits, positions)
            self.reach.advance(reached)
        for watch in woken.values():
            watch.wake()
        return reached

    def _add(self, events: list[Record], woken: dict[int, Watch]) -> None:
        for record in events:
            if record.key.startswith(b"~"):
                continue
            for watch in (*self._watches.get(instance_key_of(record.key), ()), *self._watches_of_all):
                watch.add(record)
                woken[id(watch)] = watch
