"""The one thread that follows history for all waits of a client. It wakes; it decodes and decides nothing.

Theory of operation
* A partition is followed when somebody first waits for an instance of it; from the second one on, all are.
  After a minute in which nobody waits, the thread ends.
* A *mirror* gathers the records of one instance. For a start that this client publishes while its partition
  is followed, the mirror exists before the command does: nothing has to be read when somebody waits for it.
* Otherwise the *floor* is noted: a position of history from before the command. A wait begins there.
* Records are not decoded here, and by far most are of no interest: that costs a lookup by the key's prefix.
"""

import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable

import msgspec

from engine.client.connection import Connection
from engine.client.errors import CLOSED, UnreachableError, faults_made_public
from engine.client.fold import Commits, instance_key_of
from engine.client.mirror import Mirror
from engine.client.reads import Reads
from engine.codec.topics import CHECKPOINT_KEY, partition_of
from engine.errors import PublicError
from engine.partition.ports import Record

POLL_MS = 50
IDLE_S = 60.0
ENDS_AGE_S_MAX = 30.0
CLOSE_S = 5.0
FOLLOW_TRIES = 5
FLOORS_MAX = 100_000
MIRRORS_MAX = 50_000
SPENT_MAX = 200
MIRRORED_BYTES_MAX = 64 * 1024 * 1024


class _Floor(msgspec.Struct, frozen=True, gc=False):
    partition: int
    offset: int
    noted_at: float
    is_new: bool


