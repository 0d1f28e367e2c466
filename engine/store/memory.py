"""A store in a dictionary, for tests and the simulator: same contract, no files, no time, no chance."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

from engine.partition.ports import StorePosition


class MemoryStore:
    """Keeps what it was given, also when closed: a simulated restart finds it again."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._position: StorePosition | None = None

    def position(self) -> StorePosition | None:
        """What the last write said, None for a new or wiped store."""
        return self._position

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`."""
        return [self._values.get(key) for key in keys]

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All keys that begin with `prefix`, from `start` on, in order, as they are when one is asked for."""
        found = []
        for index in range(bisect_left(self._keys, max(prefix, start)), len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                break
            found.append((key, self._values[key]))
        yield from found

    def write(
        self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], position: StorePosition
    ) -> None:
        """All of it and the position, at once. A key in both is deleted."""
        for key, value in puts:
            if key not in self._values:
                insort(self._keys, key)
            self._values[key] = value
        for key in deletes:
            if self._values.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]
        self._position = position

    def wipe(self) -> None:
        """Empties it."""
        self._values.clear()
        self._keys.clear()
        self._position = None

    def size_bytes(self) -> int:
        """What keys and values take."""
        return sum(len(key) + len(value) for key, value in list(self._values.items()))

    def close(self) -> None:
        """Nothing to let go of."""
