"""Reads of history for those who wait: one pass over a partition serves all who have asked for one.

Reading a partition is dear. A thousand who wait for a stopped worker must not have it read a thousand times,
one after the other; and whoever the tail has served meanwhile has no need of it any more.
"""

import threading
from collections import defaultdict

from engine.client.connection import Connection
from engine.client.fold import Fold, instance_key_of
from engine.client.mirror import Mirror
from engine.client.reading import read_commits
from engine.codec.topics import partition_of

PASSES_MAX = 2


class Reads:
    """The reads of one client. Any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        # By partition, in the order of asking.
        self._asked: defaultdict[int, dict[Mirror, None]] = defaultdict(dict)
        self._turns: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._passes = threading.Semaphore(PASSES_MAX)

    def ask(self, mirror: Mirror) -> None:
        """Has the next pass serve this one too. Returns at once; `read` must follow."""
        with self._lock:
            self._asked[self._partition_of(mirror)][mirror] = None

    def read(self, mirror: Mirror) -> None:
        """Returns when a pass has served it, or it has no need of one. Raises UnreachableError."""
        self.ask(mirror)
        partition = self._partition_of(mirror)
        with self._lock:
            turn = self._turns[partition]
        with turn, self._passes:
            with self._lock:
                asked = self._asked.pop(partition, {})
            needy = [each for each in asked if each.must_read or each.is_unknown]
            if needy:
                self._pass(partition, needy)

    def _pass(self, partition: int, mirrors: list[Mirror]) -> None:
        starts = {mirror: mirror.begin_read() for mirror in mirrors}
        folds = {mirror: Fold(mirror.instance_id) for mirror in mirrors}
        wanted: defaultdict[bytes, list[Mirror]] = defaultdict(list)
        for mirror in mirrors:
            wanted[mirror.instance_id.encode()].append(mirror)
        is_read = False
        try:
            for record in read_commits(self._connection, partition, min(starts.values())):
                for mirror in wanted.get(instance_key_of(record.key), ()):
                    if record.offset >= starts[mirror]:
                        folds[mirror].add(record)
            is_read = True
        finally:
            for mirror in mirrors:
                mirror.end_read(folds[mirror] if is_read else None, starts[mirror])

    def _partition_of(self, mirror: Mirror) -> int:
        return partition_of(mirror.instance_id, self._connection.partitions)
