"""A failure is told by one line that repeats it, and made as small as it goes."""

import shlex

import pytest

from engine.testing.faults import KINDS
from engine.testing.world import Plan
from tests.sim import run
from tests.sim.mutants import MUTANTS
from tests.sim.shrinking import command_of, shrink

MUTANT = "wall clock in a turn"


@pytest.mark.parametrize(
    "plan",
    [
        Plan(seed=7),
        Plan(seed=7, clients=2, chaos_ms=700, without=("crash", "commit doubt, done"), is_quiet=True),
        Plan(seed=0, strike=("commit doubt, done", 3), focus=("append lost",)),
    ],
)
def test_the_line_that_is_printed_says_the_whole_plan(plan: Plan) -> None:
    words = shlex.split(command_of(plan, MUTANT))
    options = run._parser().parse_args(words[3:])

    assert run._plan_of(options) == plan
    assert options.mutant == MUTANT


def test_a_failing_plan_shrinks_to_one_that_still_fails_and_no_smaller_one() -> None:
    with MUTANTS[MUTANT].plant():
        failing = Plan(
            seed=0, clients=2, chaos_ms=2_000, without=tuple(kind for kind in KINDS if kind[0] != "c")
        )
        assert run.try_plan(failing).report is None

        smallest = shrink(failing)

        assert run.try_plan(smallest).report is None
    assert smallest.clients <= failing.clients
    assert smallest.chaos_ms < failing.chaos_ms
