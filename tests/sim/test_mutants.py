"""Planted bugs that a few seeds must notice; `make mutants` tries all of them, on up to 500 seeds each."""

import pytest

from tests.sim.mutants import MUTANTS
from tests.sim.planted import kill

INVARIANTS = [f"I{number}" for number in range(1, 13)]
MUTANTS_MIN = 30
QUICK_SEEDS = 16
# One for each invariant, of those that die in the first seeds.
QUICK = [
    "no source dedup",
    "event left out of a commit",
    "activities not begun again",
    "equal events merged",
    "timer fires early",
    "wall clock in a turn",
    "status not shown",
    "stub lost on reuse",
    "no epoch check",
    "never careful",
    "executions never let go",
    "outbox sent before commit",
]


def test_every_invariant_has_a_planted_bug_that_breaks_it() -> None:
    assert len(MUTANTS) >= MUTANTS_MIN
    broken = {mutant.breaks for mutant in MUTANTS.values()} - {"AssertionError"}
    assert sorted(broken, key=INVARIANTS.index) == INVARIANTS


def test_the_quick_ones_break_every_invariant() -> None:
    assert [MUTANTS[name].breaks for name in QUICK] == INVARIANTS


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_noticed_as_what_it_breaks(name: str) -> None:
    found = kill(name, QUICK_SEEDS)

    assert found.is_named, found.words


def test_every_planted_bug_touches_code_that_is_there() -> None:
    for mutant in MUTANTS.values():
        with mutant.plant():
            pass
