"""How answers look: tables for people, JSON and YAML for programs. Nothing shown can steer a terminal."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import yaml
from msgspec.structs import asdict
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from engine.client import WorkflowHistoryEvent, WorkflowState
from engine.client.partitions import PartitionStatus
from engine.client.state import utc
from engine.gateway.shapes import DeadLetter

PIPE_WIDTH = 500
TEXT_SHOWN_MAX = 400
KEY_SHOWN_MAX = 80
DETAIL_SHOWN_MAX = 200
CUT = "…"
_SHOWN_UNLESS_ZERO = frozenset({"depth", "saved_events"})
_NOT_LISTED = frozenset({"serialized_input", "serialized_output", "failure_details"})


def printable(text: str) -> str:
    """`text` with every control character escaped: ids and payloads come from anybody."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def show(form: str, value: Any, for_people: Callable[[], None]) -> None:
    """Prints a value of terms of JSON, or what `for_people` prints instead."""
    if form == "json":
        click.echo(json_text(value, indent=2))
    elif form == "yaml":
        click.echo(yaml_text(value), nl=False)
    else:
        for_people()


def show_one_of_many(form: str, value: Any, line: str) -> None:
    """Prints one of what comes one by one: a line of JSON, a document of YAML, or a line for people."""
    if form == "json":
        click.echo(json_text(value))
    elif form == "yaml":
        click.echo(f"---\n{yaml_text(value)}", nl=False)
    else:
        click.echo(line)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON; what a terminal would act on is escaped, as JSON allows."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "\n".join(_json_line(line) for line in text.split("\n"))


def yaml_text(value: Any) -> str:
    """YAML; where a terminal would act on any of it, all beyond ASCII is escaped."""
    text = _dumped(value, is_readable=True)
    if all(each.isprintable() or each == "\n" for each in text):
        return text
    return _dumped(value, is_readable=False)


def _dumped(value: Any, *, is_readable: bool) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=is_readable, width=PIPE_WIDTH)
    return text


def _json_line(line: str) -> str:
    # In JSON text such characters stand in strings only, and beyond 0xFFFF they are pairs there.
    return "".join(each if each.isprintable() else json.dumps(each, ensure_ascii=True)[1:-1] for each in line)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table as wide as it needs to be in a pipe, and as the terminal is on a terminal."""
    _print(table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def fields_of(fields: Sequence[tuple[str, object]]) -> Table:
    """Names and values, those without a value left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in fields:
        if value is not None:
            table.add_row(Text(name, style="bold"), Text(_cell(value)))
    return table


def console() -> Console:
    """Where tables go."""
    # A pipe has no width: what is cut into lines there can't be searched.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, emoji=False, markup=False)


def _print(shown: RenderableType) -> None:
    console().print(shown)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return printable(value if isinstance(value, str) else str(value))


# --- what there is to show ---


def show_state(state: WorkflowState, form: str) -> None:
    """An instance."""
    show(form, state.to_json(), lambda: _print(state_fields(state)))


def state_fields(state: WorkflowState) -> Table:
    """An instance, for people."""
    failure = state.failure_details
    return fields_of(
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


def listed(state: WorkflowState) -> dict[str, Any]:
    """An instance as a row: what no list tells is left out, and not said to be null."""
    return {name: value for name, value in state.to_json().items() if name not in _NOT_LISTED}


def show_states(states: Sequence[WorkflowState], form: str) -> None:
    """Instances, one a line."""
    show(form, [listed(state) for state in states], lambda: _print(states_table(states)))


def states_table(states: Iterable[WorkflowState]) -> Table:
    """Instances, for people."""
    return table_of(("instance", "workflow", "status", "created", "updated"), map(state_row, states))


def state_row(state: WorkflowState) -> tuple[str, ...]:
    """An instance in a line."""
    return (
        state.instance_id,
        state.name,
        state.runtime_status.value,
        time_text(state.created_at),
        time_text(state.last_updated_at),
    )


def show_history(events: Sequence[WorkflowHistoryEvent], form: str) -> None:
    """Events, one a line."""
    show(form, [event.to_json() for event in events], lambda: _print(events_table(events)))


def events_table(events: Iterable[WorkflowHistoryEvent]) -> Table:
    """Events, for people."""
    return table_of(("number", "time (UTC)", "event", "what"), map(event_row, events))


def event_row(event: WorkflowHistoryEvent) -> tuple[object, ...]:
    """An event in a line."""
    return event.event_id, time_text(event.timestamp), event.event_type, what(event)


def line_of(row: Iterable[object]) -> str:
    """A row of a table that is never over."""
    return "  ".join(_cell(value) for value in row)


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


def show_dead_letters(letters: Sequence[DeadLetter], form: str) -> None:
    """Dead letters, one a line, cut so that one of them doesn't fill the screen."""
    rows = (
        (
            letter.place,
            letter.refused_at,
            _cut(_text_of(letter.key, letter.key_hex), KEY_SHOWN_MAX),
            letter.reason,
            "yes" if letter.is_replayed else "",
            _cut(letter.detail, DETAIL_SHOWN_MAX),
        )
        for letter in letters
    )
    columns = ("place", "refused (UTC)", "key", "reason", "replayed", "detail")
    show(form, [asdict(letter) for letter in letters], lambda: show_table(columns, rows))


def show_dead_letter(letter: DeadLetter, form: str) -> None:
    """One dead letter with its bytes."""
    fields = [
        ("place", letter.place),
        ("refused", letter.refused_at),
        ("source", letter.source),
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("replayed", "yes" if letter.is_replayed else "no"),
        ("key", letter.key),
        ("key (hex)", letter.key_hex),
        ("value", letter.value),
        ("value (hex)", letter.value_hex),
        ("command", None if letter.command is None else json.dumps(letter.command, ensure_ascii=False)),
    ]
    show(form, asdict(letter), lambda: _print(fields_of(fields)))


def show_partitions(partitions: Sequence[PartitionStatus], form: str) -> None:
    """Partitions, one a line."""
    columns = ("partition", "owner", "epoch", "lag", "live instances", "last commit (UTC)", "build")
    rows = (
        (
            each.partition,
            each.owner,
            each.epoch,
            each.lag_records,
            each.live_instances,
            each.committed_at,
            each.build,
        )
        for each in partitions
    )
    show(form, [asdict(each) for each in partitions], lambda: show_table(columns, rows))


def time_text(at: Any) -> str:
    """A UTC time as people and programs can read it."""
    return f"{at.isoformat(timespec='milliseconds')}Z"


def _text_of(text: str | None, in_hexadecimal: str | None) -> str:
    return bytes.fromhex(in_hexadecimal or "").decode("utf-8", "backslashreplace") if text is None else text


def _cut(text: str, characters_max: int) -> str:
    text = printable(text)
    return text if len(text) <= characters_max else text[:characters_max] + CUT
