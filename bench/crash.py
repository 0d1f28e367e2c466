"""W6: kill -9 of a worker while runs are in flight, with and without a supervisor.

What is counted
* Recovery: from the kill to the last outcome; the median outcome after the kill stands for the takeover.
* Lost: runs without an outcome. Started again: activity calls that began more than once, which at-least-once
  allows; ended twice: those that also ran to their end twice.

Without a supervisor the harness starts the worker again at once, as a service manager would; the start of the
interpreter is in the number. With one (`--processes 2`) one of its two children is killed, and it starts
another.

The floor is `Floor.takeover` on as many records as the same runs leave, beside the undisturbed burst: no
recovery is faster than fencing, reading and committing, and no burst than an undisturbed one.
"""

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.measuring import percentile, tree
from bench.records import script_of
from bench.session import Session
from bench.stacks import Stack, wait_gone
from bench.telling import Json, Table, number_of, trouble, under

ACTIVITIES = 3
POLL_SECONDS = 0.002
MEMORY = Path("/dev/shm")
ALONE, SUPERVISED = "alone", "supervised"


def w6(session: Session) -> Json:
    """Half way through a burst of slow chains the worker is killed; all must complete all the same."""
    found: Json = {}
    table: Table = {}
    modes = {ALONE: 1, SUPERVISED: 2} if session.lab.log_name == "kafka" else {ALONE: 1}
    for mode, processes in modes.items():
        with session.ready(f"w6-{mode}", processes=processes) as stack:
            each = found[mode] = {
                "undisturbed": _burst(session, stack, None),
                "killed": _burst(session, stack, _KILLERS[mode]),
                "floor": _floor(session, stack),
            }
            table |= under(mode, _table(each))
    return {"runs": session.sizes["w6_runs"], "modes": found, "table": table}


def _table(each: Json) -> Table:
    killed = each["killed"]
    return {
        "recovery s": f"{killed['recovery_s']:g} (undisturbed burst {each['undisturbed']['seconds']:g})",
        "p50 after the kill s": f"{killed['recovery_p50_s']:g}",
        "worker ready again after s": f"{killed['ready_after_s']:g}",
        "activities started again, ended twice": f"{killed['started_again']}, {killed['ended_twice']}",
        "floor takeover s": f"{each['floor']['takeover']['seconds']:g}",
        **trouble("runs", killed),
        **trouble("undisturbed runs", each["undisturbed"]),
    }


def _floor(session: Session, stack: Stack) -> Json:
    runs = session.sizes["w6_runs"]
    with stack.floor() as floor:
        burst = floor.burst(script_of("chain", 1), runs, runs)
        return {"burst": burst, "takeover": floor.takeover()}


# --- one burst ---


class _Notes:
    """What the activities noted: begin and end of each call, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ends(self) -> int:
        return self._read().count(" E ")

    def told(self) -> Json:
        begun, ended = Counter[str](), Counter[str]()
        for line in self._read().splitlines():
            call, what, _ = line.rsplit(" ", 2)
            (begun if what == "S" else ended)[call] += 1
        return {
            "calls_begun": begun.total(),
            "calls_ended": ended.total(),
            "distinct_calls_ended": len(ended),
            "started_again": sum(count > 1 for count in begun.values()),
            "ended_twice": sum(count > 1 for count in ended.values()),
        }

    def _read(self) -> str:
        return self._path.read_text(encoding="ascii") if self._path.is_file() else ""


class _Killing:
    """Kills half way, beside the thread that waits for outcomes."""

    def __init__(self, stack: Stack, kill: Callable[[Stack], None], is_time: Callable[[], bool]) -> None:
        self._stack, self._kill, self._is_time = stack, kill, is_time
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-killer", daemon=True)
        self._failure: BaseException | None = None
        self.killed_at = self.ready_at = 0.0
        self._thread.start()

    def end(self) -> None:
        """When the burst is over. Raises what went wrong."""
        self._is_over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        if not self.killed_at:
            raise RuntimeError("the burst was over before half of it was done: nothing was killed")

    def _run(self) -> None:
        try:
            while not self._is_time():
                if self._is_over.wait(POLL_SECONDS):
                    return
            self.killed_at = time.perf_counter()
            self._kill(self._stack)
            self.ready_at = time.perf_counter()
        except BaseException as problem:
            self._failure = problem


def _burst(session: Session, stack: Stack, kill: Callable[[Stack], None] | None) -> Json:
    runs, nap_ms = session.sizes["w6_runs"], session.sizes["w6_step_ms"]
    # In memory where that can be: what is noted must not wait for a disk that the log syncs.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "calls"
        notes = _Notes(path)
        killing = None
        starts = session.starts("slowchain", runs, lambda i: [i, nap_ms, str(path)])
        with stack.client(session.clients[0]) as client:
            if kill is not None:
                killing = _Killing(stack, kill, lambda: notes.ends() >= ACTIVITIES * runs // 2)
            burst = client.burst(starts, runs, session.sizes["seconds_max"])
        told: Json = {
            "seconds": round(burst.seconds, 3),
            "lost": burst.missing,
            "wrong": burst.wrong(lambda each: number_of(each) + ACTIVITIES),
            "calls_expected": ACTIVITIES * runs,
        }
        if killing is not None:
            killing.end()
            told |= _told_of(killing, list(burst.seen_at.values()))
        return told | notes.told()


def _told_of(killing: _Killing, seen_at: list[float]) -> Json:
    after = [moment - killing.killed_at for moment in seen_at if moment > killing.killed_at]
    return {
        "outcomes_before_kill": len(seen_at) - len(after),
        "outcomes_after_kill": len(after),
        "recovery_s": round(max(after, default=0.0), 3),
        "recovery_p50_s": round(percentile(after, 50) or 0.0, 3),
        "ready_after_s": round(killing.ready_at - killing.killed_at, 3),
    }


# --- who is killed, and who starts it again ---


def _kill_alone(stack: Stack) -> None:
    stack.kill_worker()
    stack.start()


def _kill_supervised(stack: Stack) -> None:
    assert stack.worker is not None
    children = [pid for pid in tree([stack.worker.pid]) if pid != stack.worker.pid]
    ready = stack.worker.count_lines(stack.ready_line)
    with contextlib.suppress(ProcessLookupError):
        os.kill(children[0], signal.SIGKILL)
    wait_gone(children[:1])
    stack.worker.wait_line(stack.ready_line, ready + 1)


_KILLERS = {ALONE: _kill_alone, SUPERVISED: _kill_supervised}
