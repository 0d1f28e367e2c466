"""How far something has come in each partition, and who waits for it to come further. Any thread."""

import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future


class Reach:
    """Positions that only rise, until they are reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._positions: dict[int, int] = {}
        self._waiting: list[tuple[Mapping[int, int], Future[None]]] = []

    @property
    def positions(self) -> Mapping[int, int]:
        """By partition."""
        return self._positions

    def advance(self, positions: Mapping[int, int]) -> None:
        """Further on, never back, whoever is late to say so; tells those who waited for it."""
        with self._lock:
            now = self._positions
            self._positions = now | {n: max(at, now.get(n, 0)) for n, at in positions.items()}
            done = [future for wanted, future in self._waiting if self._has(wanted)]
            # Who gave up is forgotten here too.
            self._waiting = [
                each for each in self._waiting if not each[1].cancelled() and not self._has(each[0])
            ]
        for future in done:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def reset(self, partitions: Collection[int] | None = None) -> None:
        """Back to the beginning, all or these partitions; those who wait go on waiting."""
        with self._lock:
            gone = self._positions.keys() if partitions is None else partitions
            self._positions = {n: at for n, at in self._positions.items() if n not in gone}

    def reached(self, wanted: Mapping[int, int]) -> "Future[None]":
        """Done when every partition has come as far as is wanted. Cancel it to give up."""
        future: Future[None] = Future()
        with self._lock:
            if not self._has(wanted):
                self._waiting.append((wanted, future))
                return future
        future.set_result(None)
        return future

    def _has(self, wanted: Mapping[int, int]) -> bool:
        positions = self._positions
        return all(positions.get(partition, 0) >= position for partition, position in wanted.items())
