"""Records of history to what is shown of an instance: by the very `apply` that owners use, and nothing else.

Rules
* Records count by whole commits, up to their checkpoint. A commit that was torn out of its transaction is
  taken back by tombstones in the next one; `Commits` drops both at once.
* A tombstone over event 1 is a purge of the run. One over a later event takes back what never counted.
* Only what the newest run says is shown.
* What changes nothing of what is shown is passed over, and not even decoded: that is most of a run's history.
"""

from collections.abc import Mapping

from engine.client.state import WorkflowHistoryEvent, WorkflowState, history_event_of, text_of, utc
from engine.codec.avro import decode_event
from engine.codec.schemas import HEADER_BYTES, KINDS
from engine.codec.topics import CHECKPOINT_KEY
from engine.core.apply import apply
from engine.errors import FailureDetails
from engine.model import events as ev
from engine.model.failure import Failure, Payload
from engine.model.state import InstanceState
from engine.partition.ports import Record

_UNSHOWN_EVENTS = (
    ev.ActivityScheduled,
    ev.ActivityCompleted,
    ev.ActivityAttemptFailed,
    ev.ActivityRetried,
    ev.ActivityFailed,
    ev.TimerCreated,
    ev.TimerCancelled,
    ev.ChildScheduled,
    ev.ChildCompleted,
    ev.ChildAttemptFailed,
    ev.ChildRetried,
    ev.ChildFailed,
    ev.EventRaised,
    ev.PatchApplied,
    ev.InputDeferred,
)
_UNSHOWN = frozenset(
    header for header, kind in KINDS.items() if kind in {event.__name__ for event in _UNSHOWN_EVENTS}
)

_KEY_PARTS = 3


def is_unshown(value: bytes) -> bool:
    """Whether an event changes nothing of what is shown of its instance, but for the time of the last one."""
    return value[:HEADER_BYTES] in _UNSHOWN


def instance_key_of(key: bytes) -> bytes:
    """The instance id in an event's key. It is read from the right: ids may contain `|`."""
    parts = key.rsplit(b"|", 2)
    return parts[0] if len(parts) == _KEY_PARTS else b""


class Commits:
    """Gathers one partition's records into whole commits."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._has_tombstone = False
        # Behind the newest whole commit, 0 before the first.
        self.position = 0

    @property
    def is_open(self) -> bool:
        """Whether there are records of a commit whose checkpoint has not come."""
        return bool(self._records)

    def add(self, record: Record) -> list[Record]:
        """The events of a commit when `record` is its checkpoint, else []."""
        if record.key != CHECKPOINT_KEY:
            self._records.append(record)
            self._has_tombstone |= record.value is None
            return []
        self.position = record.offset + 1
        records, self._records = self._records, []
        if self._has_tombstone:
            self._has_tombstone = False
            newest = {record.key: record.offset for record in records}
            records = [record for record in records if newest[record.key] == record.offset]
        return records


def whole(commits: Mapping[int, Commits], positions: Mapping[int, int]) -> dict[int, int]:
    """`positions` of a tail, held back to the last whole commit where the next has begun.

    Under load a commit has always begun: to wait for a moment between two could take for ever. Where there
    was no whole one yet, nothing is said.
    """
    found = {n: commits[n].position if commits[n].is_open else at for n, at in positions.items()}
    return {n: at for n, at in found.items() if at or not commits[n].is_open}


class Fold:
    """What is known of one instance."""

    __slots__ = (
        "_failure",
        "_input",
        "_keeps_events",
        "_output",
        "_unshown",
        "events",
        "instance_id",
        "is_broken",
        "last_offset",
        "state",
    )

    def __init__(self, instance_id: str, *, keeps_events: bool = False) -> None:
        self.instance_id = instance_id
        self.state: InstanceState | None = None
        self.events: list[WorkflowHistoryEvent] = []
        # Whether records were missing: then what went before must be read.
        self.is_broken = False
        self.last_offset = -1
        self._keeps_events = keeps_events
        self._unshown: bytes | None = None
        self._input: Payload | None = None
        self._output: Payload | None = None
        self._failure: Failure | None = None

    def add(self, record: Record) -> None:
        """Takes one more record of the instance. Raises UndecodableError for an event of a newer engine."""
        self.last_offset = record.offset
        _, run, number = record.key.rsplit(b"|", 2)
        run_id, sequence, value, state = run.decode(), int(number), record.value, self.state
        if value is None:
            self._remove(run_id, sequence)
            return
        if sequence == 1:
            state = self.state = None
            self.events = []
            self._output = self._failure = None
        elif state is None or state.run_id != run_id or self._misses(sequence, state):
            self.is_broken = True
            return
        elif sequence <= state.sequence:
            return
        elif not self._keeps_events and is_unshown(value):
            self._unshown = value
            return
        _, recorded = decode_event(value)
        if state is not None and not self._keeps_events:
            # What lies between was passed over.
            state.sequence = sequence - 1
        self.state = apply(state, self.instance_id, recorded)
        self._unshown = None
        self._note_payloads(recorded.event)
        if self._keeps_events:
            self.events.append(history_event_of(recorded))

    def shown(self, *, fetch_payloads: bool = True) -> WorkflowState | None:
        """The instance as it stands, None where there is none (any more)."""
        state = self.state
        if state is None:
            return None
        if self._unshown is not None:
            # Of the last event its time is shown, whatever it is.
            state.last_event_at_ms = decode_event(self._unshown)[1].recorded_at_ms
            self._unshown = None
        failure = self._failure
        return WorkflowState(
            instance_id=self.instance_id,
            run_id=state.run_id,
            name=state.workflow,
            runtime_status=state.status,
            created_at=utc(state.created_at_ms),
            last_updated_at=utc(state.last_event_at_ms),
            serialized_input=text_of(self._input) if fetch_payloads else None,
            serialized_output=text_of(self._output) if fetch_payloads else None,
            serialized_custom_status=state.custom_status if fetch_payloads else None,
            failure_details=None
            if failure is None
            else FailureDetails(failure.message, failure.type, failure.stack or None),
            stall_reason=state.stall,
            stall_detail=state.stall_detail,
        )

    def _misses(self, sequence: int, state: InstanceState) -> bool:
        return self._keeps_events and sequence > state.sequence + 1

    def _remove(self, run_id: str, sequence: int) -> None:
        if sequence != 1:
            return
        if self.state is not None and self.state.run_id == run_id:
            self.state = None
            self.events = []
            self._input = self._output = self._failure = None

    def _note_payloads(self, event: ev.Event) -> None:
        if isinstance(event, ev.InstanceStarted):
            self._input = event.input
        elif isinstance(event, (ev.InstanceCompleted, ev.InstanceTerminated)):
            self._output = event.output
        elif isinstance(event, ev.InstanceFailed):
            self._failure = event.failure
