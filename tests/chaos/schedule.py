"""When which fault begins. One thread takes all of them on, a step each time it is asked; never waits."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.chaos.faults import FAULTS, Condition, Steps, Target

# For what must come true, on a machine of any load.
PATIENCE_SECONDS = 240.0
STANDSTILL_SECONDS = 2.0


class Patience:
    """How long something may take. Time in which all of the machine stood still, we too, does not count."""

    def __init__(self, seconds: float = PATIENCE_SECONDS) -> None:
        self._left = seconds
        self._asked_at = time.monotonic()

    def is_over(self) -> bool:
        """To be asked often."""
        now = time.monotonic()
        self._left -= min(now - self._asked_at, STANDSTILL_SECONDS)
        self._asked_at = now
        return self._left < 0


class _Active:
    """A fault under way."""

    def __init__(self, name: str, steps: Steps) -> None:
        self.name = name
        self.due = 0.0
        self.condition: Condition | None = None
        self._patience = Patience()
        self._steps = steps

    def is_due(self, now: float) -> bool:
        if self.condition is None:
            return now >= self.due
        if self.condition():
            return True
        assert not self._patience.is_over(), f"{self.name}: what it waits for does not come"
        return False

    def step(self) -> bool:
        """Whether there is more to come."""
        wait = next(self._steps, None)
        if wait is None:
            return False
        now = time.monotonic()
        if callable(wait):
            self.condition, self._patience = wait, Patience()
        else:
            self.condition, self.due = None, now + wait
        return True


class Schedule:
    """Deals faults from a shuffled pack of all kinds: none is dealt twice before each was dealt once."""

    def __init__(
        self, target: Target, kinds: Sequence[str], rng: random.Random, together_max: int, pause: float
    ) -> None:
        self._target = target
        self._kinds = list(kinds)
        self._rng = rng
        self._together_max = together_max
        self._pause = pause
        self._pack: list[str] = []
        self._active: list[_Active] = []
        self._next_at = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether everything is mended."""
        return not self._active

    def deal(self) -> None:
        """Begins the next fault, if it is time and not too many are under way."""
        now = time.monotonic()
        if len(self._active) >= self._together_max or now < self._next_at:
            return
        if not self._pack:
            self._pack = self._rng.sample(self._kinds, len(self._kinds))
        self.begin(self._pack.pop())
        self._next_at = now + self._rng.uniform(0.2, 1) * self._pause

    def begin(self, kind: str) -> None:
        """This one, now. It counts if it found somebody to befall."""
        fault = _Active(kind, FAULTS[kind](self._target))
        if fault.step():
            self._active.append(fault)
            self._target.counts[kind] += 1
            with (self._target.directory / "faults.txt").open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {kind}\n")

    def step(self) -> None:
        """Takes each fault that is due one step on."""
        now = time.monotonic()
        for fault in list(self._active):
            if fault.is_due(now) and not fault.step():
                self._active.remove(fault)
