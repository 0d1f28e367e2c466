"""`python -m tests.sim.run --seeds 0-2000 [--seed N] [--mutant NAME] [--systematic N]`: many seeds, or one.

A failing seed prints the one line that repeats it, and the smallest plan found that still fails.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext

import msgspec

from engine.testing.faults import RATES_MAX
from engine.testing.simulation import Report, simulate
from engine.testing.world import Plan
from tests.sim.mutants import FOCUS, MUTANTS

SEEDS_PER_MUTANT = 500
COUNTED = (
    "virtual_ms",
    "passes",
    "crashes",
    "commits",
    "inbox_records",
    "activities",
    "torn",
    "points",
    "quarantines",
)


def failure_of(plan: Plan) -> BaseException | None:
    """What goes wrong with this plan; whatever the engine raises is a finding too."""
    try:
        simulate(plan)
    except Exception as error:
        return error
    return None


def killed_by(mutant: str, seeds: range) -> tuple[int, BaseException] | None:
    """The first seed that notices the planted bug, and by what."""
    with MUTANTS[mutant]():
        for seed in seeds:
            error = failure_of(Plan(seed=seed, focus=FOCUS.get(mutant, ())))
            if error is not None:
                return seed, error
    return None


def points_until_untouched(seed: int, crash_points_max: int) -> Iterator[tuple[int, BaseException | None]]:
    """Crashes at the k-th IO for k = 1, 2, 3 … until a run has fewer; else no fault at all."""
    for crash_at in range(1, crash_points_max + 1):
        plan = Plan(seed=seed, clients=2, crash_at=crash_at, is_quiet=True)
        try:
            report = simulate(plan)
        except Exception as error:
            yield crash_at, error
            continue
        yield crash_at, None
        if report.crashes == 0:
            return


def shrink(plan: Plan) -> Plan:
    """The plan with fewer kinds of faults, clients and less time, for as long as it still fails."""
    best = plan
    for kind in sorted(RATES_MAX):
        smaller = msgspec.structs.replace(best, without=(*best.without, kind))
        if failure_of(smaller) is not None:
            best = smaller
    for clients in range(1, best.clients):
        smaller = msgspec.structs.replace(best, clients=clients)
        if failure_of(smaller) is not None:
            best = smaller
            break
    while best.chaos_ms > 500:
        smaller = msgspec.structs.replace(best, chaos_ms=best.chaos_ms // 2)
        if failure_of(smaller) is None:
            break
        best = smaller
    return best


def run_seeds(seeds: range, mutant: str | None, *, is_shrinking: bool) -> int:
    """How many fail. Prints a line for each, and what all of them did."""
    totals: Counter[str] = Counter()
    failed = 0
    began = time.monotonic()
    with MUTANTS[mutant]() if mutant else nullcontext():
        for seed in seeds:
            try:
                count(totals, simulate(Plan(seed=seed)))
            except Exception as error:
                failed += 1
                option = f" --mutant '{mutant}'" if mutant else ""
                what = f"{type(error).__name__}: {error!s:.400}"
                print(f"python -m tests.sim.run --seed {seed}{option}  # {what}")
                if is_shrinking:
                    print(f"    smallest: {shrink(Plan(seed=seed))}")
    print(f"{len(seeds)} seeds, {failed} failed, {time.monotonic() - began:.1f} s: {dict(totals)}")
    return failed


def count(totals: Counter[str], report: Report) -> None:
    """Adds one run to what all runs did."""
    for name in COUNTED:
        totals[name] += getattr(report, name)
    totals.update(report.checks)
    totals.update(report.faults)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-200")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    parser.add_argument("--all-mutants", action="store_true")
    parser.add_argument("--shrink", action="store_true")
    parser.add_argument("--systematic", type=int, help="crash at each IO of this seed in turn")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if options.all_mutants:
        return _run_mutants()
    if options.systematic is not None:
        outcomes = list(points_until_untouched(options.systematic, 100_000))
        found = [f"{at}: {error}" for at, error in outcomes if error is not None]
        print("\n".join(found) or f"each of {len(outcomes)} crashes was survived")
        return len(found)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    return run_seeds(seeds, options.mutant, is_shrinking=options.shrink)


def _run_mutants() -> int:
    survivors = 0
    for name in MUTANTS:
        killed = killed_by(name, range(SEEDS_PER_MUTANT))
        survivors += killed is None
        verdict = "SURVIVED" if killed is None else f"seed {killed[0]}: {killed[1]!s:.150}"
        print(f"{name}: {verdict}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(min(1, main()))
