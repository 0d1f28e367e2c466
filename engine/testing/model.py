"""What a program must come to, computed without any code of the engine: the simulator's second opinion.

Where timing decides, every allowed answer is listed; nothing else is left open.
"""

from collections.abc import Callable
from typing import Any

from typing_extensions import override

Entry = Any


class OneOf:
    """Any of these is right."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = entries

    @override
    def __repr__(self) -> str:
        return f"one of {list(self.entries)}"


def outcome_of(program: dict[str, Any], events: list[tuple[str, int]]) -> tuple[str, Entry]:
    """(status, output or type of failure) of a run of `program` to which `events` are raised, in order."""
    raised = _raised(events)
    trace: list[Entry] = list(program.get("trace", []))
    for op in program["ops"]:
        if op["op"] == "continue":
            continue
        if op["op"] == "fail":
            return "FAILED", "ProgramError"
        trace.append(_entry(op, raised))
    return "COMPLETED", {"trace": trace}


def matches(expected: Entry, actual: Entry) -> bool:
    """Whether `actual` is what was expected, or one of it."""
    if isinstance(expected, OneOf):
        return any(matches(entry, actual) for entry in expected.entries)
    if isinstance(expected, dict):
        if not isinstance(actual, dict) or expected.keys() != actual.keys():
            return False
        return all(matches(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, list):
        if not isinstance(actual, list) or len(expected) != len(actual):
            return False
        return all(matches(a, b) for a, b in zip(expected, actual, strict=True))
    return bool(expected == actual)


def culprit(program: dict[str, Any], events: list[tuple[str, int]], actual: Entry) -> str | None:
    """The first op whose entry is not as it should be, None where the disagreement is of another kind."""
    found = actual.get("trace", []) if isinstance(actual, dict) else []
    raised = _raised(events)
    ops = [op for op in program["ops"] if op["op"] not in ("continue", "fail")]
    for op, entry in zip(ops, found, strict=False):
        if not matches(_entry(op, raised), entry):
            return str(op["op"])
    return None


def _raised(events: list[tuple[str, int]]) -> dict[str, list[int]]:
    raised: dict[str, list[int]] = {}
    for name, value in events:
        raised.setdefault(name, []).append(value)
    return raised


def _entry(op: dict[str, Any], raised: dict[str, list[int]]) -> Entry:
    return _ENTRIES[op["op"]](op, raised)


def _call(op: dict[str, Any]) -> Entry:
    fails, attempts = op.get("fails", 0), op.get("attempts", 1)
    if fails and op.get("final"):
        return ["failed", "NonRetryableError"]
    if fails >= attempts:
        return ["failed", "WorkError"]
    if op.get("big"):
        return ["failed", "LimitExceededError"]
    return ["ok", op["value"] * 2 + 1]


def _fan(calls: list[dict[str, Any]]) -> Entry:
    entries = [_call(each) for each in calls]
    failed = [entry for entry in entries if entry[0] == "failed"]
    if failed:
        return OneOf(*failed)
    return [entry[1] for entry in entries]


def _wait(op: dict[str, Any], raised: dict[str, list[int]]) -> Entry:
    came: list[Entry] = [["event", value] for value in raised.get(op["name"], [])]
    if op["timeout_ms"] is not None:
        came.append(["timeout"])
    return came[0] if len(came) == 1 else OneOf(*came)


def _child(op: dict[str, Any]) -> Entry:
    if op["clash"]:
        return ["failed", "WorkflowInstanceAlreadyExists"]
    status, output = outcome_of(op["program"], [])
    return ["child", output] if status == "COMPLETED" else ["failed", output]


def _race(op: dict[str, Any], raised: dict[str, list[int]]) -> Entry:
    winners = [0, 1] + ([2] if op["name"] in raised else [])
    return OneOf(*(["won", winner] for winner in winners))


_ENTRIES: dict[str, Callable[[dict[str, Any], dict[str, list[int]]], Entry]] = {
    "activity": lambda op, _: _call(op),
    "fan": lambda op, _: _fan(op["calls"]),
    "timer": lambda _, __: ["timer", True],
    "wait": _wait,
    "queue": lambda op, raised: raised[op["name"]][: op["count"]],
    "race": _race,
    "child": lambda op, _: _child(op),
    "children": lambda op, _: [outcome_of(each, [])[1] for each in op["programs"]],
    "status": lambda _, __: ["status"],
    "chance": lambda _, __: ["chance", True],
    "pill": lambda _, __: ["pill"],
}
