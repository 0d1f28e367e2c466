"""An independent reader of committed history: what clients may be shown. Knows nothing else of the owners."""

from typing import Any

import msgspec

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY, parse_history_key
from engine.model import events as ev
from engine.model.checkpoint import Checkpoint
from engine.partition.ports import Record
from engine.testing.memory_broker import MemoryBroker

_ENDS: dict[type, str] = {
    ev.InstanceCompleted: "COMPLETED",
    ev.InstanceFailed: "FAILED",
    ev.InstanceTerminated: "TERMINATED",
}


class View:
    """All partitions, whole commits at a time."""

    def __init__(self, broker: MemoryBroker) -> None:
        # Set where the log has lost what this reader has seen: then it is no witness any more.
        self.is_stale = False
        # Set where runs may go before anybody has looked: then how they ended is remembered.
        self.has_retention = False
        self._gone: dict[str, ev.Recorded] = {}
        self._broker = broker
        count = broker.identity.partitions
        self.runs: dict[str, dict[str, dict[int, ev.Recorded]]] = {}
        self.checkpoints: list[Checkpoint | None] = [None] * count
        self._positions = [0] * count
        self._waiting: list[list[Record]] = [[] for _ in range(count)]

    def catch_up(self) -> None:
        """Reads what was committed since."""
        for partition, journal in enumerate(self._broker.history_journal):
            position = self._positions[partition]
            if position == len(journal):
                continue
            for record in journal[position:]:
                self._waiting[partition].append(record)
                if record.key == CHECKPOINT_KEY and record.value is not None:
                    self.checkpoints[partition] = avro.decode_checkpoint(record.value)
                    self._take(self._waiting[partition])
                    self._waiting[partition] = []
            self._positions[partition] = len(journal)

    def end_of(self, instance_id: str) -> tuple[str, Any] | None:
        """(status, output or type of failure) of an instance that is over; None while it is not."""
        lasts = [events[max(events)] for events in self.runs.get(instance_id, {}).values()]
        if not lasts and instance_id in self._gone:
            lasts = [self._gone[instance_id]]
        for last in lasts:
            end = _end(last.event)
            if end is not None:
                return end
        return None

    def ends(self) -> set[str]:
        """The ways in which runs ended that are still there."""
        lasts = (events[max(events)].event for runs in self.runs.values() for events in runs.values())
        return {_ENDS[type(last)] for last in lasts if type(last) in _ENDS}

    def stalled(self) -> list[tuple[str, str]]:
        """(instance, run) of all that stand still until somebody mends something."""
        found = []
        for instance_id, runs in self.runs.items():
            for run_id, events in runs.items():
                kinds = [type(recorded.event) for recorded in events.values()]
                is_stalled = kinds.count(ev.InstanceStalled) > kinds.count(ev.InstanceUnstalled)
                if is_stalled and kinds[-1] not in ev.TERMINAL_EVENTS:
                    found.append((instance_id, run_id))
        return found

    def is_known(self, instance_id: str) -> bool:
        """Whether there is anything of it."""
        return bool(self.runs.get(instance_id))

    def checkpoint_of(self, partition: int) -> Checkpoint | None:
        """The newest one."""
        self.catch_up()
        return self.checkpoints[partition]

    def is_taken(self, partition: int, source: Record) -> bool:
        """Whether the partition has committed what the record of `commands` caused."""
        checkpoint = self.checkpoints[partition]
        if checkpoint is None:
            return False
        return any(m.partition == source.partition and m.offset >= source.offset for m in checkpoint.sources)

    def _take(self, records: list[Record]) -> None:
        for record in records:
            parsed = parse_history_key(record.key)
            if parsed is None:
                continue
            instance_id, run_id, sequence = parsed
            runs = self.runs.setdefault(instance_id, {})
            if record.value is None:
                events = runs.get(run_id, {})
                if sequence == 1 and events and self.has_retention:
                    self._remember(instance_id, events[max(events)])
                events.pop(sequence, None)
                # A run that loses its beginning is gone, though its other tombstones may come later.
                if not events or sequence == 1:
                    runs.pop(run_id, None)
            else:
                runs.setdefault(run_id, {})[sequence] = avro.decode_event(record.value)[1]

    def _remember(self, instance_id: str, last: ev.Recorded) -> None:
        if type(last.event) in _ENDS:
            self._gone[instance_id] = last


def _end(last: ev.Event) -> tuple[str, Any] | None:
    if isinstance(last, ev.InstanceFailed):
        return "FAILED", last.failure.type
    if isinstance(last, ev.InstanceCompleted | ev.InstanceTerminated):
        return _ENDS[type(last)], None if last.output is None else msgspec.json.decode(last.output.data)
    return None
