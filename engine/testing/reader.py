"""I7: a reader of committed records who knows Avro and the schemas, and nothing of the engine.

What it makes of them is what the engine must show. It imports no code of the engine, by intent.
"""

import io
import json
from pathlib import Path
from typing import Any

from fastavro import schemaless_reader
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

Event = tuple[str, dict[str, Any]]

_HEADER_BYTES = 10
_SHOWN = {
    "InstanceCompleted": "COMPLETED",
    "InstanceFailed": "FAILED",
    "InstanceTerminated": "TERMINATED",
    "InstanceContinuedAsNew": "CONTINUED_AS_NEW",
}


def _load_schemas() -> dict[bytes, Any]:
    package = Path(__file__).parents[1]
    folder = package / "schemas" if (package / "schemas").is_dir() else package.parent / "schemas"
    schemas = {}
    for path in sorted(folder.rglob("*.avsc")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        number = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
        schemas[b"\xc3\x01" + bytes.fromhex(number)] = parse_schema(schema)
    return schemas


_SCHEMAS = _load_schemas()


def read_event(value: bytes) -> Event:
    """(kind, fields) of a record in Avro's single-object encoding."""
    schema = _SCHEMAS[value[:_HEADER_BYTES]]
    fields = schemaless_reader(io.BytesIO(value[_HEADER_BYTES:]), schema, None)
    assert isinstance(fields, dict)
    return schema["name"].rpartition(".")[2], fields


def fold(values: list[bytes]) -> dict[str, Any]:
    """What is to be shown of a run with these events."""
    kind, first = read_event(values[0])
    assert kind == "InstanceStarted", f"a run begins with {kind}"
    parent = first["parent"]
    shown: dict[str, Any] = {
        "run_id": first["run_id"],
        "workflow": first["workflow"],
        "status": "PENDING" if first["start_at_ms"] is not None else "RUNNING",
        "custom_status": first["custom_status"],
        "parent": None if parent is None else (parent["instance_id"], parent["run_id"]),
        "created_at_ms": first["recorded_at_ms"],
        "is_suspended": False,
        "stall": None,
        "activities": {},
        "timers": {} if first["start_at_ms"] is None else {1: first["start_at_ms"]},
        "children": {},
    }
    for value in values:
        kind, fields = read_event(value)
        _take(shown, kind, fields)
        shown |= {"sequence": fields["sequence"], "last_event_at_ms": fields["recorded_at_ms"]}
    return shown


def _take(shown: dict[str, Any], kind: str, fields: dict[str, Any]) -> None:
    noun = "activities" if kind.startswith("Activity") else "children"
    if kind in _SHOWN:
        shown |= {"status": _SHOWN[kind], "is_suspended": False, "stall": None}
        shown |= {"activities": {}, "timers": {}, "children": {}}
    elif kind.startswith("Timer"):
        _take_timer(shown, kind, fields)
    elif kind in ("ActivityScheduled", "ChildScheduled"):
        shown[noun][fields["sequence"]] = 1
    elif kind in ("ActivityRetried", "ChildRetried"):
        shown[noun][fields["scheduled"]] = fields["attempt"]
    elif kind in ("ActivityCompleted", "ActivityFailed", "ChildCompleted", "ChildFailed"):
        del shown[noun][fields["scheduled"]]
    else:
        shown |= _flags(kind, fields)


def _take_timer(shown: dict[str, Any], kind: str, fields: dict[str, Any]) -> None:
    if kind == "TimerCreated":
        shown["timers"][fields["sequence"]] = fields["due_at_ms"]
        return
    shown["timers"].pop(fields["timer"], None)
    if fields["timer"] == 1:
        shown["status"] = "RUNNING"


def _flags(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    if kind == "CustomStatusSet":
        return {"custom_status": fields["status"]}
    if kind == "InstanceStalled":
        return {"stall": fields["reason"]}
    if kind == "InstanceUnstalled":
        return {"stall": None}
    if kind in ("InstanceSuspended", "InstanceResumed"):
        return {"is_suspended": kind == "InstanceSuspended"}
    return {}
