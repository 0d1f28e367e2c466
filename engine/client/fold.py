"""Records of history to what is shown of an instance: by the very `apply` that owners use, and nothing else.

Rules
* Records count by whole commits, up to their checkpoint. A commit that was torn out of its transaction is
  taken back by tombstones in the next one; `Commits` drops both at once.
* A tombstone over event 1 is a purge of the run. One over a later event takes back what never counted.
* Only what the newest run says is shown.
"""

from engine.client.state import WorkflowHistoryEvent, WorkflowState, history_event_of, text_of, utc
from engine.codec.avro import decode_event
from engine.codec.topics import CHECKPOINT_KEY, parse_history_key
from engine.core.apply import apply
from engine.errors import FailureDetails
from engine.model import events as ev
from engine.model.failure import Failure, Payload
from engine.model.state import InstanceState
from engine.partition.ports import Record


def instance_key_of(key: bytes) -> bytes:
    """The instance id in an event's key. It is read from the right: ids may contain `|`."""
    return key[: max(key.rfind(b"|", 0, max(key.rfind(b"|"), 0)), 0)]


class Commits:
    """Gathers one partition's records into whole commits."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._has_tombstone = False

    def add(self, record: Record) -> list[Record]:
        """The events of a commit when `record` is its checkpoint, else []."""
        if record.key != CHECKPOINT_KEY:
            self._records.append(record)
            self._has_tombstone |= record.value is None
            return []
        records, self._records = self._records, []
        if self._has_tombstone:
            self._has_tombstone = False
            newest = {record.key: record.offset for record in records}
            records = [record for record in records if newest[record.key] == record.offset]
        return records


class Fold:
    """What is known of one instance."""

    def __init__(self, instance_id: str, *, keeps_events: bool = False) -> None:
        self.instance_id = instance_id
        self.state: InstanceState | None = None
        self.events: list[WorkflowHistoryEvent] = []
        # Whether records were missing: then what went before must be read.
        self.is_broken = False
        self.last_offset = -1
        self._keeps_events = keeps_events
        self._input: Payload | None = None
        self._output: Payload | None = None
        self._failure: Failure | None = None

    def add(self, record: Record) -> None:
        """Takes one more record of the instance. Raises UndecodableError for an event of a newer engine."""
        self.last_offset = record.offset
        parsed = parse_history_key(record.key)
        assert parsed is not None, f"expected an event's key, but got {record.key!r}"
        _, run_id, sequence = parsed
        if record.value is None:
            self._remove(run_id, sequence)
            return
        _, recorded = decode_event(record.value)
        state = self.state
        if sequence == 1:
            state = self.state = None
            self.events = []
            self._output = self._failure = None
        elif state is None or state.run_id != run_id or sequence > state.sequence + 1:
            self.is_broken = True
            return
        elif sequence <= state.sequence:
            return
        self.state = apply(state, self.instance_id, recorded)
        self._note_payloads(recorded.event)
        if self._keeps_events:
            self.events.append(history_event_of(recorded))

    def shown(self, *, fetch_payloads: bool = True) -> WorkflowState | None:
        """The instance as it stands, None where there is none (any more)."""
        state = self.state
        if state is None:
            return None
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
        )

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
        elif isinstance(event, ev.InstanceCompleted | ev.InstanceTerminated):
            self._output = event.output
        elif isinstance(event, ev.InstanceFailed):
            self._failure = event.failure
