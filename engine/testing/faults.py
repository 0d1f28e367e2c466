"""What goes wrong in a simulation, drawn from one seeded source. Never from the machine's clock or chance.

A seed has a personality: some kinds of faults with their rates. Turned off, nothing goes wrong any more, so
that what must end can end.
"""

import random
from collections import Counter

# Each kind with the highest rate a personality may give it, per occasion.
RATES_MAX: dict[str, float] = {
    "append lost": 0.1,
    "append ack lost": 0.1,
    "append late": 0.1,
    "commit fenced": 0.05,
    "commit doubt, done": 0.05,
    "commit doubt, not done": 0.05,
    "commit doubt, done late": 0.05,
    "commit torn": 0.1,
    "commit slow": 0.05,
    "zombie claim": 0.02,
    "claim fails": 0.1,
    "last stable offset stalls": 0.05,
    "poll empty": 0.1,
    "crash": 0.01,
    "pause": 0.01,
    "rebalance": 0.01,
    "double assignment": 0.3,
    "clock step": 0.01,
    "compaction": 0.02,
    "store deleted": 0.5,
    "store stale": 0.7,
    "store corrupt": 0.01,
    "activity twice": 0.1,
    "ingress moves": 0.01,
}


class SimulatedCrash(BaseException):
    """The process dies here. No handler of the engine may stop it, hence no Exception."""


class Faults:
    """One simulation's chance. `hit` asks whether something goes wrong now, `point` marks a place to die."""

    def __init__(self, rng: random.Random, rates: dict[str, float], crash_at: int = 0) -> None:
        self.rng = rng
        self.is_on = True
        self.points = 0
        self.counts: Counter[str] = Counter()
        self._rates = rates
        self._crash_at = crash_at

    def hit(self, kind: str) -> bool:
        """Whether this kind of fault happens on this occasion."""
        assert kind in RATES_MAX, f"expected a known kind of fault, but got {kind!r}"
        rate = self._rates.get(kind, 0.0)
        if not rate or not self.is_on or self.rng.random() >= rate:
            return False
        self.counts[kind] += 1
        return True

    def point(self, where: str) -> None:
        """Before or after some IO, where a process may die: at the k-th if asked for, or by chance."""
        self.points += 1
        if (self.is_on and self.points == self._crash_at) or self.hit("crash"):
            raise SimulatedCrash(where)

    def between(self, low_ms: int, high_ms: int) -> int:
        """A span, mostly near the low end, as latencies are."""
        return low_ms + int((high_ms - low_ms) * self.rng.random() ** 3)


def personality(rng: random.Random) -> dict[str, float]:
    """The rates of one seed: none (5 %), one kind alone (20 %), or a mixture."""
    draw = rng.random()
    if draw < 0.05:
        return {}
    kinds = sorted(RATES_MAX)
    if draw < 0.25:
        kind = rng.choice(kinds)
        return {kind: RATES_MAX[kind], "double assignment": 0.3}
    chosen = [kind for kind in kinds if rng.random() < 0.5]
    return {kind: RATES_MAX[kind] * rng.random() for kind in chosen}
