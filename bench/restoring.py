"""W7: how long a new owner takes to know a large partition: 100,000 live instances, 1,000,000 finished ones.

The partition is filled by `bench.filling`, not by running. Measured are a restore without a cache (another
machine takes over), one after a clean stop and one after a kill -9, both with the cache. Each time runs show
that what was restored is alive: events for live instances, or new chains. The floor is `Floor.read_history`:
the same records read by a read_committed consumer, and nothing made of them.
"""

import re
import time
from typing import Any

from bench.clients import Ask, Raise
from bench.filling import fill, ids
from bench.latency import EVENT, EVENT_DATA
from bench.measuring import Meter
from bench.session import Session
from bench.stacks import EmbeddedStack, Stack
from bench.telling import Json, Table, trouble, under

PARTITION = 0
PROBES = 20
RESTORES = 3
RESTORED = re.compile(r"partition 0 restored: (\d+) records, ([\d.]+) s")
FILLED = {"live": ("event", 1), "finished": ("chain", 1)}


def w7(session: Session) -> Json:
    """Restores of one partition with many live, and with many finished instances."""
    found: Json = {}
    table: Table = {}
    for what in FILLED:
        count = session.sizes[f"w7_{what}"]
        each = found[what] = _measure(session, what, count)
        table |= under(f"{count:,} {what}", _table(each))
    return found | {"table": table}


def _table(each: Json) -> Table:
    table = {
        f"{name} s (of it restore)": f"{one['ready_s']:g} ({one['restore_s']:g})"
        for name, one in each["restores"].items()
    }
    cold = each["restores"]["cold"]
    table["cold worker CPU s, peak RSS MB"] = (
        f"{cold['cpu_s']['worker']:g}, {cold['peak_mb']['worker']['rss']:.0f}"
    )
    for name, one in each["restores"].items():
        table |= trouble(name, one)
    return table | {"floor s": f"{each['floor']['seconds']:g} ({each['floor']['records']:,} records)"}


def _measure(session: Session, what: str, count: int) -> Json:
    workflow, value = FILLED[what]
    with session.lab.stack(f"w7-{what}", partitions=1) as stack:
        filled_s = fill(stack.place, workflow, value, count)
        probes = _Probes(session, stack, what, count)
        restores = {"cold": _restore(stack, probes)}
        stack.stop_worker()
        restores["after a stop"] = _restore(stack, probes)
        stack.kill_worker()
        restores["after a kill"] = _restore(stack, probes)
        stack.stop_worker()
        with stack.floor() as floor:
            read = floor.read_history(PARTITION)
    return {
        "instances": count,
        "filled_by": "history records written through the codec, not by running",
        "filled_s": round(filled_s, 1),
        "restores": restores,
        "floor": read,
    }


def _restore(stack: Stack, probes: "_Probes") -> Json:
    began = time.perf_counter()
    with Meter(stack.pids) as meter:
        stack.start()
    ready_s = time.perf_counter() - began
    assert stack.worker is not None
    found = [RESTORED.search(line) for line in stack.worker.lines("partition 0 restored")]
    restored = [match for match in found if match is not None]
    return {
        "ready_s": round(ready_s, 3),
        "restore_s": float(restored[0][2]) if restored else None,
        "records_read": int(restored[0][1]) if restored else None,
        **meter.report(),
        **probes.run(),
    }


class _Probes:
    """Shows that a restored partition works: each time with instances that were not touched before."""

    def __init__(self, session: Session, stack: Stack, what: str, count: int) -> None:
        partitions = 4 if isinstance(stack, EmbeddedStack) else 1
        self._session, self._stack, self._what = session, stack, what
        # Enough untouched ones must be left for every restore.
        self._count = min(PROBES, count // RESTORES)
        self._ids = ids(count, partitions)

    def run(self) -> Json:
        asks: list[Ask] = []
        expected: Any = None
        if self._what == "live":
            asks = [Raise(next(self._ids), EVENT, EVENT_DATA) for _ in range(self._count)]
            expected = EVENT_DATA + FILLED["live"][1]
        else:
            asks = list(self._session.starts("chain", self._count, lambda _: 0))
            expected = 3
        with self._stack.client("raw") as client:
            burst = client.burst(asks, 1, self._session.sizes["seconds_max"])
        return {"probes": len(asks), "lost": burst.missing, "wrong": burst.wrong(lambda _: expected)}
