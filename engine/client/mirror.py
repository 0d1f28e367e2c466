"""What a client holds in memory of one instance: a fold that the tail keeps up to date for those who wait."""

import threading
from collections import deque
from collections.abc import Callable

from engine.client.fold import Fold, is_unshown
from engine.client.state import WorkflowState
from engine.codec import avro
from engine.codec.schemas import HEADER_BYTES
from engine.errors import PublicError
from engine.partition.ports import Record

PENDING_RECORDS_MAX = 256
_OUTCOMES = frozenset(
    header for header in avro.terminal_fingerprints if avro.kind_of(header) != "InstanceContinuedAsNew"
)


class Mirror:
    """The tail's thread adds records, undecoded; those who wait fold them.

    `floor` is the place before which no outcome is meant: the position of history before the start was
    published, and 0 for an instance that somebody else started.

    There may be many thousands: whatever the garbage collector must look at in each is worth saving.
    """

    __slots__ = (
        "_begins_late",
        "_fold",
        "_is_new",
        "_is_reading",
        "_is_whole",
        "_lock",
        "_pending",
        "_read_failure",
        "_unshown",
        "bytes",
        "curious",
        "failure",
        "floor",
        "instance_id",
        "waiters",
    )

    def __init__(
        self, instance_id: str, floor: int, *, is_new: bool = False, must_read: bool = False
    ) -> None:
        """`is_new`: the id is new to the world. `must_read`: the tail does not begin at `floor`."""
        self.instance_id = instance_id
        self.floor = floor
        # Of all it ever took in: what is folded is remembered too.
        self.bytes = 0
        self.failure: PublicError | None = None
        self.waiters: dict[object, Callable[[], None]] = {}
        # Those of the waiters who want to look at every record, not just at an outcome.
        self.curious: set[object] = set()
        self._lock = threading.Lock()
        self._is_reading = False
        # Of the last read.
        self._read_failure: PublicError | None = None
        # Adding to it and taking from it need no lock.
        self._pending: deque[Record] = deque()
        self._unshown: Record | None = None
        self._fold = Fold(instance_id)
        self._is_new = is_new
        self._begins_late = must_read
        # Whether there is nothing on record that is not in the fold, or on its way here.
        self._is_whole = is_new and not must_read

    # --- the tail's side ---

    def add(self, record: Record) -> bool:
        """Takes a record. Whether those who wait should look now."""
        value = record.value
        if value is not None and is_unshown(value):
            # Of those only the last matters: for its time.
            self._unshown = record
            return False
        self._pending.append(record)
        self.bytes += len(value or b"")
        if self.curious or len(self._pending) >= PENDING_RECORDS_MAX:
            return True
        return value is not None and value[:HEADER_BYTES] in _OUTCOMES

    @property
    def is_spent(self) -> bool:
        """Whether the outcome is known, and nobody waits for it any more."""
        state = self._fold.state
        return not self.waiters and state is not None and state.is_finished

    @property
    def is_neglected(self) -> bool:
        """Whether the tail brings much, and nobody waits for it."""
        return not self.waiters and len(self._pending) >= PENDING_RECORDS_MAX

    def fail(self, failure: PublicError) -> None:
        """The tail has died."""
        self.failure = failure
        self.wake()

    def wake(self) -> None:
        """Lets those who wait look."""
        for waiter in list(self.waiters.values()):
            waiter()

    # --- the waiters' side ---

    def shown(self, *, fetch_payloads: bool) -> WorkflowState | None:
        """The instance as far as the tail has it; None where there is none, or more must be read first."""
        if self.failure is not None:
            raise self.failure
        if not self._pending and self._unshown is None and self._fold.state is None:
            # The first look of most waits. Whatever comes from now on wakes them.
            return None
        with self._lock:
            # While somebody reads, what the tail brings has to wait for what lies before it.
            if self._is_reading:
                return None
            fold = self._fold
            while self._pending:
                record = self._pending.popleft()
                if record.offset > fold.last_offset:
                    fold.add(record)
            unshown = self._unshown
            if unshown is not None and unshown.offset > fold.last_offset:
                fold.add(unshown)
            if self.must_read:
                return None
            state = fold.shown(fetch_payloads=fetch_payloads)
        # A run that had ended before the start was published is not what came of that start.
        if state is not None and fold.last_offset < self.floor and state.is_finished:
            return None
        return state

    @property
    def must_read(self) -> bool:
        """Whether what lies before the tail's records is needed."""
        return not self._is_whole and (self._begins_late or self._fold.is_broken)

    @property
    def is_unknown(self) -> bool:
        """Whether nothing was ever seen of the instance, and nobody has looked for it further back."""
        if self._is_whole or self._fold.state is not None:
            return False
        return not self._pending and self._unshown is None

    def expect_read(self) -> None:
        """One is asked for: what became of an earlier one is of no interest."""
        self._read_failure = None

    def check_read(self) -> None:
        """Raises UnreachableError where the read that was asked for has failed."""
        if self._read_failure is not None:
            raise self._read_failure

    def begin_read(self) -> int:
        """From where what is on record must be read: from `floor` if that may do, else all."""
        with self._lock:
            # Who is only looked for further back goes on listening to the tail.
            self._is_reading = self.must_read
        return self.floor if self._begins_late else 0

    def end_read(self, fold: Fold, start: int, failure: PublicError | None) -> None:
        """What was read from `start` on, or why it could not be."""
        with self._lock:
            is_wanted = self._is_reading or self._fold.state is None
            self._is_reading = False
            self._read_failure = failure
            if failure is None:
                if is_wanted:
                    self._fold, self._begins_late = fold, False
                self._is_whole = self._is_new or start == 0
        self.wake()
