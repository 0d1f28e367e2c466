"""What lies in the log before a worker, and for how long it has. Read now and then, on a thread of its own.

A scrape must not wait for Kafka, nor must anything on the hot path; so both see what was read last.
"""

import logging
import threading
import time
from collections.abc import Callable, Container
from typing import Any, Protocol

import msgspec

from engine.errors import EngineError
from engine.partition.ports import CommandsEnd, LagSource
from engine.telemetry.backlog import Backlog, Waiting

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 5.0


class Lags(msgspec.Struct, frozen=True):
    """One sample, replaced as a whole by the next."""

    sampled_at: float
    inbox_ends: dict[int, int] = {}
    inbox: dict[int, Waiting] = {}
    commands: dict[int, Waiting] = {}
    held: dict[int, Waiting] = {}
    cache_bytes: dict[int, int] = {}


class Sampled(Protocol):
    """The worker, as a sample sees it."""

    def commands_partitions(self) -> list[int]:
        """Which partitions of `commands` its ingress has."""
        ...

    def inbox_positions(self) -> dict[int, int]:
        """How far its owners are."""
        ...

    def cache_bytes(self) -> dict[int, int]:
        """What their caches take on disk."""
        ...


class Sampler:
    """Keeps `lags` fresh from `start` to `stop`."""

    def __init__(
        self, source: LagSource, worker: Sampled, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lags = Lags(clock())
        self._source = source
        self._worker = worker
        self._clock = clock
        self._inbox: dict[int, Backlog] = {}
        self._commands: dict[int, Backlog] = {}
        self._held: dict[int, tuple[int, float]] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begins."""
        threading.Thread(target=self._run, name="lags", daemon=True).start()

    def stop(self) -> None:
        """Ends. Returns at once."""
        self._stopping.set()

    def sample(self) -> None:
        """Reads once. Raises EngineError, and leaves the last sample then."""
        positions = self._worker.inbox_positions()
        ends = self._source.read(self._worker.commands_partitions(), positions)
        now = self._clock()
        inbox = {
            partition: self._waiting(self._inbox, partition, (positions[partition], end), now)
            for partition, end in ends.inbox.items()
        }
        commands = {
            partition: self._waiting(self._commands, partition, (each.done, each.end), now)
            for partition, each in ends.commands.items()
        }
        held = {partition: self._mind_held(partition, each, now) for partition, each in ends.commands.items()}
        _forget(self._inbox, ends.inbox)
        _forget(self._commands, ends.commands)
        _forget(self._held, ends.commands)
        self.lags = Lags(now, ends.inbox, inbox, commands, held, self._worker.cache_bytes())

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.sample()
            except EngineError as error:
                log.info("lags not read: %s", error)
            self._stopping.wait(SAMPLE_SECONDS)

    def _waiting(
        self, backlogs: dict[int, Backlog], partition: int, bounds: tuple[int, int], now: float
    ) -> Waiting:
        done, end = bounds
        backlog = backlogs.setdefault(partition, Backlog())
        backlog.note(now, end)
        return Waiting(max(0, end - done), backlog.since(done))

    def _mind_held(self, partition: int, found: CommandsEnd, now: float) -> Waiting:
        """A producer that commits again and again moves the stable offset; one that hangs does not."""
        if found.stable >= found.end:
            self._held.pop(partition, None)
            return Waiting()
        stable, since = self._held.get(partition, (-1, now))
        if stable != found.stable:
            since = now
        self._held[partition] = (found.stable, since)
        return Waiting(found.end - found.stable, since)


def _forget(known: dict[int, Any], found: Container[int]) -> None:
    for partition in [each for each in known if each not in found]:
        del known[partition]
