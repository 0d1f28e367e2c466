"""Workloads of many runs, as fast as possible or one at a time: W1, W2, W8, W9, W11, scaling.

Their floors are `Floor.burst` and `Floor.round_trips` of the very records that one of their runs writes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.clients import Client
from bench.floor import Floor
from bench.measuring import spread_ms
from bench.records import Script, script_of
from bench.session import Session
from bench.stacks import Stack
from bench.telling import Json, Table, latency_text, number_of, spread, spread_text, told, trouble, under

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
        return _both(session, stack, SEQUENCE, "w8")


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
        kind: round(resident["clients"][kind]["runs_per_s"]["median"] / each["runs_per_s"]["median"], 3)
        for kind, each in empty["clients"].items()
    }
    table = under("empty", empty["table"]) | under(f"{idle:,} idle", resident["table"])
    table |= {f"{kind} {idle:,} idle to empty": f"{ratio:g}" for kind, ratio in ratios.items()}
    return {
        "idle_instances": idle,
        "empty": empty,
        "resident": resident,
        "resident_to_empty": ratios,
        "table": table,
    }


def w11(session: Session) -> Json:
    """A parent with a child of one activity: as fast as possible, then one at a time."""
    with session.ready("w11") as stack:
        return _both(session, stack, PARENT, "w11")


def scaling(session: Session) -> Json:
    """W1 with one and with two worker processes, on the same cores as client and broker."""
    if session.lab.log_name != "kafka":
        return {"skipped": "the embedded log has one owner process"}
    found: Json = {}
    table: Table = {}
    for processes in session.sizes["scaling_processes"]:
        with session.ready("scaling", processes=processes) as stack:
            each = found[str(processes)] = compare(session, stack, CHAIN, session.sizes["scaling_runs"])
            table |= under(f"processes {processes}", each["table"])
    return {"processes": found, "table": table}


def _both(session: Session, stack: Stack, flow: Flow, name: str) -> Json:
    fast = compare(session, stack, flow, session.sizes[f"{name}_runs"])
    slow = one_at_a_time(session, stack, flow, session.sizes[f"{name}_one_at_a_time"])
    table = fast["table"] | under("one at a time", slow["table"])
    return fast | {"one_at_a_time": slow, "table": table}


# --- as fast as possible ---


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
                    bursts[kind].append(_burst(session, stack, client, flow, runs, window))
            floors.append(_floor_burst(floor, script, runs, window))
    floor_rates = [each["runs_per_s"] for each in floors]
    clients = {kind: _summary(each, floor_rates) for kind, each in bursts.items()}
    table: Table = {}
    for kind, each in clients.items():
        table |= _fast_table(kind, each)
    floor_told = {"runs_per_s": spread(floor_rates), "bursts": floors}
    table["floor runs/s"] = spread_text(floor_told["runs_per_s"])
    return {
        "runs": runs,
        "window": window,
        "records_per_run": script.about(),
        "clients": clients,
        "floor": floor_told,
        "table": table,
    }


def _summary(bursts: list[Json], floor_rates: list[float]) -> Json:
    rates = [burst["runs_per_s"] for burst in bursts]
    ratios = [rate / floor_rate for rate, floor_rate in zip(rates, floor_rates, strict=True)]
    return {
        "runs_per_s": spread(rates),
        "activities_per_s": spread([burst["activities_per_s"] for burst in bursts]),
        "to_floor": spread(ratios),
        "lost": sum(burst["lost"] for burst in bursts),
        "wrong": sum(burst["wrong"] for burst in bursts),
        "bursts": bursts,
    }


def _floor_burst(floor: Floor, script: Script, runs: int, window: int) -> Json:
    found = floor.burst(script, runs, window)
    return found | {"runs_per_s": round(runs / found["seconds"], 1)}


def _fast_table(kind: str, each: Json) -> Table:
    last = each["bursts"][-1]
    cpu, peaks = last["cpu_ms_each"], last["peak_mb"]
    return {
        f"{kind} runs/s": spread_text(each["runs_per_s"]),
        f"{kind} to floor": spread_text(each["to_floor"]),
        f"{kind} CPU ms per run": ", ".join(f"{name} {value:.3f}" for name, value in cpu.items()),
        f"{kind} peak RSS MB": ", ".join(f"{name} {peak['rss']:.0f}" for name, peak in peaks.items()),
        **trouble(kind, each),
    }


# --- one at a time ---


def one_at_a_time(session: Session, stack: Stack, flow: Flow, runs: int) -> Json:
    """Latency by each client, and the floor's round trips, in turn."""
    script = script_of(flow.workflow, flow.value(runs))
    clients: Json = {}
    floors: list[float] = []
    with stack.floor() as floor:
        for kind in session.clients:
            with stack.client(kind) as client:
                # Opening a client and its first fetches are not what is asked.
                _burst(session, stack, client, flow, max(5, runs // 20), LATENCY_WINDOW)
                clients[kind] = _burst(session, stack, client, flow, runs, LATENCY_WINDOW)
            floors += floor.round_trips(script, runs)
    return {"runs": runs, "records_per_run": script.about()} | latencies(clients, floors)


def latencies(clients: dict[str, Json], floors: list[float]) -> Json:
    """Clients' latencies beside the floor's."""
    floor = {"latency": spread_ms(floors)}
    table: Table = {}
    for kind, each in clients.items():
        each["p50_to_floor"] = round(each["latency"]["p50_ms"] / floor["latency"]["p50_ms"], 2)
        table[f"{kind} p50/p95/p99 ms"] = latency_text(each["latency"])
        table[f"{kind} p50 to floor"] = f"{each['p50_to_floor']:g}"
        table |= trouble(kind, each)
    table["floor p50/p95/p99 ms"] = latency_text(floor["latency"])
    return {"clients": clients, "floor": floor, "table": table}


def _burst(session: Session, stack: Stack, client: Client, flow: Flow, runs: int, window: int) -> Json:
    starts = session.starts(flow.workflow, runs, flow.value)
    burst, meter = session.burst(stack, client, starts, window)
    return told(burst, meter, lambda each: flow.expected(number_of(each)), flow.activities)
