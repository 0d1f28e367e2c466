"""What goes wrong in a simulation, drawn from one seed. Never from the machine's clock or chance.

A seed has a personality: some kinds of faults with their rates. Turned off, nothing goes wrong any more, so
that what must end can end. Each kind has a stream of chance of its own: a run without one kind meets the
others as before, which is what makes a failure shrink.
"""

import random
from collections import Counter

import msgspec

from engine.partition.status import OwnerStatus

FENCING = OwnerStatus.FENCING.value
CATCHING_UP = OwnerStatus.CATCHING_UP.value
LIVE = OwnerStatus.LIVE.value
STOPPING = OwnerStatus.STOPPING.value
UNOWNED = "unowned"
INGRESS = "ingress"

OWNED = (FENCING, CATCHING_UP, LIVE, STOPPING)
ALWAYS = (*OWNED, UNOWNED)


class Kind(msgspec.Struct, frozen=True):
    """A kind of fault: its highest rate per occasion, and where in an owner's life it must be met.

    A phase that is not named is one where the fault can't happen, or comes too rarely to be asked for.
    """

    rate_max: float
    phases: tuple[str, ...]


KINDS: dict[str, Kind] = {
    # The log's answers.
    "append lost": Kind(0.1, (LIVE, INGRESS)),
    "append ack lost": Kind(0.1, (LIVE, INGRESS)),
    "append late": Kind(0.1, (LIVE, INGRESS)),
    "append twice": Kind(0.1, (LIVE, INGRESS)),
    "commit fenced": Kind(0.05, OWNED),
    "commit doubt, done": Kind(0.05, OWNED),
    "commit doubt, not done": Kind(0.05, OWNED),
    "commit doubt, done late": Kind(0.05, OWNED),
    "commit torn": Kind(0.1, OWNED),
    "commit slow": Kind(0.05, OWNED),
    "claim fails": Kind(0.1, (FENCING,)),
    "last stable offset stalls": Kind(0.05, (FENCING,)),
    "poll empty": Kind(0.1, (CATCHING_UP, LIVE)),
    "commands held": Kind(0.01, (INGRESS,)),
    # The group.
    "zombie claim": Kind(0.02, OWNED),
    "rebalance": Kind(0.04, OWNED),
    "double assignment": Kind(0.3, (LIVE,)),
    "ingress moves": Kind(0.01, (INGRESS,)),
    # Processes and machines.
    "crash": Kind(0.01, (*OWNED, INGRESS)),
    "crash pill": Kind(0.5, (CATCHING_UP, LIVE)),
    "pause": Kind(0.01, OWNED),
    "restart": Kind(0.01, OWNED),
    "code changed": Kind(0.5, (FENCING, CATCHING_UP, LIVE)),
    "activity twice": Kind(0.1, (LIVE,)),
    "store deleted": Kind(0.5, (FENCING, CATCHING_UP, LIVE)),
    "store stale": Kind(0.7, (FENCING, CATCHING_UP, LIVE)),
    "store key lost": Kind(0.5, (FENCING, CATCHING_UP, LIVE)),
    "store corrupt": Kind(0.01, (FENCING, CATCHING_UP, LIVE)),
    # Time.
    "clock step": Kind(0.01, ALWAYS),
    "leader moves": Kind(0.01, ALWAYS),
    "clock drift": Kind(0.01, OWNED),
    "clock jump": Kind(0.01, OWNED),
    # The topics' contents.
    "compaction": Kind(0.02, ALWAYS),
    "undecodable command": Kind(0.01, (INGRESS,)),
    "oversize command": Kind(0.002, (INGRESS,)),
    "undecodable record": Kind(0.01, ALWAYS),
    "oversize record": Kind(0.002, ALWAYS),
}

# What no acknowledged write survives. Such a world is judged by other rules: the loss must be noticed, and
# what was not lost must be right.
DAMAGES: dict[str, Kind] = {
    "inbox tail lost": Kind(0.0, ALWAYS),
    "history tail lost": Kind(0.0, ALWAYS),
    "inbox re-created": Kind(0.0, ALWAYS),
    "history re-created": Kind(0.0, ALWAYS),
}


class SimulatedCrash(BaseException):
    """The process dies here. No handler of the engine may stop it, hence no Exception."""


class Faults:
    """One simulation's chance. `hit` asks whether something goes wrong now, `point` marks a place to die.

    With `strike` a kind happens at its k-th occasion and no other, whatever the rates.
    """

    def __init__(self, seed: str, rates: dict[str, float], strike: tuple[str, int] | None = None) -> None:
        self.rng = random.Random(f"{seed}/chance")
        self.is_on = True
        self.points = 0
        self.occasions = 0
        self.met: Counter[tuple[str, str]] = Counter()
        self._rates = rates
        self._streams = {kind: random.Random(f"{seed}/{kind}") for kind in rates}
        self._strike, self._strike_at = strike or ("", 0)
        self._is_doomed = False

    @property
    def counts(self) -> Counter[str]:
        """How often each kind has happened."""
        counts: Counter[str] = Counter()
        for (kind, _), count in self.met.items():
            counts[kind] += count
        return counts

    def has(self, kind: str) -> bool:
        """Whether this kind may happen in this simulation at all."""
        return bool(self._rates.get(kind)) or kind == self._strike

    def draws(self, kind: str) -> bool:
        """Whether this kind of fault happens on this occasion. Whoever it befalls is told by `meet`."""
        if not self.is_on:
            return False
        if kind == self._strike:
            self.occasions += 1
            return self.occasions == self._strike_at
        rate = self._rates.get(kind)
        return rate is not None and self._streams[kind].random() < rate

    def meet(self, kind: str, phase: str) -> None:
        """This kind has befallen somebody in that phase."""
        assert kind in KINDS or kind in DAMAGES, f"expected a known kind of fault, but got {kind!r}"
        self.met[(kind, phase)] += 1

    def hit(self, kind: str, phase: str) -> bool:
        """`draws`, where it is known who will be met."""
        if not self.draws(kind):
            return False
        self.meet(kind, phase)
        return True

    def point(self, where: str, phase: str) -> None:
        """Before or after some IO, where a process may die."""
        self.points += 1
        if self._is_doomed or self.hit("crash", phase):
            self._is_doomed = False
            raise SimulatedCrash(where)

    def doom(self, phase: str) -> None:
        """The code that runs now will have ended its process before any more IO."""
        self._is_doomed = True
        self.meet("crash pill", phase)

    def between(self, low_ms: int, high_ms: int) -> int:
        """A span, mostly near the low end, as latencies are."""
        return low_ms + int((high_ms - low_ms) * self.rng.random() ** 3)


def personality(rng: random.Random) -> dict[str, float]:
    """The rates of one seed: none (5 %), one kind alone (20 %), or a mixture."""
    draw = rng.random()
    if draw < 0.05:
        return {}
    if draw < 0.25:
        kind = rng.choice(list(KINDS))
        return {kind: KINDS[kind].rate_max, "double assignment": 0.3}
    chosen = [kind for kind in KINDS if rng.random() < 0.5]
    return {kind: KINDS[kind].rate_max * rng.random() for kind in chosen}


def damage(rng: random.Random) -> str | None:
    """What one seed in twelve loses."""
    return rng.choice(list(DAMAGES)) if rng.random() < 0.08 else None
