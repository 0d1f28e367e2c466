"""Workloads that ask for as much as the engine can give: W1, W8, W9, W11 and scaling."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.clients import Client
from bench.floor import Floor
from bench.measuring import spread_ms
from bench.records import script_of
from bench.session import Json, Session, number_of, spread, told
from bench.stacks import Stack

SEQUENCE_STEPS = 10
LATENCY_WINDOW = 1


@dataclass(frozen=True)
class Flow:
    """A workflow, its input, and what must come of it."""

    workflow: str
    activities: int
    value: Callable[[int], Any]
    expected: Callable[[int], Any]


CHAIN = Flow("chain", 3, lambda i: i, lambda i: i + 3)
SEQUENCE = Flow("sequence", SEQUENCE_STEPS, lambda _: SEQUENCE_STEPS, lambda _: SEQUENCE_STEPS)
PARENT = Flow("parent", 1, lambda i: i, lambda i: i + 1)


def w1(session: Session) -> Json:
    """N workflows of 3 sequential activities, as fast as possible."""
    with session.ready("w1") as stack:
        return compare(session, stack, CHAIN, session.sizes["w1_runs"])


def w2(session: Session) -> Json:
    """The same, one at a time: start to outcome, seen by a client that reads committed history."""
    with session.ready("w2") as stack:
        return one_at_a_time(session, stack, CHAIN, session.sizes["w2_runs"])


def w8(session: Session) -> Json:
    """A sequence of 10 steps: as fast as possible, then one at a time."""
    with session.ready("w8") as stack:
        fast = compare(session, stack, SEQUENCE, session.sizes["w8_runs"])
        return fast | {
            "one_at_a_time": one_at_a_time(session, stack, SEQUENCE, session.sizes["w8_one_at_a_time"])
        }


def w9(session: Session) -> Json:
    """W1 on an empty engine, and with many idle instances resident."""
    runs, idle = session.sizes["w9_runs"], session.sizes["w9_idle"]
    with session.ready("w9") as stack:
        empty = compare(session, stack, CHAIN, runs)
        with stack.client("raw") as client:
            starts = session.starts("event", idle)
            client.begin(starts, session.sizes["w1_window"], session.sizes["seconds_max"])
        resident = compare(session, stack, CHAIN, runs)
    ratios = {
        kind: round(resident["clients"][kind]["runs_per_s"]["median"] / told["runs_per_s"]["median"], 3)
        for kind, told in empty["clients"].items()
    }
    return {"idle_instances": idle, "empty": empty, "resident": resident, "resident_to_empty": ratios}


def w11(session: Session) -> Json:
    """A parent with a child of one activity: as fast as possible, then one at a time."""
    with session.ready("w11") as stack:
        fast = compare(session, stack, PARENT, session.sizes["w11_runs"])
        return fast | {
            "one_at_a_time": one_at_a_time(session, stack, PARENT, session.sizes["w11_one_at_a_time"])
        }


def scaling(session: Session) -> Json:
    """W1 with one and with two worker processes, on the same cores as client and broker."""
    if session.lab.log_name != "kafka":
        return {"skipped": "the embedded log has one owner process"}
    found: Json = {}
    for processes in session.sizes["scaling_processes"]:
        with session.ready("scaling", processes=processes) as stack:
            found[str(processes)] = compare(session, stack, CHAIN, session.sizes["scaling_runs"])
    return {"processes": found}


def compare(session: Session, stack: Stack, flow: Flow, runs: int) -> Json:
    """Bursts by each client and of the floor, in turn, so that all of them meet the same noise."""
    script = script_of(flow.workflow, flow.value(runs))
    window = min(runs, session.sizes["w1_window"])
    bursts: dict[str, list[Json]] = {kind: [] for kind in session.clients}
    floors: list[Json] = []
    with stack.floor() as floor:
        for _ in range(session.sizes["bursts"]):
            for kind in session.clients:
                with stack.client(kind) as client:
                    bursts[kind].append(_burst(session, stack, client, flow, runs))
            floors.append(floor_burst(floor, script, runs, window))
    floor_rates = [each["runs_per_s"] for each in floors]
    found: Json = {"runs": runs, "window": window, "records_per_run": script.about(), "clients": {}}
    for kind, each in bursts.items():
        rates = [burst["runs_per_s"] for burst in each]
        ratios = [rate / floor_rate for rate, floor_rate in zip(rates, floor_rates, strict=True)]
        found["clients"][kind] = {
            "runs_per_s": spread(rates),
            "activities_per_s": spread([burst["activities_per_s"] for burst in each]),
            "to_floor": spread(ratios),
            "lost": sum(burst["lost"] for burst in each),
            "wrong": sum(burst["wrong"] for burst in each),
            "bursts": each,
        }
    return found | {"floor": {"runs_per_s": spread(floor_rates), "bursts": floors}}


def floor_burst(floor: Floor, script: Any, runs: int, window: int) -> Json:
    """One burst of the floor, for the report."""
    told_floor = floor.burst(script, runs, window)
    return told_floor | {"runs_per_s": round(runs / told_floor["seconds"], 1)}


def one_at_a_time(session: Session, stack: Stack, flow: Flow, runs: int) -> Json:
    """Latency by each client, and the floor's round trips, in turn."""
    script = script_of(flow.workflow, flow.value(runs))
    found: Json = {"runs": runs, "clients": {}}
    floors: list[float] = []
    with stack.floor() as floor:
        for kind in session.clients:
            with stack.client(kind) as client:
                # Opening a client and its first fetches are not what is asked.
                _burst(session, stack, client, flow, max(5, runs // 20), LATENCY_WINDOW)
                found["clients"][kind] = _burst(session, stack, client, flow, runs, LATENCY_WINDOW)
            floors += floor.round_trips(script, runs)
    found["floor"] = {"latency": spread_ms(floors)}
    for each in found["clients"].values():
        each["p50_to_floor"] = round(each["latency"]["p50_ms"] / found["floor"]["latency"]["p50_ms"], 2)
    return found


def _burst(
    session: Session, stack: Stack, client: Client, flow: Flow, runs: int, window: int | None = None
) -> Json:
    starts = session.starts(flow.workflow, runs, flow.value)
    burst, meter = session.burst(stack, client, starts, window or session.sizes["w1_window"])
    return told(burst, meter, lambda each: flow.expected(number_of(each)), flow.activities)
