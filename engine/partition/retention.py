"""Which finished runs were kept for long enough. It only asks, by a record of the inbox: a turn decides.

Rules
* When a run is due follows from the policy of this process and the end that is on record; whether it goes,
  from the inbox record alone. So whoever derives that record again comes to the same, under any policy.
* To ask twice does no harm, and to forget to ask none that the next claim does not mend.

Theory of operation: the cache has a key for each finished run, ordered by how and when it ended; every
restore makes and counts these keys, under any policy. A lane reads them a few at a time, from where it left
off, and only when it has none left and there may be more. A key that comes in before that place (the
clock that stamps the inbox went back, or two runs ended in the same millisecond) takes it back.
"""

from collections import deque
from collections.abc import Collection

from engine.codec import avro
from engine.model.commands import ExpireInstance
from engine.model.state import Phase, RunStub
from engine.partition import keys
from engine.partition.cache import Cache
from engine.partition.context import OwnerSettings
from engine.partition.ports import Append

LOOK_AHEAD = 200
# What may be caught up of the rate after a pause: never enough to delay a pass.
BURST_MS = 100
# Purges under way at which no more are asked for: a commit writes tombstones for so many at a time only.
PURGES_AT_ONCE = 50


class Retention:
    """The retention of one partition."""

    def __init__(self, partition: int, cache: Cache, settings: OwnerSettings) -> None:
        # By how much the run that is due first is overdue now. Any thread.
        self.overdue_ms = 0
        self._partition = partition
        self._per_second = settings.retention_per_second
        kept_ms = settings.retention.kept_ms()
        self._lanes = {phase: _Lane(cache, phase, ms) for phase, ms in kept_ms.items()}
        # In thousandths of a run, so that nothing is lost of a slow rate.
        self._allowed = 0
        self._allowed_at_ms: int | None = None
        if self._lanes:
            cache.watch_ends(self._ended)

    def _ended(self, stubs: Collection[RunStub]) -> None:
        for stub in stubs:
            lane = self._lanes.get(stub.phase)
            if lane is not None:
                lane.came(keys.ended_key(stub))

    def came_early(self) -> None:
        """A record asked for a run before its time: what is due is to be seen anew, by a clock put right."""
        for lane in self._lanes.values():
            lane.begin_again()

    def due(self, broker_now_ms: int, monotonic_ms: int, purges: int) -> list[Append]:
        """The appends that ask for what is due, as many as the rate allows, while `purges` are under way."""
        if not self._lanes:
            return []
        self._allow(monotonic_ms)
        appends: list[Append] = []
        while True:
            due_at_ms, lane = min(((each.due_at_ms(), each) for each in self._lanes.values()), key=_first)
            if due_at_ms is None or due_at_ms > broker_now_ms:
                self.overdue_ms = 0
                return appends
            if self._allowed < 1_000 or purges + len(appends) >= PURGES_AT_ONCE:
                self.overdue_ms = broker_now_ms - due_at_ms
                return appends
            self._allowed -= 1_000
            appends.append(self._append(lane.take(), due_at_ms))

    def _allow(self, monotonic_ms: int) -> None:
        last_ms = monotonic_ms if self._allowed_at_ms is None else self._allowed_at_ms
        most = max(1_000, self._per_second * BURST_MS)
        self._allowed = min(most, self._allowed + (monotonic_ms - last_ms) * self._per_second)
        self._allowed_at_ms = monotonic_ms

    def _append(self, run: keys.Ended, due_at_ms: int) -> Append:
        command = ExpireInstance(instance_id=run.instance_id, run_id=run.run_id, due_at_ms=due_at_ms)
        return Append(self._partition, run.instance_id.encode(), avro.encode_command(command))


class _Lane:
    """The runs that ended one way and are not kept for ever, in the order of their ends."""

    def __init__(self, cache: Cache, phase: Phase, kept_ms: int) -> None:
        self._cache = cache
        self._phase = phase
        self._kept_ms = kept_ms
        self._prefix = keys.ended_prefix(phase)
        self._next: deque[bytes] = deque()
        self.begin_again()

    def begin_again(self) -> None:
        """From the oldest on."""
        self._next.clear()
        # All before it has been read, and nothing from it on.
        self._place = self._prefix
        self._has_more = True

    def came(self, key: bytes) -> None:
        """There is a key more."""
        self._has_more = True
        if key < self._place:
            self._go_back(key)

    def _go_back(self, key: bytes) -> None:
        # What was read and not taken may lie before it.
        self._place = min(key, self._next[0]) if self._next else key
        self._next.clear()

    def due_at_ms(self) -> int | None:
        """When the first is due; None where there is none."""
        if not self._next and self._has_more:
            self._read()
        if not self._next:
            return None
        return keys.parse_ended(self._phase, self._next[0]).ended_at_ms + self._kept_ms

    def take(self) -> keys.Ended:
        """The first, which leaves."""
        return keys.parse_ended(self._phase, self._next.popleft())

    def _read(self) -> None:
        found = self._cache.ends(self._prefix, self._place, LOOK_AHEAD)
        self._has_more = len(found) == LOOK_AHEAD
        if found:
            self._place = found[-1] + b"\0"
            self._next.extend(found)


def _first(pair: tuple[int | None, _Lane]) -> int:
    due_at_ms = pair[0]
    return 1 << 62 if due_at_ms is None else due_at_ms
