"""What a simulation left for its checkers: the journals and the committed view, each decoded once."""

from collections import Counter
from functools import cached_property

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY, FROM_HEADER, IngressSource, parse_history_key, parse_source
from engine.model import events as ev
from engine.testing.memory_broker import Violation
from engine.testing.world import World

RunKey = tuple[str, str]
Runs = dict[RunKey, list[ev.Recorded]]
Place = tuple[bytes, int, int]


class Evidence:
    """Looked at when all is over."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broker = world.broker
        self.partitions = range(world.broker.identity.partitions)

    @cached_property
    def values(self) -> list[dict[bytes, bytes]]:
        """By partition, every key that was ever committed, with its one value."""
        return [self._values_of(partition) for partition in self.partitions]

    @cached_property
    def views(self) -> list[dict[bytes, bytes]]:
        """By partition, what a reader of committed records sees today."""
        return [self.broker.view(partition) for partition in self.partitions]

    @cached_property
    def runs(self) -> Runs:
        """Every run that ever was, purged ones too, its events in their order."""
        found: dict[RunKey, dict[int, ev.Recorded]] = {}
        for values in self.values:
            for key, value in values.items():
                parsed = parse_history_key(key)
                if parsed is not None:
                    found.setdefault(parsed[:2], {})[parsed[2]] = avro.decode_event(value)[1]
        return {run: [events[each] for each in sorted(events)] for run, events in found.items()}

    @cached_property
    def letters(self) -> Counter[Place]:
        """Dead letters by where their records came from."""
        return Counter(_letter_source(record.headers) for record in self.broker.deadletters.records)

    @cached_property
    def effects(self) -> Counter[tuple[int, str]]:
        """How many events an inbox record caused, by (offset, instance)."""
        return Counter((r.inbox_offset, run[0]) for run, events in self.runs.items() for r in events)

    @cached_property
    def felt_at(self) -> dict[tuple[int, str], list[tuple[int, int]]]:
        """Where in history, (partition, offset), an inbox record's effects are; what was torn left out."""
        found: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for partition, journal in enumerate(self.broker.history_journal):
            for record in journal:
                place = (partition, record.offset)
                is_event = record.value is not None and parse_history_key(record.key) is not None
                if is_event and place not in self.broker.torn_places:
                    instance_id, recorded = avro.decode_event(record.value or b"")
                    found.setdefault((recorded.inbox_offset, instance_id), []).append(place)
        return found

    @cached_property
    def unstalled(self) -> set[tuple[int, str]]:
        """Where stalls ended: (the offset it was done at, instance). What was deferred follows there."""
        return {
            (recorded.inbox_offset, run[0])
            for run, events in self.runs.items()
            for recorded in events
            if isinstance(recorded.event, ev.InstanceUnstalled)
        }

    @cached_property
    def carried(self) -> dict[tuple[int, int], set[tuple[int, str]]]:
        """Where in the inbox a record of `commands` has landed, each time: (offset, instance)."""
        found: dict[tuple[int, int], set[tuple[int, str]]] = {}
        for journal in self.broker.inbox_journal:
            for record in journal:
                source = next((parse_source(v) for n, v in record.headers if n == FROM_HEADER), None)
                if isinstance(source, IngressSource):
                    landed = (record.offset, record.key.decode("utf-8", "replace"))
                    found.setdefault((source.partition, source.offset), set()).add(landed)
        return found

    @cached_property
    def has_stalls(self) -> list[bool]:
        """By partition, whether a run there ever stalled: a decision that the inbox alone does not give."""
        return [
            any(avro.kind_of(value) == ev.InstanceStalled.__name__ for value in values.values())
            for values in self.values
        ]

    @cached_property
    def has_quarantined_records(self) -> bool:
        """Whether a record without a run to stall was given up: the same, and no event tells of it."""
        return any(dict(r.headers)["reason"] == b"WorkerCrashed" for r in self.broker.deadletters.records)

    def _values_of(self, partition: int) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        # Other code derives other things; what was torn never counted, hence need not come again.
        torn = self.broker.torn_places if len(self.world.versions) > 1 else ()
        for record in self.broker.history_journal[partition]:
            if record.key == CHECKPOINT_KEY or record.value is None or (partition, record.offset) in torn:
                continue
            first = found.setdefault(record.key, record.value)
            if first != record.value:
                raise Violation(f"I6: {record.key!r} was {told(first)} and became {told(record.value)}")
        return found


def told(value: bytes) -> str:
    """A value of history, readably."""
    kind = avro.kind_of(value) or "?"
    return str(avro.decode_event(value)[1]) if not kind.endswith("Child") else kind


def runs_of_view(view: dict[bytes, bytes]) -> dict[RunKey, dict[int, bytes]]:
    """The runs in a committed view, event by event."""
    runs: dict[RunKey, dict[int, bytes]] = {}
    for key, value in view.items():
        parsed = parse_history_key(key)
        if parsed is not None:
            runs.setdefault(parsed[:2], {})[parsed[2]] = value
    return runs


def _letter_source(headers: tuple[tuple[str, bytes], ...]) -> Place:
    found = dict(headers)
    return found["source.topic"], int(found["source.partition"]), int(found["source.offset"])
