"""Planted bugs that a few seeds must notice; `python -m tests.sim.run --all-mutants` tries all of them."""

import pytest

from tests.sim.mutants import MUTANTS
from tests.sim.run import killed_by

QUICK_SEEDS = 12
QUICK = [
    "no source dedup",
    "held events reversed",
    "wall clock in a turn",
    "outbox sent before commit",
    "purge leaves a key",
    "fence ignored",
]


@pytest.mark.parametrize("mutant", QUICK)
def test_a_planted_bug_is_noticed(mutant: str) -> None:
    assert killed_by(mutant, range(QUICK_SEEDS)) is not None


def test_every_planted_bug_touches_code_that_is_there() -> None:
    for make in MUTANTS.values():
        with make():
            pass
