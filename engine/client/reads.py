"""Reads of history for those who wait: one pass over a partition serves all who have asked for one.

Reading a partition is dear. A thousand who wait for a stopped worker must not have it read a thousand times,
one after the other; and whoever the tail has served meanwhile has no need of it any more. Nobody is held up
by a pass: it wakes those it has served.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable

from engine.client.connection import Connection
from engine.client.errors import UnreachableError
from engine.client.fold import Fold, instance_key_of
from engine.client.mirror import Mirror
from engine.client.reading import read_commits
from engine.codec.topics import partition_of
from engine.errors import PublicError

PASSES_MAX = 2


class Reads:
    """The reads of one client. Any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        # By partition that is being read, who has asked since its pass began.
        self._asked: dict[int, dict[Mirror, None]] = {}
        self._passes = threading.Semaphore(PASSES_MAX)

    def ask(self, mirror: Mirror) -> None:
        """Has the next pass serve this one too, which wakes who waits there. Returns at once."""
        partition = partition_of(mirror.instance_id, self._connection.partitions)
        mirror.expect_read()
        with self._lock:
            asked = self._asked.get(partition)
            if asked is not None:
                asked[mirror] = None
                return
            self._asked[partition] = {mirror: None}
        threading.Thread(target=self._serve, args=(partition,), name="history reads", daemon=True).start()

    def _serve(self, partition: int) -> None:
        """Reads the partition until nobody asks any more."""
        while True:
            with self._passes:
                with self._lock:
                    asked = self._asked[partition]
                    self._asked[partition] = {}
                needy = [each for each in asked if each.must_read or each.is_unknown]
                if needy:
                    self._pass(partition, needy)
            with self._lock:
                if not self._asked[partition]:
                    del self._asked[partition]
                    return

    def _pass(self, partition: int, mirrors: list[Mirror]) -> None:
        starts = {mirror: mirror.begin_read() for mirror in mirrors}
        folds = {mirror: Fold(mirror.instance_id) for mirror in mirrors}
        failure: PublicError | None = None
        try:
            self._read(partition, folds, starts)
        except PublicError as problem:
            failure = problem
        except Exception as problem:  # noqa: BLE001 -- whatever it is, those who wait must hear of it
            failure = UnreachableError(f"history could not be read: {problem!r}")
        for mirror in mirrors:
            mirror.end_read(folds[mirror], starts[mirror], failure)

    def _read(self, partition: int, folds: dict[Mirror, Fold], starts: dict[Mirror, int]) -> None:
        wanted: defaultdict[bytes, list[tuple[Fold, int]]] = defaultdict(list)
        for mirror, fold in folds.items():
            wanted[mirror.instance_id.encode()].append((fold, starts[mirror]))
        nobody: Iterable[tuple[Fold, int]] = ()
        for record in read_commits(self._connection, partition, min(starts.values())):
            for fold, start in wanted.get(instance_key_of(record.key), nobody):
                if record.offset >= start:
                    fold.add(record)