class Tail:
    """All waits of one client. Any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._mirrors: OrderedDict[bytes, Mirror] = OrderedDict()
        self._spent: deque[Mirror] = deque()
        self._floors: OrderedDict[str, _Floor] = OrderedDict()
        # By followed partition, the end of the last commit that was seen.
        self._positions: dict[int, int] = {}
        self._requests: list[dict[int, int]] = []
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._ends: tuple[float, dict[int, int]] = (float("-inf"), {})
        self._used_at = 0.0
        self._bytes = 0
        self._reads = Reads(connection)

    # --- starts ---

    def expect_at_once(self, instance_id: str, *, is_new: bool) -> bool:
        """Prepares for the outcome of a start about to be published. False where only `expect` can."""
        partition = partition_of(instance_id, self._connection.partitions)
        with self._lock:
            position = self._positions.get(partition)
            if position is None:
                return False
            self._note_floor(instance_id, _Floor(partition, position, time.monotonic(), is_new))
            mirror = self._mirrors.get(instance_id.encode())
            if mirror is None or not mirror.waiters:
                self._add_mirror(Mirror(instance_id, position, is_new=is_new))
        return True

    def expect(self, instance_id: str, *, is_new: bool) -> None:
        """Prepares for the outcome of a start about to be published. Raises UnreachableError.

        For an id that is new to the world any earlier position will do; for another, only one that lies
        behind all of its earlier runs.
        """
        if self.expect_at_once(instance_id, is_new=is_new):
            return
        partition = partition_of(instance_id, self._connection.partitions)
        offset = self._known_ends(ENDS_AGE_S_MAX if is_new else 0)[partition]
        # Followed by now, if others who started something wait already: a floor would come too late for that.
        if self.expect_at_once(instance_id, is_new=is_new):
            return
        with self._lock:
            self._note_floor(instance_id, _Floor(partition, offset, time.monotonic(), is_new))

    def _note_floor(self, instance_id: str, floor: _Floor) -> None:
        self._floors[instance_id] = floor
        self._floors.move_to_end(instance_id)
        if len(self._floors) > FLOORS_MAX:
            self._floors.popitem(last=False)

    def _known_ends(self, age_s_max: float) -> dict[int, int]:
        asked_at, ends = self._ends
        now = time.monotonic()
        if now - asked_at > age_s_max:
            ends = self._connection.ends()
            self._ends = (now, ends)
        return ends

    # --- waits ---

    def wait_at_once(self, instance_id: str, who: object, wake: Callable[[], None]) -> Mirror | None:
        """The mirror of an instance, with a new waiter. None where that takes `wait`, and a request."""
        with self._lock:
            mirror = self._mirrors.get(instance_id.encode())
            if mirror is not None:
                mirror.waiters[who] = wake
                self._used_at = time.monotonic()
            return mirror

    def wait(self, instance_id: str, who: object, wake: Callable[[], None]) -> Mirror:
        """The mirror of an instance, with a new waiter; its partition is followed. Raises PublicError."""
        partition = partition_of(instance_id, self._connection.partitions)
        for _ in range(FOLLOW_TRIES):
            mirror = self.wait_at_once(instance_id, who, wake)
            if mirror is not None:
                return mirror
            if partition not in self._positions:
                self._follow(partition)
            with self._lock:
                # Missing where the thread ended, or died, just now.
                if partition in self._positions and instance_id.encode() not in self._mirrors:
                    self._add_mirror(self._late_mirror(instance_id))
        message = (
            f"expected to follow the history of {instance_id!r}, but the client's tail ends again and again"
        )
        raise UnreachableError(message)

    def _late_mirror(self, instance_id: str) -> Mirror:
        floor = self._floors.get(instance_id)
        if floor is None:
            return Mirror(instance_id, 0, must_read=True)
        return Mirror(instance_id, floor.offset, is_new=floor.is_new, must_read=True)

    def ask(self, mirror: Mirror) -> None:
        """Has read what the tail does not bring. Returns at once; the mirror wakes who waits there."""
        self._reads.ask(mirror)

    def leave(self, mirror: Mirror, who: object) -> None:
        """Ends what `wait` began."""
        with self._lock:
            mirror.waiters.pop(who, None)
            mirror.curious.discard(who)
            self._used_at = time.monotonic()
            if mirror.is_spent:
                self._spend(mirror)

    def _follow(self, partition: int) -> None:
        if self._is_closed:
            raise UnreachableError(CLOSED)
        ends = self._known_ends(ENDS_AGE_S_MAX)
        with self._lock:
            # Two partitions mean many instances: then the others will be asked for too.
            wanted = ends.keys() if self._positions else {partition}
            starts = {number: ends[number] for number in wanted if number not in self._positions}
            expected: list[tuple[str, _Floor]] = []
            for instance_id, floor in reversed(self._floors.items()):
                if time.monotonic() - floor.noted_at > 2 * ENDS_AGE_S_MAX:
                    break
                if floor.partition in starts:
                    expected.append((instance_id, floor))
                    starts[floor.partition] = min(starts[floor.partition], floor.offset)
            self._positions |= starts
            self._requests.append(starts)
            for instance_id, floor in expected:
                if instance_id.encode() not in self._mirrors:
                    self._add_mirror(Mirror(instance_id, floor.offset, is_new=floor.is_new))
            self._used_at = time.monotonic()
            self._begin_thread()

    # --- mirrors; with the lock ---

    def _add_mirror(self, mirror: Mirror) -> None:
        key = mirror.instance_id.encode()
        self._mirrors[key] = mirror
        self._mirrors.move_to_end(key)
        if len(self._mirrors) > MIRRORS_MAX:
            self._forget_some(MIRRORS_MAX * 9 // 10, MIRRORED_BYTES_MAX)

    def _forget_some(self, count_max: int, bytes_max: int) -> None:
        """Forgets mirrors nobody waits at, the oldest first. A later wait reads what they held."""
        self._bytes = sum(mirror.bytes for mirror in self._mirrors.values())
        for key, mirror in list(self._mirrors.items()):
            if len(self._mirrors) <= count_max and self._bytes <= bytes_max:
                return
            if not mirror.waiters:
                del self._mirrors[key]
                self._bytes -= mirror.bytes

    def _spend(self, mirror: Mirror) -> None:
        """Keeps the newest outcomes, for who asks twice. More would be a burden to the garbage collector."""
        self._spent.append(mirror)
        if len(self._spent) > SPENT_MAX:
            old = self._spent.popleft()
            key = old.instance_id.encode()
            if old.is_spent and self._mirrors.get(key) is old:
                del self._mirrors[key]
                self._bytes -= old.bytes

    # --- the thread ---

    def _begin_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="client-tail", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        failure: PublicError = UnreachableError(CLOSED)
        try:
            with faults_made_public():
                self._follow_history()
        except PublicError as problem:
            failure = problem
        except BaseException as problem:
            failure = UnreachableError(f"the client's tail of history ended: {problem!r}")
            raise
        finally:
            for mirror in self._drop_all():
                mirror.fail(failure)

    def _follow_history(self) -> None:
        tail = self._connection.open_tail()
        commits: dict[int, Commits] = defaultdict(Commits)
        try:
            while not self._is_done():
                with self._lock:
                    requests, self._requests = self._requests, []
                for starts in requests:
                    tail.follow(starts)
                self._take(tail.poll(POLL_MS), commits)
        finally:
            tail.close()

    def _is_done(self) -> bool:
        if self._is_closed:
            return True
        if time.monotonic() - self._used_at < IDLE_S:
            return False
        with self._lock:
            if self._requests or any(mirror.waiters for mirror in self._mirrors.values()):
                self._used_at = time.monotonic()
                return False
            # From here on nobody may count on what this thread would have brought.
            self._forget_all()
        return True

    def _drop_all(self) -> list[Mirror]:
        with self._lock:
            # After an idle end another thread may have begun already.
            return self._forget_all() if self._thread is threading.current_thread() else []

    def _forget_all(self) -> list[Mirror]:
        mirrors = list(self._mirrors.values())
        self._mirrors.clear()
        self._spent.clear()
        self._positions.clear()
        self._requests.clear()
        self._thread = None
        return mirrors

    def _take(self, records: list[Record], commits: dict[int, Commits]) -> None:
        woken: dict[int, Mirror] = {}
        for record in records:
            committed = commits[record.partition].add(record)
            if record.key == CHECKPOINT_KEY:
                self._take_commit(committed, woken)
                self._positions[record.partition] = record.offset + 1
        for mirror in woken.values():
            mirror.wake()
        if self._bytes > MIRRORED_BYTES_MAX:
            with self._lock:
                self._forget_some(MIRRORS_MAX, MIRRORED_BYTES_MAX // 2)

    def _take_commit(self, records: list[Record], woken: dict[int, Mirror]) -> None:
        mirror_of = self._mirrors.get
        for record in records:
            mirror = mirror_of(instance_key_of(record.key))
            if mirror is None:
                continue
            self._bytes += len(record.value or b"")
            if not mirror.add(record):
                continue
            woken[id(mirror)] = mirror
            if mirror.is_neglected:
                with self._lock:
                    self._mirrors.pop(mirror.instance_id.encode(), None)

    def close(self) -> None:
        """Ends the thread; those who still wait are told."""
        self._is_closed = True
        thread = self._thread
        if thread is not None:
            thread.join(CLOSE_S)
