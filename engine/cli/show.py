"""How answers look: tables for people, JSON for programs. Nothing shown can steer a terminal."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.client import DeadLetterEntry, WorkflowHistoryEvent, WorkflowState
from engine.client.state import utc

PIPE_WIDTH = 500
TEXT_SHOWN_MAX = 400
KEY_SHOWN_MAX = 80
DETAIL_SHOWN_MAX = 200
VALUE_BYTES_LISTED = 256
CUT = "…"
_SHOWN_UNLESS_ZERO = frozenset({"depth", "saved_events"})


def printable(text: str) -> str:
    """`text` with every control character escaped: ids and payloads come from anybody."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def show_json(value: Any) -> None:
    """Prints JSON; what a terminal would act on is escaped, as JSON allows."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo("\n".join(_json_line(line) for line in text.split("\n")))


def _json_line(line: str) -> str:
    # In JSON text such characters stand in strings only, and beyond 0xFFFF they are pairs there.
    return "".join(each if each.isprintable() else json.dumps(each, ensure_ascii=True)[1:-1] for each in line)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table as wide as it needs to be in a pipe, and as the terminal is on a terminal."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    _print(table)


def show_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Prints names and values, those without a value left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in fields:
        if value is not None:
            table.add_row(Text(name, style="bold"), Text(_cell(value)))
    _print(table)


def _print(table: Table) -> None:
    # A pipe has no width: what is cut into lines there can't be searched.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False).print(table)


def _cell(value: object) -> str:
    return printable(value if isinstance(value, str) else str(value))


# --- what there is to show ---


def show_state(state: WorkflowState, form: str) -> None:
    """An instance."""
    if form == "json":
        show_json(state.to_json())
        return
    failure = state.failure_details
    show_fields(
        [
            ("instance", state.instance_id),
            ("run", state.run_id),
            ("workflow", state.name),
            ("status", state.runtime_status.value),
            ("created", time_text(state.created_at)),
            ("updated", time_text(state.last_updated_at)),
            ("input", state.serialized_input),
            ("output", state.serialized_output),
            ("custom status", state.serialized_custom_status),
            ("stalled by", state.stall_reason),
            ("because", state.stall_detail),
            ("failure", None if failure is None else f"{failure.error_type}: {failure.message}"),
            ("stack", None if failure is None else failure.stack_trace),
        ]
    )


def show_states(states: Sequence[WorkflowState], form: str) -> None:
    """Instances, one a line."""
    if form == "json":
        show_json([state.to_json() for state in states])
        return
    show_table(
        ("instance", "workflow", "status", "created", "updated"),
        (
            (
                state.instance_id,
                state.name,
                state.runtime_status.value,
                time_text(state.created_at),
                time_text(state.last_updated_at),
            )
            for state in states
        ),
    )


def show_history(events: Sequence[WorkflowHistoryEvent], form: str) -> None:
    """Events, one a line."""
    if form == "json":
        show_json([event.to_json() for event in events])
        return
    rows = ((event.event_id, time_text(event.timestamp), event.event_type, what(event)) for event in events)
    show_table(("number", "time (UTC)", "event", "what"), rows)


def what(event: WorkflowHistoryEvent) -> str:
    """What an event says, in a line: its fields but for ids that only machines compare."""
    shown: list[str] = []
    for name, value in event.attributes.items():
        if value is None or name == "call_id" or value == [] or (name in _SHOWN_UNLESS_ZERO and value == 0):
            continue
        if name in ("name", "workflow") and isinstance(value, str):
            shown.insert(0, value)
        elif name == "failure" and isinstance(value, dict):
            shown.append(f"{value['type']}: {value['message']}")
        elif name.endswith("_at_ms") and isinstance(value, int):
            shown.append(f"{name.removesuffix('_ms')}={time_text(utc(value))}")
        else:
            shown.append(f"{name}={json.dumps(value, ensure_ascii=False)}")
    text = " ".join(shown)
    return _cut(text, TEXT_SHOWN_MAX)


def show_dead_letters(letters: Sequence[DeadLetterEntry], form: str) -> None:
    """Dead letters, one a line, cut so that one of them doesn't fill the screen."""
    if form == "json":
        show_json([dead_letter_to_json(letter, VALUE_BYTES_LISTED) for letter in letters])
        return
    show_table(
        ("place", "refused (UTC)", "key", "reason", "detail"),
        (
            (
                place_of(letter),
                time_text(utc(letter.refused_at_ms)),
                _cut(_text_of(letter.key), KEY_SHOWN_MAX),
                letter.reason,
                _cut(letter.detail, DETAIL_SHOWN_MAX),
            )
            for letter in letters
        ),
    )


def show_dead_letter(letter: DeadLetterEntry, form: str) -> None:
    """One dead letter with its bytes."""
    if form == "json":
        show_json(dead_letter_to_json(letter))
        return
    show_fields(
        [
            ("place", place_of(letter)),
            ("refused", time_text(utc(letter.refused_at_ms))),
            ("source", letter.source),
            ("reason", letter.reason),
            ("detail", letter.detail),
            ("key", _text_of(letter.key)),
            ("value", _utf8(letter.value)),
            ("value (hex)", letter.value.hex() if _utf8(letter.value) is None else None),
        ]
    )


def dead_letter_to_json(letter: DeadLetterEntry, value_bytes_max: int | None = None) -> dict[str, Any]:
    """A dead letter as values that JSON has: bytes as text where they are UTF-8, else in hexadecimal."""
    return {
        "place": place_of(letter),
        "refused_at": time_text(utc(letter.refused_at_ms)),
        "source": letter.source,
        "reason": letter.reason,
        "detail": letter.detail,
        **_bytes_to_json("key", letter.key, value_bytes_max),
        **_bytes_to_json("value", letter.value, value_bytes_max),
        "value_bytes": len(letter.value),
    }


def _bytes_to_json(name: str, data: bytes, bytes_max: int | None) -> dict[str, str | None]:
    """Always both fields, one of them null; only the first `bytes_max` bytes."""
    shown = data[:bytes_max]
    if _utf8(data) is None:
        return {name: None, f"{name}_hex": shown.hex()}
    # Only a character that the cut halves is ignored.
    return {name: shown.decode("utf-8", "ignore"), f"{name}_hex": None}


def place_of(letter: DeadLetterEntry) -> str:
    """What `deadletter show` finds a dead letter by."""
    return f"{letter.partition}/{letter.offset}"


def time_text(at: Any) -> str:
    """A UTC time as people and programs can read it."""
    return f"{at.isoformat(timespec='milliseconds')}Z"


def _text_of(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _cut(text: str, characters_max: int) -> str:
    text = printable(text)
    return text if len(text) <= characters_max else text[:characters_max] + CUT
