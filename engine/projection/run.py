"""One instance folded from its records, for those who can't wait for the file. It reads nothing."""

from engine.codec.avro import UndecodableError, decode_event
from engine.codec.topics import parse_history_key
from engine.core.apply import apply
from engine.model import events as ev
from engine.model.state import InstanceState
from engine.partition.ports import Record
from engine.projection.views import Instance, InstanceRow, instance_of


class Run:
    """The newest run, as `core.apply` has it. Records must come in the order of history."""

    def __init__(self, instance_id: str, partition: int, *, keeps_events: bool = False) -> None:
        self.instance_id = instance_id
        self.events: list[ev.Recorded] = []
        self._keeps_events = keeps_events
        self._partition = partition
        # Whatever of it lies before this offset of history is known.
        self.position = 0
        self._state: InstanceState | None = None
        self._first: ev.Event | None = None
        self._last: ev.Event | None = None

    def begin(self, values: list[bytes], position: int) -> None:
        """Takes events 1 to n of a run as they are on record, all that there is before `position`."""
        self.position = position
        for value in values:
            try:
                recorded = decode_event(value)[1]
            except UndecodableError:
                return
            self._add(recorded)

    def add(self, record: Record) -> ev.Recorded | None:
        """The event that a record adds. None where it adds none, or one that only a newer engine can read."""
        if record.offset < self.position:
            return None
        self.position = record.offset + 1
        parsed = parse_history_key(record.key)
        assert parsed is not None, f"expected an event's key, but got {record.key!r}"
        _, run_id, sequence = parsed
        state = self._state
        if record.value is None:
            if sequence == 1 and state is not None and state.run_id == run_id:
                self._forget()
            return None
        if sequence == 1:
            self._forget()
        elif state is None or state.run_id != run_id or sequence != state.sequence + 1:
            return None
        try:
            recorded = decode_event(record.value)[1]
        except UndecodableError:
            return None
        self._add(recorded)
        return recorded

    def _forget(self) -> None:
        self._state = self._first = self._last = None
        self.events = []

    def _add(self, recorded: ev.Recorded) -> None:
        if recorded.sequence == 1:
            self._first = recorded.event
        self._state = apply(self._state, self.instance_id, recorded)
        self._last = recorded.event
        if self._keeps_events:
            self.events.append(recorded)

    def shown(self) -> Instance | None:
        """The instance as it stands, None where there is none (any more)."""
        state, first, last = self._state, self._first, self._last
        if state is None or first is None or last is None:
            return None
        row = InstanceRow(
            instance_id=self.instance_id,
            run_id=state.run_id,
            workflow=state.workflow,
            status=state.status,
            created_at_ms=state.created_at_ms,
            updated_at_ms=state.last_event_at_ms,
            events=state.sequence,
            partition=self._partition,
            parent_instance_id=None if state.parent is None else state.parent.instance_id,
            custom_status=state.custom_status,
            stall_reason=state.stall,
            is_unreadable=False,
        )
        return instance_of(row, first, last)
