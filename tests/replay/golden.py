"""Golden histories as files: every event of a run, and the state after each. Written once, read for ever."""

import json
from pathlib import Path
from typing import Any

import msgspec

from engine.model import events as ev
from engine.model.state import InstanceState

DIRECTORY = Path(__file__).parent / "golden"
_KINDS = {kind.__name__: kind for kind in ev.EVENTS}


class Run(msgspec.Struct, frozen=True):
    """One run of one instance, and what the state was after each event."""

    feature: str
    instance_id: str
    history: list[ev.Recorded]
    states: list[Any]

    @property
    def name(self) -> str:
        """What a failed test should show."""
        return f"{self.feature}: {self.instance_id} {self.history[0].run_id}"


def plain(state: InstanceState | None) -> Any:
    """A state in terms of JSON."""
    return json.loads(msgspec.json.encode(state))


def holds(actual: Any, expected: Any) -> bool:
    """Whether `actual` has all that was recorded; what later versions know besides is their business."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            name in actual and holds(actual[name], value) for name, value in expected.items()
        )
    return bool(actual == expected)


def write(feature: str, runs: list[Run]) -> Path:
    """Writes the file of a feature."""
    DIRECTORY.mkdir(exist_ok=True)
    file = DIRECTORY / f"{feature}.json"
    content = [
        {
            "instance_id": run.instance_id,
            "events": [_event_to_json(recorded) for recorded in run.history],
            "states": run.states,
        }
        for run in runs
    ]
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def read(file: Path) -> list[Run]:
    """The runs of a feature."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return [
        Run(file.stem, run["instance_id"], [_event_of_json(each) for each in run["events"]], run["states"])
        for run in content
    ]


def read_all() -> list[Run]:
    """All runs of all features."""
    return [run for file in sorted(DIRECTORY.glob("*.json")) for run in read(file)]


def _event_to_json(recorded: ev.Recorded) -> dict[str, Any]:
    plain_record = msgspec.to_builtins(recorded)
    return {**plain_record, "kind": type(recorded.event).__name__}


def _event_of_json(record: dict[str, Any]) -> ev.Recorded:
    event = msgspec.convert(record["event"], _KINDS[record["kind"]])
    fields = {name: record[name] for name in ("run_id", "sequence", "recorded_at_ms", "inbox_offset")}
    return ev.Recorded(**fields, event=event)
