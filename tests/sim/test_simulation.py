"""A slice of the simulator for every commit: whole clusters under chaos, and a failure of each IO in turn."""

import pytest

from engine.testing.simulation import simulate
from engine.testing.world import Plan
from tests.sim.campaign import Totals, try_plans
from tests.sim.systematic import until_untouched

SEEDS = 50
# What a slice is too small to meet everywhere; `make sim` asks for all of it.
RARE = (
    "while stopping",
    "while fencing",
    "while catching up",
    "while unowned",
    "tail lost",
    "re-created",
    "InstanceUnstalled",
)


def test_clusters_under_chaos_break_no_invariant() -> None:
    totals = Totals()
    plans = [Plan(seed=seed) for seed in range(SEEDS)]
    failures = []
    for outcome in try_plans(plans, processes=1):
        if outcome.report is None:
            failures.append((outcome.plan.seed, outcome.failure))
        else:
            totals.add(outcome.report)

    assert failures == []
    # Passing because nothing happened would be worse than failing.
    assert totals.counts["commits"] > 20 * SEEDS
    assert totals.counts["activities"] > 5 * SEEDS
    assert totals.counts["crashes"] > SEEDS // 2
    assert totals.counts["torn"] > 0
    assert [gap for gap in totals.gaps() if not any(rare in gap for rare in RARE)] == []


def test_a_seed_gives_the_same_run_every_time() -> None:
    assert simulate(Plan(seed=7)) == simulate(Plan(seed=7))


def test_a_kind_of_fault_left_out_leaves_the_others_as_they_were() -> None:
    plan = Plan(seed=13, chaos_ms=1)

    assert simulate(plan).met == simulate(Plan(seed=13, chaos_ms=1, without=("commit torn",))).met


@pytest.mark.parametrize("kind", ["crash", "commit torn", "append ack lost"])
def test_a_failure_of_any_io_is_survived(kind: str) -> None:
    outcomes = list(until_untouched(1, kind, occasions_max=20))

    assert [each.failure for each in outcomes if each.report is None] == []
    assert len(outcomes) == 20


def test_counting_through_the_failures_ends_with_a_run_that_none_has_touched() -> None:
    outcomes = list(until_untouched(2, "claim fails"))

    assert [each.failure for each in outcomes if each.report is None] == []
    met = [each.report.met for each in outcomes if each.report is not None]
    assert met[-1] == {}
    assert all(met[:-1])
