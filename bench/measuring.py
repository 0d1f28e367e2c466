"""What is read off a run: percentiles, CPU time by process tree, peaks of memory, noise by neighbours.

It knows nothing of the engine, and takes what it costs itself off the client's account.
"""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SAMPLE_INTERVAL_S = 0.5
PROC = Path("/proc")

Pids = Callable[[], dict[str, list[int]]]


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The nearest rank: a value that was measured, never one in between."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def spread_ms(seconds: Sequence[float]) -> dict[str, Any]:
    """How times lie, in milliseconds."""
    if not seconds:
        return {"n": 0}
    found: dict[str, Any] = {"n": len(seconds)}
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
        found[f"{name}_ms"] = round((percentile(seconds, percent) or 0.0) * 1000, 3)
    found["min_ms"], found["max_ms"] = round(min(seconds) * 1000, 3), round(max(seconds) * 1000, 3)
    return found


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two."""
    return statistics.median(values)


# --- processes ---


def _stat(pid: int | str) -> tuple[int, float] | None:
    """(parent, CPU seconds of the process and of its children that were waited for)."""
    try:
        data = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = data[data.rindex(b")") + 2 :].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15]) / TICKS_PER_S


def tree(roots: Iterable[int]) -> list[int]:
    """The processes `roots` and all that descend from them."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        stat = _stat(entry.name) if entry.name.isdigit() else None
        if stat is not None:
            children.setdefault(stat[0], []).append(int(entry.name))
    found: list[int] = []
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.append(pid)
            todo.extend(children.get(pid, []))
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of process trees."""
    return sum(stat[1] for pid in tree(roots) if (stat := _stat(pid)) is not None)


def own_cpu_seconds() -> float:
    """Of this process alone."""
    times = os.times()
    return times.user + times.system


def _kilobytes(path: Path, key: str) -> int:
    try:
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0


def memory_mb(roots: Iterable[int]) -> tuple[float, float]:
    """(RSS, PSS) of process trees. PSS counts a page that several share as a part for each."""
    pids = tree(roots)
    rss = sum(_kilobytes(PROC / str(pid) / "status", "VmRSS:") for pid in pids)
    pss = sum(_kilobytes(PROC / str(pid) / "smaps_rollup", "Pss:") for pid in pids)
    return rss / 1024, pss / 1024


def machine_cpu_seconds() -> tuple[float, float]:
    """(busy, stolen by the host) CPU seconds of the whole machine."""
    fields = (PROC / "stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) / TICKS_PER_S for field in fields)
    return user + nice + system + irq + softirq, steal


# --- one measured stretch ---


class Meter:
    """CPU, memory and noise between `with` and its end; this process is the client."""

    def __init__(self, pids: Pids) -> None:
        """`pids` names groups of process trees, as they are when it is asked."""
        self._pids = pids
        self._peaks: dict[str, tuple[float, float]] = {}
        self._sampler_cpu_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="bench-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._note_memory()
        self._thread.start()
        self._before = self._counters()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        after = self._counters()
        self._stopping.set()
        self._thread.join()
        self._note_memory()
        self.cpu_s = {name: after[name] - self._before.get(name, 0.0) for name in after}

    def report(self, count: int = 0) -> dict[str, Any]:
        """What was measured; with `count`, CPU milliseconds for each of so many as well."""
        parts = {name: value for name, value in self.cpu_s.items() if name not in ("busy", "stolen")}
        ours = sum(parts.values()) + self._sampler_cpu_s
        found: dict[str, Any] = {
            "seconds": round(self.seconds, 4),
            "cpu_s": {name: round(value, 3) for name, value in parts.items()},
            "peak_mb": {
                name: {"rss": round(rss, 1), "pss": round(pss, 1)} for name, (rss, pss) in self._peaks.items()
            },
            "own_cores": round(ours / self.seconds, 2),
            "other_cores": round(max(0.0, self.cpu_s["busy"] - ours) / self.seconds, 2),
            "stolen_cores": round(self.cpu_s["stolen"] / self.seconds, 2),
        }
        if count:
            found["cpu_ms_each"] = {name: round(value / count * 1000, 4) for name, value in parts.items()}
        return found

    def _counters(self) -> dict[str, float]:
        busy, stolen = machine_cpu_seconds()
        found = {name: cpu_seconds(pids) for name, pids in self._pids().items()}
        found["client"] = own_cpu_seconds() - self._sampler_cpu_s
        return found | {"busy": busy, "stolen": stolen}

    def _note_memory(self) -> None:
        for name, pids in (self._pids() | {"client": []}).items():
            rss, pss = memory_mb(pids) if name != "client" else _own_memory_mb()
            before = self._peaks.get(name, (0.0, 0.0))
            self._peaks[name] = (max(before[0], rss), max(before[1], pss))

    def _sample(self) -> None:
        while not self._stopping.wait(SAMPLE_INTERVAL_S):
            began = time.thread_time()
            self._note_memory()
            self._sampler_cpu_s += time.thread_time() - began


def _own_memory_mb() -> tuple[float, float]:
    own = PROC / "self"
    return _kilobytes(own / "status", "VmRSS:") / 1024, _kilobytes(own / "smaps_rollup", "Pss:") / 1024
