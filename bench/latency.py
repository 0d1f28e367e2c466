"""Workloads that ask how long something takes: W3 fan-out, W4 events, W5 timers, W10 steps behind a queue.

Floors: W3 and W4 `Floor.round_trips` of the records of one run (of W4 only what follows the event); W5
`Floor.scatter` of as many timer records; W10 the round trip of one inbox record.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.clients import Ask, Client, Raise, Start
from bench.measuring import spread_ms
from bench.records import INBOX, Script, script_of
from bench.session import Session
from bench.stacks import Stack
from bench.telling import Json, Table, latency_text, number_of, spread, spread_text, told, trouble, under
from bench.throughput import latencies

EVENT = "deliver"
EVENT_DATA = 1_000
# The worker's wall clock is read twice; what lies below is its own unsteadiness.
EARLY_SECONDS = -0.002
ROUND_TRIPS = 50
IDLE_MARGIN_SECONDS = 0.2


# --- W3 ---


def w3(session: Session) -> Json:
    """One run with 200, 1,000 and 10,000 activities at once."""
    found: Json = {}
    table: Table = {}
    with session.ready("w3") as stack, stack.floor() as floor:
        for width in session.sizes["w3_widths"]:
            script = script_of("fanout", width)
            each: Json = {"records_per_run": script.about(), "clients": {}}
            for kind in session.clients:
                each["clients"][kind] = _fan_out(session, stack, kind, width)
            seconds = floor.round_trips(script, session.sizes["w3_repeats"])
            each["floor"] = {"seconds": spread(seconds)}
            found[str(width)] = each
            table |= under(f"{width:,} activities", _fan_out_table(each))
    return {"widths": found, "table": table}


def _fan_out(session: Session, stack: Stack, kind: str, width: int) -> Json:
    """Run by run; the first by a new client isn't counted."""
    runs, expected = session.sizes["w3_repeats"], width * (width - 1) // 2
    with stack.client(kind) as client:
        client.burst(session.starts("fanout", 1, lambda _: 10), 1, session.sizes["seconds_max"])
        starts = session.starts("fanout", runs, lambda _: width)
        burst, meter = session.burst(stack, client, starts, 1)
    return told(burst, meter, lambda _: expected, width) | {"each_s": spread(burst.latencies)}


def _fan_out_table(each: Json) -> Table:
    table: Table = {}
    for kind, one in each["clients"].items():
        table[f"{kind} s"] = spread_text(one["each_s"])
        table |= trouble(kind, one)
    return table | {"floor s": spread_text(each["floor"]["seconds"])}


# --- W4 ---


