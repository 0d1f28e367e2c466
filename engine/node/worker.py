"""A worker.

One process that owns partitions, forwards commands and runs activities, until it is told to stop.
"""

import gc
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Protocol

import msgspec

from engine.core.registry import Registry
from engine.node.activities import ActivityPool
from engine.node.build import build_of
from engine.node.loop import OwnerLoop, StoreOpener, SystemClock
from engine.node.telling import tell
from engine.node.warnings import Warnings
from engine.partition.careful import Exam
from engine.partition.context import OwnerContext, OwnerSettings
from engine.partition.ingress import Ingress
from engine.partition.measures import Measures
from engine.partition.ports import CommandSource, LagSource, Log

log = logging.getLogger(__name__)

INGRESS_POLL_MS = 50
INGRESS_BLOCKED_SECONDS = 0.005
INGRESS_RESTS_SECONDS = 0.02
OWNERS_LATE_MS = 200
STOP_SECONDS = 3.5
WATCHDOG_SECONDS = 1.0
FRAMES_SHOWN = 8
GC_THRESHOLDS = (50_000, 20, 50)
LOOK_MS_MAX = 2_000


class ClosableLog(Log, Protocol):
    """A log that a worker opened and must close."""

    @property
    def is_member(self) -> bool:
        """Whether its group counts on it. Any thread."""
        ...

    def close(self) -> None:
        """Leaves the group and lets go of everything."""
        ...


