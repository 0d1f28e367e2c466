"""What must be true when all is over. Each checker tells what is wrong, and nothing where nothing is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.testing.model import OneOf, matches
from tests.chaos.load import Published

STATUSES = {
    "InstanceCompleted": "COMPLETED",
    "InstanceFailed": "FAILED",
    "InstanceTerminated": "TERMINATED",
}
# Commands that come too late are refused, and nothing else that is published here.
LATE_COMMANDS = {"RaiseEvent", "SuspendInstance", "ResumeInstance", "TerminateInstance"}
LATE_REASON = "InstanceFinished"
FORBIDDEN_LINES = (
    "Traceback",
    "AssertionError",
    "can't be owned",
    "Fatal Python error",
    "Exception in thread",
)
SHOWN_MAX = 10

Place = tuple[bytes, bytes]


@dataclass
class Evidence:
    """What was published, what an independent reader found in the topics, what the workers logged."""

    programs: Mapping[str, Published]
    outcomes: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    raised: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[str, str, str, Place]] = field(default_factory=list)
    open_runs: list[tuple[str, str]] = field(default_factory=list)
    lags: Mapping[str, int] = field(default_factory=dict)
    open_transactions: Mapping[str, int] = field(default_factory=dict)
    logs: Iterable[Path] = ()


def lost(evidence: Evidence) -> Iterator[str]:
    """Programs that did not end, and events that neither arrived nor were refused."""
    for instance_id in evidence.programs:
        if instance_id not in evidence.outcomes:
            yield f"{instance_id} did not end"
    for instance_id, published in evidence.programs.items():
        came = evidence.raised[instance_id] + _refusals(evidence, instance_id)["RaiseEvent"]
        if came < published.commands["RaiseEvent"]:
            yield f"{instance_id} had {came} of {published.commands['RaiseEvent']} events"


def doubled(evidence: Evidence) -> Iterator[str]:
    """Starts, events and dead letters that took effect twice."""
    for instance_id, count in evidence.starts.items():
        # A child may be started again under its id, when its parent retries it.
        if count > 1 and instance_id in evidence.programs:
            yield f"{instance_id} was started {count} times"
    for instance_id, published in evidence.programs.items():
        came = evidence.raised[instance_id] + _refusals(evidence, instance_id)["RaiseEvent"]
        if came > published.commands["RaiseEvent"]:
            yield f"{instance_id} had {came} events, but {published.commands['RaiseEvent']} were published"
    for place, count in Counter(place for _, _, _, place in evidence.refused).items():
        if count > 1:
            yield f"the command at {place} was refused {count} times"


def _refusals(evidence: Evidence, instance_id: str) -> Counter[str]:
    return Counter(kind for refused_id, kind, _, _ in evidence.refused if refused_id == instance_id)


def wrong_outcomes(evidence: Evidence) -> Iterator[str]:
    """Programs that came to something else than the model says."""
    for instance_id, (kind, outcome) in evidence.outcomes.items():
        published = evidence.programs.get(instance_id)
        if published is not None and not _is_right(published.expected, STATUSES[kind], outcome):
            yield f"{instance_id} ended as {kind} with {outcome}, expected {published.expected}"


def _is_right(expected: OneOf, status: str, outcome: Any) -> bool:
    return any(status == right and matches(entry, outcome) for right, entry in expected.entries)


def unexpected_refusals(evidence: Evidence) -> Iterator[str]:
    """Dead letters of what was not late."""
    for instance_id, kind, reason, place in evidence.refused:
        if kind not in LATE_COMMANDS or reason != LATE_REASON or instance_id not in evidence.programs:
            yield f"{kind} of {instance_id} at {place} was refused: {reason}"


def unrest(evidence: Evidence) -> Iterator[str]:
    """Runs that stand, records nobody has processed, transactions nobody ends."""
    for run in evidence.open_runs:
        yield f"{run} is not over"
    for what, lag in evidence.lags.items():
        if lag:
            yield f"{what} has a lag of {lag}"
    for topic, count in evidence.open_transactions.items():
        if count:
            yield f"{count} partitions of {topic} end in an open transaction"


def complaints(evidence: Evidence) -> Iterator[str]:
    """Lines of worker logs that no fault excuses."""
    for log in evidence.logs:
        for number, line in enumerate(log.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if any(text in line for text in FORBIDDEN_LINES):
                yield f"{log.name}:{number}: {line[:300]}"


CHECKERS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "losses": lost,
    "duplicates": doubled,
    "wrong outcomes": wrong_outcomes,
    "unexpected dead letters": unexpected_refusals,
    "unrest": unrest,
    "log complaints": complaints,
}


def check_all(evidence: Evidence) -> dict[str, list[str]]:
    """What each checker found."""
    return {name: list(checker(evidence)) for name, checker in CHECKERS.items()}
