"""Who sits in a partition: live runs and their executions in memory, finished ones as stubs in the cache.

A seat that an uncommitted turn has touched is dirty and stays: the cache doesn't know of it yet.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from engine.core.decide import Seat
from engine.core.registry import Registry
from engine.core.turn import replay
from engine.errors import NonDeterminismError
from engine.model.events import Recorded
from engine.model.state import InstanceState
from engine.partition.cache import Cache


class Seats:
    """All instances of a partition, by id."""

    def __init__(self, cache: Cache, registry: Registry, executions_max: int) -> None:
        self.replays = 0
        self.cache = cache
        self._registry = registry
        self._executions_max = executions_max
        self._seats: dict[str, Seat] = {}
        self._dirty: dict[str, int] = {}
        self._executions: OrderedDict[str, Seat] = OrderedDict()
        self._fetched: list[str] = []

    def __len__(self) -> int:
        return len(self._seats)

    def __iter__(self) -> Iterator[Seat]:
        return iter(list(self._seats.values()))

    @property
    def executions(self) -> int:
        """How many live executions there are."""
        return len(self._executions)

    def adopt(self, states: dict[str, InstanceState]) -> None:
        """The live runs of a restore."""
        for instance_id, state in states.items():
            self._seats[instance_id] = Seat(instance_id=instance_id, state=state)

    def prefetch(self, instance_ids: Iterable[str]) -> None:
        """Fetches the stubs of instances that aren't in memory, in one go."""
        unknown = [each for each in dict.fromkeys(instance_ids) if each not in self._seats]
        if not unknown:
            return
        for instance_id, stub in zip(unknown, self.cache.stubs(unknown), strict=True):
            self._seats[instance_id] = Seat(instance_id=instance_id, stub=stub)
        self._fetched.extend(unknown)

    def seat(self, instance_id: str) -> Seat:
        """The seat of an instance, made if need be."""
        seat = self._seats.get(instance_id)
        if seat is None:
            self.prefetch([instance_id])
            seat = self._seats[instance_id]
        return seat

    def history(self, seat: Seat) -> list[Recorded]:
        """The committed events of a live run."""
        assert seat.state is not None
        return self.cache.history(seat.instance_id, seat.state.run_id)

    def replay(self, seat: Seat) -> None:
        """Brings the execution of a live run back from its history. A failure to is noted in the seat."""
        state = seat.state
        assert state is not None
        assert seat.instance_id not in self._dirty, "a dirty seat keeps its execution"
        self.replays += 1
        history = self.history(seat)
        # State and history must be of one moment, or the same event would be put on record twice.
        assert len(history) == state.sequence, (
            f"history has {len(history)} events, the state {state.sequence}"
        )
        try:
            seat.execution = replay(self._registry, seat.instance_id, history)
        except NonDeterminismError as error:
            seat.replay_error = str(error)

    def touched(self, seat: Seat, batch: int) -> None:
        """A turn of this batch has changed the seat."""
        self._dirty[seat.instance_id] = batch
        if seat.execution is not None:
            self._executions[seat.instance_id] = seat
            self._executions.move_to_end(seat.instance_id)
        else:
            self._executions.pop(seat.instance_id, None)

    def committed(self, instance_ids: Iterable[str], batch: int) -> None:
        """A batch is in log and store: what it touched last is clean, and what is over leaves."""
        for instance_id in instance_ids:
            if self._dirty.get(instance_id) != batch:
                continue
            del self._dirty[instance_id]
            seat = self._seats[instance_id]
            if not seat.is_live:
                self._drop_execution(seat)
                del self._seats[instance_id]
        self._forget_fetched()
        self._evict()

    def close(self) -> None:
        """Closes every generator, so that users' finally blocks run here and not in the collector."""
        for seat in self._seats.values():
            if seat.execution is not None:
                seat.execution.close()
        self._seats, self._dirty = {}, {}
        self._executions.clear()

    def _forget_fetched(self) -> None:
        # Most fetched seats stay, for a run began in them; those that only refused something go.
        for instance_id in self._fetched:
            seat = self._seats.get(instance_id)
            if seat is not None and not seat.is_live and instance_id not in self._dirty:
                del self._seats[instance_id]
        self._fetched = []

    def _evict(self) -> None:
        spare = len(self._executions) - self._executions_max
        if spare <= 0:
            return
        for instance_id in list(self._executions):
            if spare <= 0:
                return
            if instance_id not in self._dirty:
                self._drop_execution(self._executions[instance_id])
                spare -= 1

    def _drop_execution(self, seat: Seat) -> None:
        self._executions.pop(seat.instance_id, None)
        if seat.execution is not None:
            seat.execution.close()
            seat.execution = None