class ClosableSource(CommandSource, Protocol):
    """A source that a worker opened and must close."""

    def close(self) -> None:
        """Leaves its group."""
        ...


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker may be tuned by."""

    activity_threads_max: int = 256
    # Ten times the replay of the longest history; a run that loops holds up its neighbours for as long.
    turn_seconds_max: float = 10.0
    owner: OwnerSettings = OwnerSettings()


class WorkerPorts(msgspec.Struct, frozen=True, kw_only=True):
    """The outside of a worker: Kafka or the embedded log; where the cache is; who reads the lags."""

    log: ClosableLog
    source: ClosableSource
    open_store: StoreOpener
    lags: LagSource | None = None


class Worker:
    """Runs in the calling thread until `stop` is called from another, or from a signal handler."""

    def __init__(self, registry: Registry, ports: WorkerPorts, settings: WorkerSettings) -> None:
        self.ports = ports
        self.settings = settings
        self._stopping = threading.Event()
        # Set once, when all that was assigned first is restored and taken over.
        self.ready = threading.Event()
        self._failure: BaseException | None = None
        self._owners_thread = 0
        self.pool = ActivityPool(registry, ports.log.append, settings.activity_threads_max, self._fail)
        self.clock = clock = SystemClock()
        self.measures = Measures(time.perf_counter_ns, registry.workflows)
        # For how long the watchdog has not seen the owners' thread move.
        self.stood_ms = 0
        self._exam = Exam()
        if not settings.owner.build:
            owner = msgspec.structs.replace(settings.owner, build=build_of(registry))
            settings = msgspec.structs.replace(settings, owner=owner)
        self.build = settings.owner.build
        self._context = context = OwnerContext(
            registry=registry,
            settings=settings.owner,
            run_activity=self.pool.run,
            begin_activities=self.pool.wake,
            exam=self._exam,
            measures=self.measures,
            notify=tell,
            warn=Warnings().tell,
        )
        self.loop = OwnerLoop(ports.log, ports.open_store, context, clock)
        self._appender = ports.log.appender()
        self._ingress_turn = threading.Lock()
        self._is_ingress_open = True
        self.ingress = Ingress(
            ports.source, self._appender, self._progress, clock, ports.log.identity.partitions
        )

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Works until stopped; then commits, closes and leaves. Raises what went wrong inside."""
        self._owners_thread = threading.get_ident()
        ingress = threading.Thread(target=self._guard, args=(self._run_ingress,), name="ingress", daemon=True)
        watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        ingress.start()
        watchdog.start()
        try:
            self._run_owners(on_ready)
        except BaseException:
            # Whatever this was, it came out of a turn: a commit now would say that its record was processed.
            self.loop.abandon()
            raise
        finally:
            self._stopping.set()
            ingress.join(2)
            self.loop.stop(STOP_SECONDS)
            self.pool.close()
            self.ports.log.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Asks the worker to stop. Returns at once."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    @property
    def is_member(self) -> bool:
        """Whether the group counts on it. Any thread."""
        return self.ports.log.is_member

    def commands_partitions(self) -> list[int]:
        """See `Sampled`."""
        return sorted(self.ports.source.assignment())

    def inbox_positions(self) -> dict[int, int]:
        """See `Sampled`."""
        owners = list(self.loop.owners.items())
        return {number: owner.turns.next_offset for number, owner in owners}

    def cache_bytes(self) -> dict[int, int]:
        """See `Sampled`."""
        owners = list(self.loop.owners.items())
        return {number: owner.store.size_bytes() for number, owner in owners}

    def _progress(self, partition: int) -> tuple[int | None, bool]:
        here = self.loop.next_offset(partition)
        return (here, True) if here is not None else (self.ports.log.progress(partition), False)

    def _run_owners(self, on_ready: Callable[[], None] | None) -> None:
        while not self._stopping.is_set():
            self._context.pace.has_waiting = bool(self.pool.waiting)
            self.loop.pass_once()
            self._feed()
            if not self.ready.is_set() and self.loop.owners and not self.loop.is_claiming:
                self.ready.set()
                # What was imported and restored lives as long as we do: the collector need not look at it
                # again. Turns leave no cycles, hence it need not look often: it took an eighth of all time.
                gc.collect()
                gc.freeze()
                gc.set_threshold(*GC_THRESHOLDS)
                if on_ready is not None:
                    on_ready()

    def _feed(self) -> None:
        """The ingress's work, while this thread is busy. See `_is_fed_by_owners`."""
        if self._feeds_itself and self._ingress_turn.acquire(blocking=False):
            try:
                if self._is_ingress_open:
                    self.ingress.tick(0)
            finally:
                self._ingress_turn.release()

    def _run_ingress(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._is_fed_by_owners:
                    self._stopping.wait(INGRESS_RESTS_SECONDS)
                    continue
                with self._ingress_turn:
                    self.ingress.tick(INGRESS_POLL_MS)
                if self.ingress.is_blocked:
                    self._stopping.wait(INGRESS_BLOCKED_SECONDS)
        finally:
            with self._ingress_turn:
                self._is_ingress_open = False
                self._appender.close()
                self.ports.source.close()

    @property
    def _is_fed_by_owners(self) -> bool:
        """Whether the owners' thread feeds the inbox between its passes.

        It does while it is busy: two threads that never rest only get in each other's way, for every report
        of an append takes the interpreter's lock anew. While user code holds it up others must not wait.
        """
        beat_ms = self.clock.monotonic_ms() - self.loop.beat_at_ms
        return self._feeds_itself and beat_ms < OWNERS_LATE_MS

    @property
    def _feeds_itself(self) -> bool:
        # Where a partition of `commands` begins is a question to Kafka: turns must not wait for its answer.
        return self._context.pace.is_busy and not self.ingress.is_beginning

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001 -- told to the worker, which ends by it
            self._fail(problem)

    def _fail(self, problem: BaseException) -> None:
        """Ends the worker by what went wrong in another of its threads."""
        log.critical("the worker stops", exc_info=problem)
        self._failure = problem
        self._stopping.set()

    def _watch(self) -> None:
        """Ends the process where workflow code keeps the owners' thread.

        The next life can tell which record it was.
        """
        seen, looked_at_ms = (0, 0), self.clock.monotonic_ms()
        while not self._stopping.wait(WATCHDOG_SECONDS):
            now_ms = self.clock.monotonic_ms()
            # Where we did not look in time either, the process was stopped, or the whole machine slept.
            self.stood_ms += min(now_ms - looked_at_ms, LOOK_MS_MAX)
            looked_at_ms = now_ms
            # Passes and turns: many honest turns may share one pass, and one turn is what must not take long.
            now = (self.loop.beat_at_ms, self._exam.turns)
            if now != seen:
                seen, self.stood_ms = now, 0
            if self.stood_ms > self.settings.turn_seconds_max * 1000:
                text = "the owners' thread stood still for %d ms: workflow code must not block; it is in %s"
                log.critical(text, self.stood_ms, _place_of(self._owners_thread))
                os._exit(70)


def _place_of(thread: int) -> str:
    """Where its code is, the innermost call first."""
    frames = traceback.extract_stack(sys._current_frames().get(thread))
    return " < ".join(
        f"{each.name} ({each.filename}:{each.lineno})" for each in frames[: -FRAMES_SHOWN - 1 : -1]
    )
