"""A machine's disk and clock in a simulation: stores that outlive a crash, more or less. Never real time."""

from collections.abc import Callable, Iterator, Sequence

from typing_extensions import override

from engine.errors import CacheCorruptFault
from engine.partition.ports import StorePosition
from engine.store.memory import MemoryStore
from engine.testing.faults import FENCING, Faults
from engine.testing.memory_broker import START_MS, MemoryBroker

Copy = tuple[dict[bytes, bytes], list[bytes], StorePosition | None]
DRIFT_PER_MILLE_MAX = 50
JUMP_MS_MAX = 3_600_000


class SimulatedStore(MemoryStore):
    """A store that dies with its process in the middle of writing, rots, or comes back from an older copy."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.phase: Callable[[], str] = lambda: FENCING
        self._faults = faults
        self._older: Copy | None = None
        self._is_corrupt = False

    @override
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See the port."""
        self._rot()
        return super().get_many(keys)

    @override
    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See the port."""
        self._rot()
        yield from super().scan(prefix, start)

    @override
    def write(
        self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], position: StorePosition
    ) -> None:
        """See the port."""
        self._faults.point("store write", self.phase())
        self._rot()
        if self._faults.rng.random() < 0.1:
            self._older = (dict(self._values), list(self._keys), self._position)
        super().write(puts, deletes, position)
        self._faults.point("store written", self.phase())

    @override
    def wipe(self) -> None:
        """See the port."""
        self._is_corrupt = False
        super().wipe()

    def survive_crash(self, phase: str) -> None:
        """What the next process finds: all, nothing, an older copy, or one key less than there was."""
        faults = self._faults
        if faults.hit("store deleted", phase):
            self.wipe()
            self._older = None
        elif self._older is not None and faults.hit("store stale", phase):
            values, keys, position = self._older
            self._values, self._keys, self._position = dict(values), list(keys), position
        if self._keys and faults.hit("store key lost", phase):
            del self._values[self._keys.pop(faults.rng.randrange(len(self._keys)))]

    def copy(self) -> MemoryStore:
        """What is on this disk now, where nothing befalls it."""
        store = MemoryStore()
        store._values, store._keys, store._position = dict(self._values), list(self._keys), self._position
        return store

    def oldest_position(self) -> int:
        """No restore from here begins before it: what expired below it was seen."""
        positions = [self._position, self._older[2] if self._older else self._position]
        return min((each.history_position for each in positions if each is not None), default=1 << 60)

    def _rot(self) -> None:
        if self._faults.hit("store corrupt", self.phase()):
            self._is_corrupt = True
        if self._is_corrupt:
            raise CacheCorruptFault("a block of the simulated store is corrupt")


class SimulatedClock:
    """A process' monotonic clock: starts anywhere, may run fast or slow, may leap ahead. Never goes back."""

    def __init__(self, broker: MemoryBroker, ahead_ms: int) -> None:
        self._broker = broker
        self._ahead_ms = ahead_ms
        self._since_ms = broker.now_ms
        self._per_mille = 1_000

    def monotonic_ms(self) -> int:
        """See the port."""
        passed_ms = self._broker.now_ms - self._since_ms
        return self._since_ms - START_MS + self._ahead_ms + passed_ms * self._per_mille // 1_000

    def drift(self, per_mille: int) -> None:
        """From now on a second lasts that much longer or shorter."""
        reading_ms, self._since_ms = self.monotonic_ms(), self._broker.now_ms
        self._ahead_ms = reading_ms - (self._since_ms - START_MS)
        self._per_mille = 1_000 + per_mille

    def jump(self, ahead_ms: int) -> None:
        """The machine was suspended, and its clock was not."""
        self._ahead_ms += ahead_ms
