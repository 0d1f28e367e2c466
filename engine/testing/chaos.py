"""What befalls whole processes, machines, topics and the group, step by step. Each fault tells whom it met.

Most strike by chance. In half of all seeds one of them is also aimed: it strikes the first partition that is
seen in a certain phase, for some phases last but a few milliseconds and chance would seldom meet them.
"""

import random
from collections.abc import Callable

from engine.codec.topics import CHECKPOINT_KEY
from engine.testing.faults import DAMAGES, INGRESS, KINDS, LIVE, UNOWNED, Faults
from engine.testing.machine import DRIFT_PER_MILLE_MAX, JUMP_MS_MAX
from engine.testing.memory_broker import MemoryBroker
from engine.testing.owner_process import OwnerProcess
from engine.testing.vandal import Vandal
from engine.testing.world import World

LONG_PAUSE_MS = 600_000
TAIL_RECORDS_MAX = 5
NUDGE = 0.02


class Chaos:
    """The chance events of one simulation."""

    def __init__(self, world: World, damage: str | None, rng: random.Random) -> None:
        self.damage = damage
        self.damaged_partition: int | None = None
        self.damaged_offset = -1
        self._world = world
        self._rng = rng
        self._vandal = Vandal(world.broker, rng)
        self._aim: tuple[str, str] | None = None
        kinds = [kind for kind in _AT_PARTITIONS if world.faults.has(kind)]
        if kinds and rng.random() < 0.5:
            kind = rng.choice(kinds)
            self._aim = (kind, rng.choice(KINDS[kind].phases))
        if damage is not None:
            self._aim = (damage, rng.choice(DAMAGES[damage].phases))
        self._damage_ms = world.broker.now_ms + rng.randrange(world.plan.chaos_ms)

    @property
    def faults(self) -> Faults:
        """Their rates."""
        return self._world.faults

    @property
    def broker(self) -> MemoryBroker:
        """Whose topics they are."""
        return self._world.broker

    def step(self) -> None:
        """One chance for everything."""
        for kind, strike in _AT_PARTITIONS.items():
            if self.faults.draws(kind):
                self._strike(kind, strike, self._rng.randrange(self.broker.identity.partitions))
        for kind, strike_at_ingress in _AT_INGRESS.items():
            if self.faults.hit(kind, INGRESS):
                strike_at_ingress(self)
        if self._aim is not None:
            self._take_aim(*self._aim)

    def last_chance(self) -> None:
        """Damage that has not found its phase comes at the end, whatever the phase."""
        if self.damage is not None and self.damaged_partition is None:
            partition = self._rng.randrange(self.broker.identity.partitions)
            self._strike(self.damage, _DAMAGES[self.damage], partition)

    def _take_aim(self, kind: str, phase: str) -> None:
        if phase != LIVE and self._rng.random() < NUDGE:
            # Owners that live undisturbed would never be seen in that phase.
            self._rebalance(self._rng.randrange(self.broker.identity.partitions))
        if kind in DAMAGES and self.broker.now_ms < self._damage_ms:
            return
        for partition in range(self.broker.identity.partitions):
            if phase in self._phases_met(kind, partition):
                self._aim = None
                self.faults.meet(kind, phase)
                (_AT_PARTITIONS | _DAMAGES)[kind](self, partition)
                return

    def _phases_met(self, kind: str, partition: int) -> set[str]:
        """Damage meets all owners there are: one that stops has a successor by then."""
        if kind not in DAMAGES:
            return {self._world.phase_of(partition)}
        phases = {process.phase_of(partition) for process in self._world.processes if process is not None}
        return phases - {UNOWNED} or {UNOWNED}

    def _strike(self, kind: str, strike: "Callable[[Chaos, int], None]", partition: int) -> None:
        self.faults.meet(kind, self._world.phase_of(partition))
        strike(self, partition)

    # --- processes ---

    def _process_of(self, partition: int) -> OwnerProcess | None:
        return self._world.process_of(partition)

    def _crash(self, partition: int) -> None:
        process = self._process_of(partition)
        if process is not None:
            self._world.crash(process)

    def _pause(self, partition: int) -> None:
        process = self._process_of(partition)
        if process is not None:
            longest_ms = LONG_PAUSE_MS if self._rng.random() < 0.02 else 20_000
            process.paused_until_ms = self.broker.now_ms + self.faults.between(1, longest_ms)

    def _restart(self, partition: int) -> None:
        process = self._process_of(partition)
        if process is not None:
            self._world.restart(process)

    def _drift(self, partition: int) -> None:
        process = self._process_of(partition)
        if process is not None:
            process.clock.drift(self._rng.randint(-DRIFT_PER_MILLE_MAX, DRIFT_PER_MILLE_MAX))

    def _jump(self, partition: int) -> None:
        process = self._process_of(partition)
        if process is not None:
            process.clock.jump(self.faults.between(1, JUMP_MS_MAX))

    # --- the group ---

    def _rebalance(self, partition: int) -> None:
        self._world.take_away(partition)

    def _zombie_claim(self, partition: int) -> None:
        self.broker.epochs[partition][self._rng.randrange(2)] += 1

    def _move_ingress(self) -> None:
        self.broker.ingress_of.pop(self._rng.randrange(len(self.broker.commands)), None)
        self._world.share_out()

    # --- the brokers' clocks ---

    def _step_clock(self, partition: int) -> None:
        step_ms = self._rng.choice((0, -3_000, 3_000, -60_000))
        self._rng.choice((self.broker.inbox_skew_ms, self.broker.history_skew_ms))[partition] = step_ms

    def _move_leader(self, partition: int) -> None:
        """Another broker stamps from now on, and its clock is behind the one before it."""
        skews = self._rng.choice((self.broker.inbox_skew_ms, self.broker.history_skew_ms))
        skews[partition] -= self._rng.choice((5, 400, 30_000))

    # --- what is in the topics ---

    def _compact(self, partition: int) -> None:
        topic = self.broker.history[partition]
        # Tombstones expire only after days; by then no store that has not seen them is believed any more.
        disks = self._world.disks
        seen = [disk[partition].oldest_position() for disk in disks if partition in disk]
        # The active segment is never compacted, and what a torn transaction left is in it.
        end = max((r.offset for r in topic.records if r.key == CHECKPOINT_KEY), default=topic.start)
        upto = self._rng.randint(topic.start, end)
        expired = self._rng.choice((0, min([upto, *seen])))
        topic.compact(upto, expired)

    def _hold_commands(self) -> None:
        partition = self._rng.randrange(len(self.broker.commands))
        self.broker.hold_commands(partition, self.faults.between(10, 10_000))

    def _undecodable_command(self) -> None:
        self._vandal.undecodable_command()

    def _oversize_command(self) -> None:
        self._vandal.oversize_command()

    def _undecodable_record(self, partition: int) -> None:
        self._vandal.undecodable_record(partition)

    def _oversize_record(self, partition: int) -> None:
        self._vandal.oversize_record(partition)

    # --- damage ---

    def _lose_tail(self, partition: int, name: str) -> None:
        self._damage(partition)
        checkpoint = self._world.view.checkpoint_of(partition)
        topic = (self.broker.inbox if name == "inbox" else self.broker.history)[partition]
        self.broker.lose_tail(name, partition, self._rng.randint(1, TAIL_RECORDS_MAX))
        if name == "inbox" and checkpoint is not None and checkpoint.offset >= topic.end:
            self.damaged_offset = checkpoint.offset

    def _damage(self, partition: int) -> None:
        self.damaged_partition = partition
        self._world.view.is_stale = True

    def _lose_inbox_tail(self, partition: int) -> None:
        self._lose_tail(partition, "inbox")

    def _lose_history_tail(self, partition: int) -> None:
        self._lose_tail(partition, "history")

    def _recreate_inbox(self, partition: int) -> None:
        self._damage(partition)
        self.broker.recreate("inbox")

    def _recreate_history(self, partition: int) -> None:
        self._damage(partition)
        self.broker.recreate("history")


_AT_PARTITIONS: dict[str, Callable[[Chaos, int], None]] = {
    "crash": Chaos._crash,
    "pause": Chaos._pause,
    "restart": Chaos._restart,
    "clock drift": Chaos._drift,
    "clock jump": Chaos._jump,
    "rebalance": Chaos._rebalance,
    "zombie claim": Chaos._zombie_claim,
    "clock step": Chaos._step_clock,
    "leader moves": Chaos._move_leader,
    "compaction": Chaos._compact,
    "undecodable record": Chaos._undecodable_record,
    "oversize record": Chaos._oversize_record,
}
_AT_INGRESS: dict[str, Callable[[Chaos], None]] = {
    "ingress moves": Chaos._move_ingress,
    "commands held": Chaos._hold_commands,
    "undecodable command": Chaos._undecodable_command,
    "oversize command": Chaos._oversize_command,
}
_DAMAGES: dict[str, Callable[[Chaos, int], None]] = {
    "inbox tail lost": Chaos._lose_inbox_tail,
    "history tail lost": Chaos._lose_history_tail,
    "inbox re-created": Chaos._recreate_inbox,
    "history re-created": Chaos._recreate_history,
}
