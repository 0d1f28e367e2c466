"""The store as its owner sees it: with what is committed and not yet written.

The log is the truth and the store only its cache, so the store is written second, and late: one write stands
for the commits of a second, and a run that begins and ends in between costs no more than its stub. A crash is
repaired by reading the history on from the store's position, as ever.
"""

from collections.abc import Callable, Collection
from itertools import islice

from engine.model.events import Recorded
from engine.model.state import RunStub
from engine.partition import keys
from engine.partition.batch import Batch
from engine.partition.changes import Changes
from engine.partition.ports import Store, StorePosition
from engine.partition.restore import read_run

UNWRITTEN_MS_MAX = 1_000
UNWRITTEN_BYTES_MAX = 4 * 1024 * 1024


class Cache:
    """One partition's store, written behind. Whatever reads or writes may raise CacheCorruptFault."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changes = Changes()
        self._position: StorePosition | None = None
        self._since_ms = self._bytes = 0
        self._told: Callable[[Collection[RunStub]], None] = lambda _: None

    def stubs(self, instance_ids: list[str]) -> list[RunStub | None]:
        """The finished runs of these instances; None where there is none."""
        unwritten = [self._changes.stub(each) for each in instance_ids]
        asked = [each for each, (is_known, _) in zip(instance_ids, unwritten, strict=True) if not is_known]
        values = iter(self._store.get_many([keys.stub_key(each) for each in asked]) if asked else ())
        return [stub if is_known else _stub_in(next(values)) for is_known, stub in unwritten]

    def history(self, instance_id: str, run_id: str) -> list[Recorded]:
        """The committed events of a live run."""
        self.write()
        return read_run(self._store, instance_id, run_id)

    def watch_ends(self, told: Callable[[Collection[RunStub]], None]) -> None:
        """From now on `told` hears of the stubs that come into the store, when they are there."""
        self._told = told

    def ends(self, prefix: bytes, start: bytes, count_max: int) -> list[bytes]:
        """The first keys by which stubs are found by their end, from `start` on, of those in the store."""
        return [key for key, _ in islice(self._store.scan(prefix, start), count_max)]

    def committed(self, batch: Batch, position: StorePosition, now_ms: int) -> None:
        """This commit is in the log, up to `position`."""
        if self._position is None:
            self._since_ms = now_ms
        self._changes.add(batch.changes)
        self._bytes += batch.size
        self._position = position
        self.write_when_due(now_ms)

    def write_when_due(self, now_ms: int) -> None:
        """Writes what has waited for long, or is much."""
        is_much = self._bytes >= UNWRITTEN_BYTES_MAX
        if self._position is not None and (is_much or now_ms - self._since_ms >= UNWRITTEN_MS_MAX):
            self.write()

    def write(self) -> None:
        """Writes all there is."""
        position = self._position
        if position is None:
            return
        changes, self._changes = self._changes, Changes()
        self._position, self._bytes = None, 0
        self._store.write(*changes.writes(), position)
        self._told(changes.stubs)


def _stub_in(value: bytes | None) -> RunStub | None:
    return None if value is None else keys.stub_in(value)