def w4(session: Session) -> Json:
    """External event to outcome, one instance after the other."""
    count = session.sizes["w4_events"]
    script = script_of("event", 1, events=[(EVENT, EVENT_DATA)]).after_first_commit()
    clients: Json = {}
    floors: list[float] = []
    with session.ready("w4") as stack, stack.floor() as floor:
        for kind in session.clients:
            with stack.client(kind) as client:
                _raise_events(session, stack, client, max(5, count // 20))
                clients[kind] = _raise_events(session, stack, client, count)
            floors += floor.round_trips(script, count)
    return {"events": count, "records_per_event": script.about()} | latencies(clients, floors)


def _raise_events(session: Session, stack: Stack, client: Client, count: int) -> Json:
    starts = session.starts("event", count)
    client.begin(starts, count, session.sizes["seconds_max"])
    asks = [Raise(start.instance_id, EVENT, EVENT_DATA) for start in starts]
    burst, meter = session.burst(stack, client, asks, 1)
    return told(burst, meter, lambda each: number_of(each) + EVENT_DATA, 0)


# --- W5 ---


def w5(session: Session) -> Json:
    """300 and 10,000 workflows that sleep 2 s: how late each goes on.

    By the worker's clock, against when the timer was due on record: 2 s after the record that started it.
    Code that began late because its start was queued sees less of the sleep, which is told beside it.
    """
    found: Json = {}
    table: Table = {}
    seconds = session.sizes["w5_seconds"]
    step = next(step for step in reversed(script_of("sleeper", seconds).steps) if step.topic == INBOX)
    with session.ready("w5") as stack, stack.floor() as floor, stack.client(session.clients[0]) as client:
        for count in session.sizes["w5_timers"]:
            starts = session.starts("sleeper", count, lambda _: seconds)
            burst, meter = session.burst(stack, client, starts, count)
            late = [each for each in burst.results.values() if isinstance(each, list)]
            by_record, by_code = [each[0] for each in late], [each[1] for each in late]
            each = told(burst, meter, lambda _: None, 0) | {
                "wrong": len(burst.results) - len(late),
                "early": sum(each < EARLY_SECONDS for each in by_record),
                "lateness": spread_ms(by_record),
                "lateness_by_code": spread_ms(by_code),
                "floor": {"lateness": spread_ms(floor.scatter(step, count))},
            }
            found[str(count)] = each
            table |= under(f"{count:,} timers", _timer_table(each))
    return {"timers": found, "seconds_slept": seconds, "table": table}


def _timer_table(each: Json) -> Table:
    table = {"late p50/p95/p99 ms": latency_text(each["lateness"])}
    table["floor p50/p95/p99 ms"] = latency_text(each["floor"]["lateness"])
    if each["early"]:
        table["EARLY"] = str(each["early"])
    return table | trouble("timers", each)


# --- W10 ---


def w10(session: Session) -> Json:
    """Steps of running instances, before and while many starts are queued.

    A step's latency lies between the end of one activity and the begin of the next, by the worker's clock.
    """
    sizes = session.sizes
    with session.ready("w10") as stack:
        queue = _Queue(session, stack.directory / "w10-done")
        with stack.client("raw") as client:
            burst, meter = session.burst(stack, client, queue.asks(), 2 * sizes["w10_queued"] + 100)
        with stack.floor() as floor:
            step = next(each for each in script_of("chain", 1).steps if each.topic == INBOX)
            floors = floor.round_trips(Script((step,)), ROUND_TRIPS)
        return queue.told(burst.results) | {
            "queued": sizes["w10_queued"],
            "queue_worked_off_s": round(burst.seconds - queue.published_after_s, 3),
            "lost": burst.missing,
            "wrong": burst.wrong(queue.expected),
            **meter.report(),
            "floor": {"latency": spread_ms(floors)},
        }


class _Queue:
    """Steppers, a while of rest, then all the starts at once; the last one tells the steppers to stop."""

    def __init__(self, session: Session, done: Path) -> None:
        self._session = session
        self._done = done
        self._steppers: list[Start] = []
        self._idle = self._loaded = (0.0, 0.0)
        self.published_after_s = 0.0

    def asks(self) -> Iterator[Ask]:
        sizes, starts = self._session.sizes, self._session.starts
        call = {"ms": sizes["w10_nap_ms"], "until": str(self._done)}
        self._steppers = starts("stepper", sizes["w10_steppers"], lambda _: call)
        began = time.time()
        yield from self._steppers
        time.sleep(sizes["w10_idle_seconds"])
        self._idle = (began + IDLE_MARGIN_SECONDS, time.time())
        yield from starts("chain", sizes["w10_queued"])
        yield from starts("finisher", 1, lambda _: str(self._done))
        self._loaded = (time.time(), 0.0)
        self.published_after_s = time.time() - began

    def expected(self, instance_id: str) -> Any:
        workflow = instance_id.split("-", maxsplit=1)[0]
        return {"chain": number_of(instance_id) + 3, "finisher": "done"}.get(workflow)

    def told(self, results: Json) -> Json:
        marks = [results.pop(each.instance_id, []) for each in self._steppers]
        done_at = float(self._done.read_text(encoding="ascii").split()[0])
        idle = _steps_between(marks, *self._idle)
        loaded = _steps_between(marks, self._loaded[0], done_at)
        table = {
            "step idle p50/p95/p99 ms": latency_text(spread_ms(idle)),
            "step behind the queue p50/p95/p99 ms": latency_text(spread_ms(loaded)),
        }
        return {
            "steppers": len(marks),
            "idle": spread_ms(idle),
            "behind_queue": spread_ms(loaded),
            "table": table,
        }


def _steps_between(steppers: list[list[list[float]]], begin: float, end: float) -> list[float]:
    """The seconds from each activity's end in that time to the begin of the one that follows."""
    return [
        after[0] - before[1]
        for marks in steppers
        for before, after in itertools.pairwise(marks)
        if begin <= before[1] <= end
    ]
