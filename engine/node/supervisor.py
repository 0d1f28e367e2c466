"""Keeps worker processes running: forks them, starts again at once what dies, passes on the end.

It has one thread and never opens a Kafka client or a store: forking copies locks, but not the threads that
hold them. What a worker imports is imported before the first fork, to restart in milliseconds.

Rules
* A child that dies is started again in its slot: at once, or after a growing pause where it keeps dying
  young.
* A child that ends with CONFIGURATION_EXIT would do so again: the supervisor stops all and ends with it too.
* A child never outlives the supervisor, however that ends: nobody would start it again, nor stop it.
"""

import gc
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import msgspec

from engine.node.parent import die_with
from engine.node.state import Slot

log = logging.getLogger(__name__)

CONFIGURATION_EXIT = 78
KILLED_EXIT = 1
YOUNG_SECONDS = 5.0
PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 10.0
STOP_SECONDS = 6.0
WAIT_SECONDS_MAX = 60.0

RunChild = Callable[[Slot], int]


class _Child(msgspec.Struct):
    """One slot's process, past and present."""

    slot: Slot
    pid: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    young_deaths: int = 0


class Supervisor:
    """Runs one process for each slot. `run_child` is called in the child and returns its exit code."""

    def __init__(self, slots: list[Slot], run_child: RunChild) -> None:
        self._children = [_Child(slot) for slot in slots]
        self._run_child = run_child
        self._exit_code = 0
        self._stop_deadline: float | None = None
        # Who has the read end of the first sees when we have ended; the other wakes us when a signal comes.
        self._life = os.pipe()
        self._wake = os.pipe()

    def run(self) -> int:
        """Returns when all children have ended: on SIGTERM or SIGINT, or by a configuration error."""
        for descriptor in self._wake:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, _ignore)
        gc.collect()
        gc.freeze()
        while True:
            self._start_due()
            if self._stop_deadline is not None and not any(child.pid for child in self._children):
                return self._exit_code
            self._wait()
            self._reap()
            self._kill_overdue()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop_deadline is None:
            self._begin_stop(0)

    def _begin_stop(self, exit_code: int) -> None:
        self._exit_code = exit_code
        self._stop_deadline = time.monotonic() + STOP_SECONDS
        for child in self._children:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    # --- children ---

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if self._stop_deadline is None and not child.pid and child.start_at <= now:
                self._start(child)

    def _start(self, child: _Child) -> None:
        # A signal that came in the child before it has its own handlers would be handled as the supervisor's.
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            if self._stop_deadline is not None:
                return
            supervisor = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._be_child(child, supervisor, signals)
            # Known before a signal can ask to stop: a child that was passed over would be killed.
            child.pid, child.started_at = pid, time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        log.info("worker process started", extra={"slot": child.slot.number, "child": pid})

    def _be_child(self, child: _Child, supervisor: int, signals: set[signal.Signals]) -> None:
        exit_code = KILLED_EXIT
        try:
            signal.set_wakeup_fd(-1)
            for number in signals:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            for descriptor in (*self._wake, self._life[1]):
                os.close(descriptor)
            for other in self._children:
                if other is not child:
                    other.slot.close()
            if not die_with(supervisor):
                _watch(self._life[0])
            exit_code = self._run_child(child.slot)
        except BaseException:
            log.exception("the worker process ends")
        finally:
            # Never back into the supervisor's code.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(exit_code)

    def _wait(self) -> None:
        now = time.monotonic()
        moments = [child.start_at for child in self._children if not child.pid]
        if self._stop_deadline is not None:
            moments = [self._stop_deadline]
        wait = min([WAIT_SECONDS_MAX, *(max(0.0, moment - now) for moment in moments)])
        select.select([self._wake[0]], [], [], wait)
        try:
            os.read(self._wake[0], 4_096)
        except BlockingIOError:
            return

    def _reap(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.pid = 0
                self._take_end(child, os.waitstatus_to_exitcode(status))

    def _take_end(self, child: _Child, exit_code: int) -> None:
        if self._stop_deadline is not None:
            # A child that SIGTERM met before it could handle it had nothing to lose.
            if exit_code not in (0, -signal.SIGTERM) and self._exit_code == 0:
                self._exit_code = max(exit_code, KILLED_EXIT)
            return
        if exit_code == CONFIGURATION_EXIT:
            log.critical("a worker process can't run as configured: all stop")
            self._begin_stop(CONFIGURATION_EXIT)
            return
        now = time.monotonic()
        child.young_deaths = child.young_deaths + 1 if now - child.started_at < YOUNG_SECONDS else 0
        pause = 0.0
        if child.young_deaths > 1:
            pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS * 2.0 ** min(child.young_deaths - 2, 10))
        child.start_at = now + pause
        how = f"by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"with exit code {exit_code}"
        log.error(
            "worker process ended %s, starts again in %.1f s", how, pause, extra={"slot": child.slot.number}
        )

    def _kill_overdue(self) -> None:
        if self._stop_deadline is None or time.monotonic() < self._stop_deadline:
            return
        for child in self._children:
            if child.pid:
                log.error("worker process not stopped in time, and killed", extra={"slot": child.slot.number})
                os.kill(child.pid, signal.SIGKILL)
        self._stop_deadline += STOP_SECONDS


def _watch(life: int) -> None:
    """Ends this process when the supervisor has ended: when nobody can write to its pipe any more."""
    threading.Thread(target=_await_end, args=(life,), name="parent-watch", daemon=True).start()


def _await_end(life: int) -> None:
    os.read(life, 1)
    os._exit(KILLED_EXIT)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Its arrival wakes the supervisor: all that is wanted of it."""
