"""One owner process of a simulation: the same passes as the worker's loop, without its threads.

A crash is forgetting all of this object; only the stores of its machine stay.
"""

from functools import partial

import msgspec

from engine.codec import avro
from engine.errors import CacheCorruptFault, EngineError, LogDamagedFault
from engine.model.effects import RunActivity
from engine.node.activities import result_of, run_attempt
from engine.partition.careful import Exam
from engine.partition.context import OwnerContext, OwnerSettings
from engine.partition.ingress import Ingress
from engine.partition.owner import Owner
from engine.partition.ports import Append, Claim, CommitResult, Record
from engine.partition.status import OwnerStatus
from engine.testing.faults import FENCING, OWNED, UNOWNED, Faults
from engine.testing.machine import SimulatedClock, SimulatedStore
from engine.testing.memory_broker import MemoryBroker, Violation
from engine.testing.memory_log import MemoryLog
from engine.testing.memory_source import MemoryCommandSource
from engine.testing.programs import Code

RETRY_MS = 250
IDLE_MS = 700


class OwnerProcess:
    """Owners, ingress and activities of one process."""

    def __init__(
        self,
        broker: MemoryBroker,
        name: str,
        stores: dict[int, SimulatedStore],
        faults: Faults,
        settings: OwnerSettings,
        code: Code,
    ) -> None:
        self.name = name
        self.code = code
        self.owners: dict[int, Owner] = {}
        self.damaged: dict[int, str] = {}
        self.paused_until_ms = 0
        self.wake_ms = 0
        self.is_dead = False
        self.is_leaving = False
        self._in_turn = UNOWNED
        self.log = MemoryLog(broker, name, faults)
        self.source = MemoryCommandSource(broker, name, faults)
        self._broker = broker
        self._faults = faults
        self._stores = stores
        self._registry = code.registry
        self.log.phase_of = self.phase_of
        self.clock = SimulatedClock(broker, faults.rng.randrange(1_000_000))
        self._context = OwnerContext(
            registry=code.registry,
            settings=msgspec.structs.replace(settings, build=code.build),
            run_activity=self._run_activity,
            exam=Exam(),
        )
        self._not_before_ms: dict[int, int] = {}
        self._claimed: list[Owner] = []
        self._opened: list[Owner] = []
        self.ingress = Ingress(
            self.source, self.log.appender(), self._progress, self.clock, broker.identity.partitions
        )

    def phase_of(self, partition: int) -> str:
        """Where the owner of a partition is in its life, in this process."""
        owner = self.owners.get(partition)
        if owner is None:
            return FENCING if partition in self.log.ours else UNOWNED
        phase = owner.status.value
        return phase if phase in OWNED else UNOWNED

    def phase_in_turn(self) -> str:
        """That of the owner whose turn it is."""
        return self._in_turn

    @property
    def phases(self) -> dict[int, str]:
        """That of each partition this process has."""
        return {partition: self.phase_of(partition) for partition in self.owners}

    def die(self) -> None:
        """Forgets everything."""
        self.is_dead = True
        self.log.die()
        for owner in self.owners.values():
            if owner.turns is not None:
                owner.turns.close()
        for partition, store in self._stores.items():
            store.survive_crash(self.phase_of(partition))

    def end(self) -> None:
        """Ends in good order: what is not closed by now is abandoned, the disks stay as they are."""
        for owner in self.owners.values():
            owner.abandon()
        self.owners.clear()
        self.is_dead = True
        self.log.die()

    def pass_once(self) -> None:
        """One pass over everything there is to do."""
        self._mind_assignment()
        self._start_opened()
        self._open_claimed()
        self._process(self._poll())
        for partition, owner in list(self.owners.items()):
            if owner.turns is not None:
                self._guarded(partition, owner.tick)
        for claim, result in self.log.commit_results():
            self._take_result(claim, result)
        self._bury()
        self.ingress.tick(0)
        self.wake_ms = self._broker.now_ms + self._next_wake_ms()

    def has_news(self) -> bool:
        """Whether a pass would find something."""
        return self.log.has_news() or (self.source.has_news() and not self.ingress.is_blocked)

    @property
    def is_live(self) -> bool:
        """Whether every partition that is ours is live."""
        return self.owners.keys() == set(self.log.ours) and all(
            owner.status is OwnerStatus.LIVE for owner in self.owners.values()
        )

    # --- claims ---

    def _mind_assignment(self) -> None:
        ours = self.log.assignment()
        for partition in sorted(ours):
            if partition not in self.owners and partition not in self.damaged:
                self._claim(partition)
        for partition, owner in self.owners.items():
            if partition not in ours and owner.status is not OwnerStatus.STOPPING:
                owner.stop()

    def _claim(self, partition: int) -> None:
        now_ms = self._broker.now_ms
        if now_ms < self._not_before_ms.get(partition, 0):
            return
        self._not_before_ms[partition] = now_ms + RETRY_MS
        store = self._stores.setdefault(partition, SimulatedStore(self._faults))
        store.phase = partial(self.phase_of, partition)
        try:
            claim = self.log.claim(partition)
        except LogDamagedFault as fault:
            self.damaged[partition] = str(fault)
        except EngineError:
            return
        else:
            owner = Owner(claim, self.log, store, self.clock, self._context)
            self.owners[partition] = owner
            self._claimed.append(owner)

    def _open_claimed(self) -> None:
        """A restore runs beside the owners' thread: it takes its time, and another claim may overtake it."""
        waiting, self._claimed = self._claimed, []
        for owner in waiting:
            if owner.status is OwnerStatus.LOST:
                continue
            if self._faults.rng.random() < 0.2:
                self._claimed.append(owner)
            else:
                self._open(owner)

    def _open(self, owner: Owner) -> None:
        partition = owner.claim.partition
        try:
            owner.open(self._broker.now_ms)
        except LogDamagedFault as fault:
            self._stop_damaged(partition, fault)
        except EngineError:
            self.log.release(owner.claim)
            del self.owners[partition]
        else:
            self._opened.append(owner)

    def _start_opened(self) -> None:
        waiting, self._opened = self._opened, []
        for owner in waiting:
            if owner.status is OwnerStatus.FENCING and self._faults.rng.random() < 0.7:
                self._guarded(owner.claim.partition, owner.start)
            elif owner.status is OwnerStatus.FENCING:
                self._opened.append(owner)

    # --- records and results ---

    def _poll(self) -> list[Record]:
        try:
            return self.log.poll(0)
        except LogDamagedFault as fault:
            # A zombie's inbox may be trimmed under it. Only a new claim tells that from damage.
            if fault.partition is None:
                raise
            self.owners[fault.partition].status = OwnerStatus.LOST
            return []

    def _process(self, records: list[Record]) -> None:
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        for partition, mine in by_partition.items():
            if partition in self.owners:
                self._guarded(partition, partial(self.owners[partition].process, mine))

    def _take_result(self, claim: Claim, result: CommitResult) -> None:
        owner = self.owners.get(claim.partition)
        if owner is not None and owner.claim.token == claim.token:
            self._guarded(claim.partition, partial(owner.on_commit_result, result, self._broker.now_ms))

    def _guarded(self, partition: int, work: "partial[None] | object") -> None:
        """A corrupt cache costs its partition a restore, and nothing else."""
        self._in_turn = self.phase_of(partition)
        try:
            work()  # type: ignore[operator]  # bound methods and partials alike
        except CacheCorruptFault:
            # The next claim meets the corruption again, and wipes.
            self.owners.pop(partition).abandon()
        except LogDamagedFault as fault:
            self._stop_damaged(partition, fault)

    def _stop_damaged(self, partition: int, fault: LogDamagedFault) -> None:
        self.damaged[partition] = str(fault)
        self.owners.pop(partition).abandon()

    def _bury(self) -> None:
        for partition, owner in list(self.owners.items()):
            if owner.status is OwnerStatus.LOST:
                owner.abandon()
                del self.owners[partition]
            elif owner.status is OwnerStatus.CLOSED:
                del self.owners[partition]

    def _next_wake_ms(self) -> int:
        wake = IDLE_MS if not self.ingress.held else 20
        for owner in self.owners.values():
            if owner.turns is None:
                wake = min(wake, 5)
                continue
            # The owner's own answer is capped at 100 ms; where it names no moment we may sleep longer.
            # While a commit is under way its result is news that wakes us by itself.
            asked = 100 if owner.status is OwnerStatus.FENCING else owner.next_wake_ms()
            wake = min(wake, asked if 1 < asked < 100 else IDLE_MS if asked else 1)
        if self.log.ours != self.owners.keys() or self._opened:
            wake = min(wake, 50)
        return wake

    def _progress(self, partition: int) -> tuple[int | None, bool]:
        owner = self.owners.get(partition)
        if owner is not None and owner.turns is not None:
            return owner.turns.next_offset, True
        return self.log.progress(partition), False

    # --- activities ---

    def _run_activity(self, call: RunActivity, partition: int, is_isolated: bool) -> None:  # noqa: FBT001
        owner = self.owners.get(partition)
        if owner is None or owner.status is not OwnerStatus.LIVE:
            raise Violation(
                f"I12: activity {call.scheduled} of {call.instance_id} ran under an owner not live"
            )
        times = 2 if self._faults.hit("activity twice", self.phase_of(partition)) else 1
        for _ in range(times):
            due_ms = self._broker.now_ms + self._faults.between(1, 2_000)
            self._broker.at(due_ms, partial(self._finish_activity, call, partition))

    def _finish_activity(self, call: RunActivity, partition: int) -> None:
        if self.is_dead:
            return
        self._broker.executed.append((call.call_id, call.attempt))
        outcome = run_attempt(self._registry.activities[call.name], call)
        value = avro.encode_command(result_of(call, outcome))
        self.log.append_from_thread(Append(partition, call.instance_id.encode(), value))
