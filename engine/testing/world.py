"""Everything of one simulation in one thread: the broker, machines, clients, and who owns what.

Nothing here may depend on anything but the seed: no wall clock, no hash order, no thread.
"""

import random
from functools import partial

import msgspec

from engine.model.checkpoint import Checkpoint
from engine.model.retention import RetentionPolicy
from engine.partition.context import OwnerSettings
from engine.partition.status import OwnerStatus
from engine.testing.clients import Client, Operator
from engine.testing.faults import KINDS, UNOWNED, Faults, SimulatedCrash, damage, personality
from engine.testing.machine import SimulatedStore
from engine.testing.memory_broker import MemoryBroker
from engine.testing.owner_process import OwnerProcess
from engine.testing.programs import Code
from engine.testing.view import View

MACHINES = 3
SESSION_MS = 6_000
STOP_MS = 2_000
VERSIONS = 2


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation is made of besides its seed; made smaller, it is how a failure is shrunk.

    `strike` is a kind of fault and the occasion it takes: nothing else goes wrong then. With `focus` only
    these kinds do, and often.
    """

    seed: int
    clients: int = 4
    chaos_ms: int = 15_000
    strike: tuple[str, int] | None = None
    without: tuple[str, ...] = ()
    focus: tuple[str, ...] = ()
    is_quiet: bool = False


class World:
    """One simulation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = rng = self.stream("world")
        self.damage = self._draw_faults()
        self.broker = MemoryBroker(partitions=rng.choice((1, 2, 3)), command_partitions=rng.choice((1, 2)))
        self.codes = [Code(version, self._take_pill) for version in range(VERSIONS)]
        self.version = 0
        self.versions = [0]
        self.settings = OwnerSettings(
            commit_interval_ms=rng.choice((5, 25, 200)),
            commit_records_max=rng.choice((2, 5_000)),
            commit_bytes_max=rng.choice((1_000, 4_000_000)),
            uncommitted_records_max=rng.choice((3, 20, 20_000)),
            uncommitted_bytes_max=rng.choice((4_000, 64_000_000)),
            live_executions_max=rng.choice((1, 2, 20_000)),
            timers_per_tick_max=rng.choice((1, 500)),
            purge_records_max=rng.choice((2, 5, 2_000)),
            trim_interval_ms=rng.choice((200, 5_000)),
            retention=self._draw_retention(),
        )
        self.disks: list[dict[int, SimulatedStore]] = [{} for _ in range(MACHINES)]
        self.processes: list[OwnerProcess | None] = [None] * MACHINES
        self.view = View(self.broker)
        self.view.has_retention = bool(self.settings.retention.kept_ms())
        self.operator = Operator(self.broker, self.view)
        self.clients = [
            Client(self.broker, self.view, self.operator, f"w{n}", self.stream(f"client/{n}"))
            for n in range(plan.clients)
        ]
        for client in self.clients[::2]:
            client.has_pill = self.faults.draws("crash pill")
        self.passes = 0
        self.crashes = 0
        self._running: OwnerProcess | None = None
        self._died_in: list[set[str]] = [set() for _ in range(MACHINES)]
        self._tells_again_ms = 0
        for machine in range(MACHINES if rng.random() < 0.8 else 1):
            self._boot(machine)
        self.share_out()

    def stream(self, name: str) -> random.Random:
        """Chance for one purpose: what one draws changes nothing for the others."""
        return random.Random(f"{self.plan.seed}/{name}")

    def _draw_faults(self) -> str | None:
        plan, rng = self.plan, self.stream("personality")
        rates, loss = personality(rng), damage(rng)
        if plan.is_quiet or plan.strike is not None:
            rates, loss = {}, None
        if plan.focus:
            rates = {kind: 2 * KINDS[kind].rate_max for kind in plan.focus if kind in KINDS}
            loss = next((kind for kind in plan.focus if kind not in KINDS), None)
        rates = {kind: rate for kind, rate in rates.items() if kind not in plan.without}
        self.faults = Faults(str(plan.seed), rates, plan.strike)
        return None if loss in plan.without else loss

    def _draw_retention(self) -> RetentionPolicy:
        """None in most simulations; with one, runs go while others use their ids and their parents end."""
        rng = self.stream("retention")
        if rng.random() < 0.7:
            return RetentionPolicy()
        kept_ms = (None, 0, 300, 3_000)
        return RetentionPolicy(
            any_terminal_ms=rng.choice(kept_ms[1:]),
            completed_ms=rng.choice(kept_ms),
            failed_ms=rng.choice(kept_ms),
        )

    def begin(self) -> None:
        """Lets the clients come."""
        for client in self.clients:
            client.begin(self.rng.randrange(1 + self.plan.chaos_ms // 3))

    def step(self) -> None:
        """Time goes on to the next thing that happens, and every process that has something to do does it."""
        broker, rng = self.broker, self.rng
        broker.advance(max(broker.now_ms + 1, self._next_moment()))
        order = list(range(MACHINES))
        rng.shuffle(order)
        for machine in order:
            process = self.processes[machine]
            if process is None or broker.now_ms < process.paused_until_ms:
                continue
            if broker.now_ms >= process.wake_ms or process.has_news():
                self._pass(process)

    def calm(self) -> None:
        """No more faults: everything comes back with the newest code, and nothing is away for long."""
        self.faults.is_on = False
        for process in self.processes:
            if process is None:
                continue
            process.paused_until_ms = min(process.paused_until_ms, self.broker.now_ms + 100)
            if process.code is not self.codes[self.version]:
                self.crash(process)
        if not any(self.processes):
            self._boot(0)
            self.share_out()
        self._tell_assignment()
        self.broker.at(self.broker.now_ms + SESSION_MS, self.operator.begin)

    @property
    def is_at_rest(self) -> bool:
        """Whether every client is served and nothing is left to be done or waited for."""
        if not all(client.is_done for client in self.clients):
            return False
        for partition in self.broker.owner_of:
            process = self.process_of(partition)
            if process is None or not self.is_drained(partition):
                return False
            if any(seat.is_live for seat in process.owners[partition].turns.seats):
                return False
        return not self._is_any_expiring

    @property
    def _is_any_expiring(self) -> bool:
        """Whether there are instances that retention will still purge."""
        return self.view.has_retention and not self.view.ends().isdisjoint(self.settings.retention.kept_ms())

    def is_drained(self, partition: int) -> bool:
        """Whether its owner has nothing left to do."""
        broker, process = self.broker, self.process_of(partition)
        owner = None if process is None else process.owners.get(partition)
        if owner is None or owner.status is not OwnerStatus.LIVE or owner.backlog or owner._in_flight:
            return False
        checkpoint: Checkpoint | None = self.view.checkpoints[partition]
        if checkpoint is None or checkpoint.offset + 1 < broker.inbox[partition].end:
            return False
        if checkpoint.purges or any(m.assigned != m.acknowledged for m in checkpoint.outbox):
            return False
        return all(broker.commands[p].end <= offset for p, (offset, _) in broker.group_offsets.items())

    # --- processes ---

    def process_of(self, partition: int) -> OwnerProcess | None:
        """The living process that the group gives this partition to."""
        name = self.broker.owner_of.get(partition)
        return next((p for p in self.processes if p is not None and p.name == name), None)

    def phase_of(self, partition: int) -> str:
        """Where its rightful owner is in its life."""
        process = self.process_of(partition)
        return UNOWNED if process is None or partition not in process.owners else process.phase_of(partition)

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

    def _pass(self, process: OwnerProcess) -> None:
        self.passes += 1
        self._running = process
        try:
            process.pass_once()
        except SimulatedCrash:
            self.crash(process)
        finally:
            self._running = None

    def _take_pill(self) -> None:
        """Workflow code is about to end the process that runs it: the owner in whose turn it is."""
        process = self._running
        if process is not None:
            self.faults.doom(process.phase_in_turn())

    def crash(self, process: OwnerProcess) -> None:
        """The process is gone; its machine comes back."""
        machine = self.processes.index(process)
        self.crashes += 1
        self._died_in[machine] = set(process.phases.values())
        process.die()
        self.processes[machine] = None
        back_ms = self.broker.now_ms + self.faults.between(1, 2 * SESSION_MS)
        self.broker.at(back_ms, partial(self._boot, machine))
        self.broker.at(self.broker.now_ms + SESSION_MS, self.share_out)

    def restart(self, process: OwnerProcess) -> None:
        """Leaves the group in good order, ends when its owners are closed or its time is over, comes back."""
        process.is_leaving = True
        for given in (self.broker.owner_of, self.broker.ingress_of):
            for partition in [each for each, name in given.items() if name == process.name]:
                del given[partition]
        self.share_out()
        self._end_when_closed(process, self.broker.now_ms + STOP_MS)

    def _end_when_closed(self, process: OwnerProcess, deadline_ms: int) -> None:
        if process.is_dead:
            return
        if process.owners and self.broker.now_ms < deadline_ms:
            later = partial(self._end_when_closed, process, deadline_ms)
            self.broker.at(self.broker.now_ms + 100, later)
            return
        machine = self.processes.index(process)
        process.end()
        self.processes[machine] = None
        self.broker.at(self.broker.now_ms + 500, partial(self._boot, machine))

    def _boot(self, machine: int) -> None:
        if self.processes[machine] is not None:
            return
        if self.faults.draws("code changed"):
            self.version = (self.version + 1) % VERSIONS
            self.versions = sorted({*self.versions, self.version})
            for phase in self._died_in[machine]:
                self.faults.meet("code changed", phase)
        # A static member: it has its partitions back if it is back in time.
        self.processes[machine] = OwnerProcess(
            self.broker,
            f"m{machine}",
            self.disks[machine],
            self.faults,
            self.settings,
            self.codes[self.version],
        )
        self.share_out()

    # --- who has what ---

    def take_away(self, partition: int) -> None:
        """Gives a partition to somebody else, where there is one."""
        members = [p.name for p in self.processes if p is not None and not p.is_leaving]
        others = [name for name in members if name != self.broker.owner_of.get(partition)]
        if others:
            self.broker.owner_of[partition] = self.rng.choice(others)
            self._tell_assignment()

    def share_out(self) -> None:
        """Gives what belongs to no living member to one."""
        living = [p.name for p in self.processes if p is not None and not p.is_leaving]
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
            lost = process.log.ours - owned
            if self.faults.draws("double assignment"):
                # This member learns only what it gained; what it lost it keeps for a while.
                for partition in lost:
                    self.faults.meet("double assignment", process.phase_of(partition))
                process.log.ours = frozenset(owned | process.log.ours)
                if self._tells_again_ms <= self.broker.now_ms:
                    self._tells_again_ms = self.broker.now_ms + self.faults.between(1, 8_000)
                    self.broker.at(self._tells_again_ms, self._tell_assignment)
            else:
                process.log.ours = frozenset(owned)
            fed = {p for p, name in self.broker.ingress_of.items() if name == process.name}
            process.source.ours = frozenset(fed)
