"""`make sim`: two thousand clusters under chaos, then each IO of a few failed in turn. Or `--seed`: just one.

A failing seed prints the one line that repeats it, and the line of the smallest plan found that still fails.
The whole is refused where a kind of fault met no owner in one of its phases, or a checker saw nothing.
"""

import argparse
import sys
import time
from collections import Counter
from contextlib import nullcontext

from engine.testing.faults import DAMAGES, KINDS
from engine.testing.world import Plan
from tests.sim.campaign import Outcome, Totals, cores, try_plan, try_plans
from tests.sim.mutants import MUTANTS
from tests.sim.planted import run_mutants
from tests.sim.shrinking import command_of, shrink
from tests.sim.systematic import strike_all

SEEDS = "0-1999"
SYSTEMATIC_SEEDS = "1-2"
SHRUNK_MAX = 3


def main() -> int:
    """The command."""
    options = _parser().parse_args()
    if options.all_mutants:
        return run_mutants(options.processes)
    if options.seed is not None:
        return _run_plan(_plan_of(options), options.mutant)
    failures = _run_seeds(_range(options.seeds), options)
    if options.systematic:
        failures += _run_systematic(_range(options.systematic), options.processes)
    return failures


def _run_plan(plan: Plan, mutant: str | None) -> int:
    with MUTANTS[mutant].plant() if mutant is not None else nullcontext():
        outcome = try_plan(plan)
    print(
        outcome.report if outcome.report is not None else f"{command_of(plan, mutant)}  # {outcome.failure}"
    )
    return int(outcome.report is None)


def _run_seeds(seeds: range, options: argparse.Namespace) -> int:
    totals, began, failed = Totals(), time.monotonic(), 0
    plans = (Plan(seed=seed) for seed in seeds)
    for outcome in try_plans(plans, options.processes, options.mutant):
        if outcome.report is not None:
            totals.add(outcome.report)
            continue
        failed += 1
        _tell(outcome, options.mutant, is_shrinking=failed <= SHRUNK_MAX and options.mutant is None)
    print(f"{len(seeds)} seeds, {failed} failed, {time.monotonic() - began:.1f} s")
    print(f"did: {dict(totals.counts)}\nchecked: {dict(totals.checks)}\nfaults by phase:\n{totals.table()}")
    if options.seeds != SEEDS:
        return failed
    gaps = totals.gaps()
    for gap in gaps:
        print(f"not covered: {gap}")
    return failed + len(gaps)


def _run_systematic(seeds: range, processes: int) -> int:
    runs: Counter[str] = Counter()
    failed = 0
    for kind, outcomes in strike_all(seeds, processes):
        runs[kind] += len(outcomes)
        for outcome in outcomes:
            if outcome.report is None:
                failed += 1
                _tell(outcome, None, is_shrinking=False)
    print(f"each IO of {len(seeds)} seeds failed in turn, {failed} runs failed: {dict(sorted(runs.items()))}")
    return failed


def _tell(outcome: Outcome, mutant: str | None, *, is_shrinking: bool) -> None:
    print(f"{command_of(outcome.plan, mutant)}  # {outcome.failure}", flush=True)
    if is_shrinking:
        print(f"    smallest: {command_of(shrink(outcome.plan))}", flush=True)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _plan_of(options: argparse.Namespace) -> Plan:
    kind, _, occasion = (options.strike or "").rpartition(":")
    return Plan(
        seed=options.seed,
        clients=options.clients,
        chaos_ms=options.chaos_ms,
        strike=(kind, int(occasion)) if kind else None,
        without=tuple(options.without),
        focus=tuple(options.focus),
        is_quiet=options.quiet,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = sorted((*KINDS, *DAMAGES))
    parser.add_argument("--seeds", default=SEEDS, help=f"first-last, by default {SEEDS}")
    parser.add_argument("--systematic", default=SYSTEMATIC_SEEDS, help="the seeds whose every IO fails once")
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--all-mutants", action="store_true", help="plants each bug and looks who notices")
    one = parser.add_argument_group("one plan")
    one.add_argument("--seed", type=int)
    one.add_argument("--clients", type=int, default=Plan(seed=0).clients)
    one.add_argument("--chaos-ms", type=int, default=Plan(seed=0).chaos_ms)
    one.add_argument("--strike", help="kind:occasion, and nothing else goes wrong")
    one.add_argument("--without", action="append", default=[], choices=kinds)
    one.add_argument("--focus", action="append", default=[], choices=kinds)
    one.add_argument("--quiet", action="store_true", help="nothing goes wrong")
    one.add_argument("--mutant", choices=sorted(MUTANTS), help="with this bug planted")
    return parser


if __name__ == "__main__":
    sys.exit(min(1, main()))
