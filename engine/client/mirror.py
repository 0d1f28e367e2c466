"""What one client holds in memory of one instance: a fold that the tail keeps up to date while somebody may ask."""

import threading
from collections.abc import Callable

from engine.client.connection import Connection
from engine.client.fold import Fold
from engine.client.reading import fold_instance
from engine.client.state import WorkflowState
from engine.codec import avro
from engine.codec.schemas import HEADER_BYTES
from engine.errors import EngineError
from engine.partition.ports import Record

PENDING_RECORDS_MAX = 256
_OUTCOMES = frozenset(
    header for header in avro.terminal_fingerprints if avro.kind_of(header) != "InstanceContinuedAsNew"
)


class Mirror:
    """The tail's thread adds; those who wait fold. `floor` is a place before which no outcome is meant."""

    def __init__(self, instance_id: str, floor: int, start: int) -> None:
        self.instance_id = instance_id
        self.floor = floor
        self.failure: EngineError | None = None
        self.bytes = 0
        self.waiters: dict[object, Callable[[], None]] = {}
        self._start = start
        self._lock = threading.Lock()
        self._folding = threading.Lock()
        self._pending: list[Record] = []
        self._fold = Fold(instance_id)
        # Whether all that is on record before what the tail brings is in the fold.
        self._is_whole = False

    # --- the tail's side ---

    def add(self, record: Record) -> bool:
        """Takes a record, undecoded. Whether those who wait should look at once."""
        value = record.value
        with self._lock:
            self._pending.append(record)
            self.bytes += len(value or b"")
            is_full = len(self._pending) >= PENDING_RECORDS_MAX
        return is_full or self.has_curious or (value is not None and value[:HEADER_BYTES] in _OUTCOMES)

    @property
    def is_overfull(self) -> bool:
        """Whether nobody takes what the tail brings."""
        return len(self._pending) >= PENDING_RECORDS_MAX and not self.waiters

    has_curious = False

    def fail(self, failure: EngineError) -> None:
        """The tail is dead."""
        self.failure = failure
        self.wake()

    def wake(self) -> None:
        """Lets those who wait look."""
        for waiter in list(self.waiters.values()):
            waiter()

    # --- the waiters' side ---

    def shown(self, *, fetch_payloads: bool) -> WorkflowState | None:
        """The instance as far as the tail has it; None before `floor`, or where something must be read first."""
        with self._folding:
            if self.failure is not None:
                raise self.failure
            with self._lock:
                records, self._pending, self.bytes = self._pending, [], 0
            for record in records:
                if record.offset > self._fold.last_offset:
                    self._fold.add(record)
            fold = self._fold
            if self.must_read:
                return None
            state = fold.shown(fetch_payloads=fetch_payloads)
            # A run that had ended before the start was asked for is not the outcome of that start.
            is_earlier = state is not None and state.is_finished and fold.last_offset < self.floor
            return None if is_earlier else state

    @property
    def must_read(self) -> bool:
        """Whether records were missing, so that what went before must be read."""
        return self._fold.is_broken and not self._is_whole

    @property
    def is_unknown(self) -> bool:
        """Whether nothing was ever seen of the instance, and nobody has looked for it further back."""
        return self._fold.state is None and not self._is_whole

    def read(self, connection: Connection) -> None:
        """Reads all that is on record. What the tail brings meanwhile follows."""
        fold = fold_instance(connection, Fold(self.instance_id))
        with self._folding:
            if fold.last_offset >= self._fold.last_offset:
                self._fold = fold
            self._is_whole = True
