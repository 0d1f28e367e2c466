"""Whole commits of history to rows, folded by the very `core.apply` that owners use. It reads no topic.

Rules
* Of an instance the newest run is kept: event 1 of another run, and a tombstone over event 1, drop what was.
* A state is needed only to take the next event. It is kept for runs that go on, and is else folded again
  from the run's own rows: a cache, like an owner's.
* What a newer engine wrote can't be folded here. Such a run keeps its raw events, is marked, and stays as it
  was last understood; its neighbours go on.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from engine.codec.avro import UndecodableError, decode_event
from engine.codec.topics import parse_history_key
from engine.core.apply import apply
from engine.model.events import ChildScheduled
from engine.model.state import InstanceState
from engine.partition.ports import Record
from engine.projection.database import Database

ENTRIES_MAX = 50_000

Row = tuple[object, ...]

_FIND = (
    "SELECT number, run_id, workflow, status, sequence, is_unreadable FROM instances WHERE instance_id = ?"
)
_UPSERT = (
    "INSERT INTO instances VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (number) DO UPDATE SET"
    " run_id=excluded.run_id, workflow=excluded.workflow, status=excluded.status,"
    " created_at_ms=excluded.created_at_ms, updated_at_ms=excluded.updated_at_ms,"
    " sequence=excluded.sequence, parent_instance_id=excluded.parent_instance_id,"
    " custom_status=excluded.custom_status, stall=excluded.stall, is_unreadable=excluded.is_unreadable"
)
_COUNT = (
    "INSERT INTO aggregates VALUES (?,?,?) ON CONFLICT (workflow, status)"
    " DO UPDATE SET instances = instances + excluded.instances"
)
_POSITION = "INSERT INTO positions VALUES (?,?) ON CONFLICT (partition) DO UPDATE SET offset=excluded.offset"


class _Entry(msgspec.Struct):
    """What is known of one instance, and what of it is not yet written."""

    number: int
    instance_id: str
    partition: int
    run_id: str = ""
    sequence: int = 0
    is_unreadable: bool = False
    is_written: bool = False
    state: InstanceState | None = None
    # As the aggregates have it: its workflow and status when it was last written, None for what isn't.
    counted: tuple[str, str] | None = None
    must_clear: bool = False
    events: list[Row] = []
    children: list[Row] = []

    def drop_run(self) -> None:
        """Forgets the run, with its rows."""
        self.run_id, self.sequence, self.state, self.is_unreadable = "", 0, None, False
        self.must_clear = self.is_written
        self.events, self.children = [], []


class Folder:
    """Takes commits, and writes what they come to in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._dirty: dict[int, _Entry] = {}
        self._positions: dict[int, int] = {}
        ((last,),) = database.rows("SELECT coalesce(max(number), 0) FROM instances")
        self._next_number: int = last + 1
        self.events = 0
        # Events whose beginning is missing: of a run that is being purged. They are not shown.
        self.orphans = 0

    def take(self, records: Sequence[Record], partition: int, position: int) -> None:
        """The events of a whole commit; `position` is the offset behind its checkpoint."""
        for record in records:
            if not record.key.startswith(b"~"):
                self._take(record)
        self._positions[partition] = position

    def _take(self, record: Record) -> None:
        parsed = parse_history_key(record.key)
        assert parsed is not None, f"expected an event's key, but got {record.key!r}"
        instance_id, run_id, sequence = parsed
        entry = self._entry(instance_id, record.partition)
        if record.value is None:
            if sequence == 1 and entry.run_id == run_id:
                entry.drop_run()
                self._dirty[entry.number] = entry
            return
        if sequence == 1 and entry.run_id != run_id:
            entry.drop_run()
            entry.run_id = run_id
        elif entry.run_id != run_id or sequence > entry.sequence + 1:
            self.orphans += 1
            return
        elif sequence <= entry.sequence:
            return
        self._apply(entry, record.value, sequence)
        entry.sequence = sequence
        entry.events.append((entry.number, sequence, record.value))
        self._dirty[entry.number] = entry
        self.events += 1

    def _apply(self, entry: _Entry, value: bytes, sequence: int) -> None:
        state = self._state(entry) if sequence > 1 else None
        if entry.is_unreadable:
            return
        try:
            _, recorded = decode_event(value)
        except UndecodableError:
            entry.is_unreadable = True
            return
        entry.state = apply(state, entry.instance_id, recorded)
        if type(recorded.event) is ChildScheduled:
            event = recorded.event
            entry.children.append((entry.number, sequence, event.instance_id, event.workflow))

    def _state(self, entry: _Entry) -> InstanceState | None:
        """The run's state before its next event; None where not even its first can be read."""
        if entry.state is None:
            for value in self._values(entry):
                try:
                    _, recorded = decode_event(value)
                except UndecodableError:
                    break
                entry.state = apply(entry.state, entry.instance_id, recorded)
        return entry.state

    def _values(self, entry: _Entry) -> list[bytes]:
        statement = "SELECT value FROM events WHERE instance = ? ORDER BY sequence"
        rows = [] if entry.must_clear else self._database.rows(statement, (entry.number,))
        return [value for (value,) in rows] + [value for _, _, value in entry.events]

    def _entry(self, instance_id: str, partition: int) -> _Entry:
        entry = self._entries.get(instance_id)
        if entry is None:
            entry = self._entries[instance_id] = self._find(instance_id, partition)
        else:
            self._entries.move_to_end(instance_id)
        return entry

    def _find(self, instance_id: str, partition: int) -> _Entry:
        found = self._database.rows(_FIND, (instance_id,))
        if not found:
            self._next_number += 1
            return _Entry(self._next_number - 1, instance_id, partition)
        number, run_id, workflow, status, sequence, is_unreadable = found[0]
        return _Entry(
            number,
            instance_id,
            partition,
            run_id,
            sequence,
            bool(is_unreadable),
            is_written=True,
            counted=(workflow, status),
        )

    # --- writing ---

    def write(self, positions: Mapping[int, int]) -> None:
        """Makes the file true up to what was taken, or up to `positions` behind it. Raises sqlite3.Error."""
        dirty = list(self._dirty.values())
        with self._database.transaction():
            self._write_instances(dirty)
            self._database.write_all(_POSITION, list((self._positions | dict(positions)).items()))
        for entry in dirty:
            state = entry.state
            entry.must_clear, entry.events, entry.children = False, [], []
            entry.is_written = state is not None
            entry.counted = None if state is None else (state.workflow, state.status.value)
            # Nothing follows an outcome but another run, or the end of this one.
            if state is not None and state.is_finished:
                entry.state = None
        self._dirty, self._positions = {}, {}
        while len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)

    def _write_instances(self, dirty: list[_Entry]) -> None:
        write = self._database.write_all
        cleared: list[Row] = [(entry.number,) for entry in dirty if entry.must_clear]
        write("DELETE FROM events WHERE instance = ?", cleared)
        write("DELETE FROM children WHERE instance = ?", cleared)
        write("DELETE FROM instances WHERE number = ?", [(e.number,) for e in dirty if _is_gone(e)])
        write(_UPSERT, [_row_of(entry, entry.state) for entry in dirty if entry.state is not None])
        # Of a run whose beginning can't be read there is nothing to show.
        shown = [entry for entry in dirty if entry.state is not None]
        write("INSERT INTO events VALUES (?,?,?)", [row for entry in shown for row in entry.events])
        write("INSERT INTO children VALUES (?,?,?,?)", [row for entry in shown for row in entry.children])
        changes = _changes(dirty)
        write(_COUNT, changes)
        if changes:
            write("DELETE FROM aggregates WHERE instances = ?", [(0,)])


def _is_gone(entry: _Entry) -> bool:
    return entry.is_written and entry.state is None


def _row_of(entry: _Entry, state: InstanceState) -> Row:
    return (
        entry.number,
        entry.instance_id,
        entry.partition,
        state.run_id,
        state.workflow,
        state.status.value,
        state.created_at_ms,
        state.last_event_at_ms,
        entry.sequence,
        None if state.parent is None else state.parent.instance_id,
        state.custom_status,
        state.stall,
        int(entry.is_unreadable),
    )


def _changes(dirty: list[_Entry]) -> list[Row]:
    """What the instances' changes add to the aggregates, or take from them."""
    changes: Counter[tuple[str, str]] = Counter()
    for entry in dirty:
        if entry.counted is not None:
            changes[entry.counted] -= 1
        if entry.state is not None:
            changes[entry.state.workflow, entry.state.status.value] += 1
    return [(*key, change) for key, change in changes.items() if change]
