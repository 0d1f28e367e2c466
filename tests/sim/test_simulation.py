"""A slice of the simulator for every commit: whole clusters under chaos, and a crash at each IO in turn."""

from collections import Counter

import pytest

from engine.testing.faults import RATES_MAX
from engine.testing.simulation import simulate
from engine.testing.world import Plan
from tests.sim.run import count, points_until_untouched

SEEDS = 100


def test_a_hundred_clusters_under_chaos_break_no_invariant() -> None:
    totals: Counter[str] = Counter()
    for seed in range(SEEDS):
        count(totals, simulate(Plan(seed=seed)))

    # Passing because nothing happened would be worse than failing.
    assert totals["commits"] > 20 * SEEDS
    assert totals["activities"] > 5 * SEEDS
    assert totals["crashes"] > SEEDS // 2
    assert totals["torn"] > SEEDS // 20
    assert [kind for kind in RATES_MAX if not totals[kind]] == []


def test_a_seed_gives_the_same_run_every_time() -> None:
    assert simulate(Plan(seed=7)) == simulate(Plan(seed=7))


@pytest.mark.parametrize("seed", [1])
def test_a_crash_at_any_io_is_survived(seed: int) -> None:
    outcomes = list(points_until_untouched(seed, crash_points_max=60))

    assert [(at, error) for at, error in outcomes if error is not None] == []
    assert len(outcomes) >= 60
