"""How measurements are told: in JSON with all that was measured, in a table with what one looks at first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.clients import Burst
from bench.measuring import Meter, median, spread_ms

Json = dict[str, Any]
# The lines of the table that a workload adds: what, and how much.
Table = dict[str, str]


def number_of(instance_id: str) -> int:
    """Of an id that `Session.starts` gave."""
    return int(instance_id.rsplit("-", 1)[1])


def told(burst: Burst, meter: Meter, expected: Callable[[str], Any], activities: int) -> Json:
    """A burst for the report; `activities` is how many each run has."""
    runs = len(burst.seen_at)
    rate = runs / burst.seconds if burst.seconds else 0.0
    return {
        "runs": runs,
        "runs_per_s": round(rate, 1),
        "activities_per_s": round(rate * activities, 1),
        "latency": spread_ms(burst.latencies),
        "lost": burst.missing,
        "wrong": burst.wrong(expected),
        **meter.report(runs),
        "seconds": round(burst.seconds, 4),
    }


def spread(values: Sequence[float]) -> Json:
    """Of repeated measurements: all are kept, and none is averaged away."""
    kept = [round(value, 4) for value in values]
    if not kept:
        return {"median": None, "min": None, "max": None, "all": []}
    return {"median": round(median(kept), 4), "min": min(kept), "max": max(kept), "all": kept}


def spread_text(told_spread: Json) -> str:
    """The median, and how far the others are from it."""
    if len(told_spread["all"]) < 2:
        return "" if told_spread["median"] is None else f"{told_spread['median']:g}"
    return f"{told_spread['median']:g} ({told_spread['min']:g} to {told_spread['max']:g})"


def latency_text(latency: Json) -> str:
    """Three percentiles in milliseconds."""
    if not latency["n"]:
        return "none"
    return f"{latency['p50_ms']:.1f} / {latency['p95_ms']:.1f} / {latency['p99_ms']:.1f}"


def trouble(kind: str, each: Json) -> Table:
    """What must not be overlooked."""
    if each["lost"] or each["wrong"]:
        return {f"{kind} LOST, WRONG": f"{each['lost']}, {each['wrong']}"}
    return {}


def under(name: str, table: Mapping[str, str]) -> Table:
    """The lines of a part of a workload."""
    return {f"{name}, {what}": text for what, text in table.items()}
