"""Everything of one simulation in one thread: the broker, machines, clients, and the chaos that befalls them.

Nothing here may depend on anything but the seed: no wall clock, no hash order, no thread.
"""

import random
from functools import partial

import msgspec

from engine.codec.topics import CHECKPOINT_KEY
from engine.model.checkpoint import Checkpoint
from engine.partition.context import OwnerSettings
from engine.partition.owner import OwnerStatus
from engine.testing import programs
from engine.testing.clients import Client, Vandal
from engine.testing.faults import RATES_MAX, Faults, SimulatedCrash, personality
from engine.testing.machine import SimulatedStore
from engine.testing.memory_broker import MemoryBroker
from engine.testing.owner_process import OwnerProcess
from engine.testing.view import View

MACHINES = 3
SESSION_MS = 6_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation is made of besides its seed; made smaller, it is how a failure is shrunk."""

    seed: int
    clients: int = 4
    chaos_ms: int = 15_000
    crash_at: int = 0
    without: tuple[str, ...] = ()
    focus: tuple[str, ...] = ()
    is_quiet: bool = False


class World:
    """One simulation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = rng = random.Random(plan.seed)
        rates = {} if plan.is_quiet else personality(rng)
        if plan.focus:
            rates = {kind: 2 * RATES_MAX[kind] for kind in plan.focus}
        rates = {kind: rate for kind, rate in rates.items() if kind not in plan.without}
        self.faults = Faults(rng, rates, plan.crash_at)
        self.broker = MemoryBroker(partitions=rng.choice((1, 2, 3)), command_partitions=rng.choice((1, 2)))
        self.registry = programs.make_registry()
        self.settings = OwnerSettings(
            commit_interval_ms=rng.choice((5, 25, 200)),
            commit_records_max=rng.choice((2, 5_000)),
            uncommitted_records_max=rng.choice((3, 20, 20_000)),
            live_executions_max=rng.choice((1, 2, 20_000)),
            timers_per_tick_max=rng.choice((1, 500)),
            purge_records_max=rng.choice((2, 5, 2_000)),
            trim_interval_ms=rng.choice((200, 5_000)),
        )
        self.disks: list[dict[int, SimulatedStore]] = [{} for _ in range(MACHINES)]
        self.processes: list[OwnerProcess | None] = [None] * MACHINES
        self.view = View(self.broker)
        self.clients = [Client(self.broker, self.view, f"w{n}", rng) for n in range(plan.clients)]
        self.vandal = Vandal(self.broker, rng)
        self.passes = 0
        self.crashes = 0
        self._tells_again_ms = 0
        for machine in range(MACHINES if rng.random() < 0.8 else 1):
            self._boot(machine)
        self._share_out()

    def begin(self) -> None:
        """Lets the clients come."""
        for client in self.clients:
            client.begin(self.rng.randrange(1 + self.plan.chaos_ms // 3))
        self.vandal.begin(self.rng.randrange(4), self.plan.chaos_ms)

    def step(self) -> None:
        """Time goes on to the next thing that happens, and every process that has something to do does it."""
        broker, rng = self.broker, self.rng
        broker.advance(max(broker.now_ms + 1, self._next_moment()))
        if self.faults.is_on:
            self._chaos()
        order = list(range(MACHINES))
        rng.shuffle(order)
        for machine in order:
            process = self.processes[machine]
            if process is None or broker.now_ms < process.paused_until_ms:
                continue
            if broker.now_ms >= process.wake_ms or process.has_news():
                self._pass(machine, process)

    def calm(self) -> None:
        """No more faults: everything comes back, and nothing is away for long."""
        self.faults.is_on = False
        for machine in range(MACHINES):
            process = self.processes[machine]
            if process is not None:
                process.paused_until_ms = min(process.paused_until_ms, self.broker.now_ms + 100)
        if not any(self.processes):
            self._boot(0)
            self._share_out()
        self._tell_assignment()

    @property
    def is_at_rest(self) -> bool:
        """Whether every client is served and nothing is left to be done."""
        if not all(client.is_done for client in self.clients):
            return False
        broker = self.broker
        for partition, machine_name in broker.owner_of.items():
            process = next((p for p in self.processes if p is not None and p.name == machine_name), None)
            owner = None if process is None else process.owners.get(partition)
            if owner is None or owner.status is not OwnerStatus.LIVE or owner.backlog or owner._in_flight:
                return False
            checkpoint: Checkpoint | None = self.view.checkpoints[partition]
            if checkpoint is None or checkpoint.offset + 1 < broker.inbox[partition].end:
                return False
            if checkpoint.purges or any(m.assigned != m.acknowledged for m in checkpoint.outbox):
                return False
        return all(
            self.broker.commands[partition].end <= offset
            for partition, (offset, _) in broker.group_offsets.items()
        )

    # --- processes ---

    def _next_moment(self) -> int:
        now_ms, moments = self.broker.now_ms, [self.broker.now_ms + 500]
        event_ms = self.broker.next_event_ms()
        if event_ms is not None:
            moments.append(event_ms)
        for process in self.processes:
            if process is not None:
                wake_ms = now_ms + 1 if process.has_news() else process.wake_ms
                moments.append(max(wake_ms, process.paused_until_ms))
        return min(moments)

    def _pass(self, machine: int, process: OwnerProcess) -> None:
        self.passes += 1
        try:
            process.pass_once()
        except SimulatedCrash:
            self._crash(machine)

    def _crash(self, machine: int) -> None:
        process = self.processes[machine]
        assert process is not None
        self.crashes += 1
        process.die()
        self.processes[machine] = None
        back_ms = self.broker.now_ms + self.faults.between(1, 2 * SESSION_MS)
        self.broker.at(back_ms, partial(self._boot, machine))
        self.broker.at(self.broker.now_ms + SESSION_MS, self._share_out)

    def _boot(self, machine: int) -> None:
        if self.processes[machine] is not None:
            return
        # A static member: it has its partitions back if it is back in time.
        self.processes[machine] = OwnerProcess(
            self.broker, f"m{machine}", self.disks[machine], self.faults, self.settings, self.registry
        )
        self._share_out()

    # --- who has what ---

    def _share_out(self) -> None:
        """Gives what belongs to no living member to one."""
        living = [process.name for process in self.processes if process is not None]
        if not living:
            return
        for partition in range(self.broker.identity.partitions):
            if self.broker.owner_of.get(partition) not in living:
                self.broker.owner_of[partition] = self.rng.choice(living)
        for partition in range(len(self.broker.commands)):
            if self.broker.ingress_of.get(partition) not in living:
                self.broker.ingress_of[partition] = self.rng.choice(living)
        self._tell_assignment()

    def _tell_assignment(self) -> None:
        for process in self.processes:
            if process is None:
                continue
            owned = {p for p, name in self.broker.owner_of.items() if name == process.name}
            if self.faults.hit("double assignment"):
                # This member learns only what it gained; what it lost it keeps for a while.
                process.log.ours = frozenset(owned | process.log.ours)
                if self._tells_again_ms <= self.broker.now_ms:
                    self._tells_again_ms = self.broker.now_ms + self.faults.between(1, 8_000)
                    self.broker.at(self._tells_again_ms, self._tell_assignment)
            else:
                process.log.ours = frozenset(owned)
            fed = {p for p, name in self.broker.ingress_of.items() if name == process.name}
            process.source.ours = frozenset(fed)

    # --- chaos ---

    def _chaos(self) -> None:
        broker, faults, rng = self.broker, self.faults, self.rng
        living = [n for n, process in enumerate(self.processes) if process is not None]
        if faults.hit("crash") and living:
            self._crash(rng.choice(living))
        if faults.hit("pause") and living:
            process = self.processes[rng.choice(living)]
            if process is not None:
                process.paused_until_ms = broker.now_ms + faults.between(1, 20_000)
        if faults.hit("rebalance"):
            broker.owner_of.pop(rng.randrange(broker.identity.partitions), None)
            self._share_out()
        if faults.hit("ingress moves"):
            broker.ingress_of.pop(rng.randrange(len(broker.commands)), None)
            self._share_out()
        if faults.hit("zombie claim"):
            partition = rng.randrange(broker.identity.partitions)
            broker.epochs[partition][rng.randrange(2)] += 1
        if faults.hit("clock step"):
            skews = rng.choice((broker.inbox_skew_ms, broker.history_skew_ms))
            skews[rng.randrange(len(skews))] = rng.choice((0, -3_000, 3_000, -60_000))
        if faults.hit("compaction"):
            self._compact(rng.randrange(broker.identity.partitions))

    def _compact(self, partition: int) -> None:
        topic = self.broker.history[partition]
        # Tombstones expire only after days; by then no store that has not seen them is believed any more.
        seen = [disk[partition].oldest_position() for disk in self.disks if partition in disk]
        # The active segment is never compacted, and what a torn transaction left is in it.
        end = max((r.offset for r in topic.records if r.key == CHECKPOINT_KEY), default=topic.start)
        upto = self.rng.randint(topic.start, end)
        expired = self.rng.choice((0, min([upto, *seen])))
        topic.compact(upto, expired)
