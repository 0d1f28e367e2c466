"""Fail the k-th IO, for k = 1, 2, 3 … until a run passes untouched: what chance might miss, by counting."""

import multiprocessing
from collections.abc import Iterator

from engine.testing.world import Plan
from tests.sim.campaign import Outcome, try_plan

# What can happen to one IO.
STRIKES = (
    "crash",
    "append lost",
    "append ack lost",
    "append late",
    "append twice",
    "commit fenced",
    "commit doubt, done",
    "commit doubt, not done",
    "commit doubt, done late",
    "commit torn",
    "commit slow",
    "claim fails",
    "last stable offset stalls",
    "activity twice",
    "store corrupt",
)
CLIENTS = 2
CHAOS_MS = 6_000


def until_untouched(seed: int, kind: str, occasions_max: int = 100_000) -> Iterator[Outcome]:
    """One run for each occasion on which `kind` can happen to this seed."""
    for occasion in range(1, occasions_max + 1):
        plan = Plan(seed=seed, clients=CLIENTS, chaos_ms=CHAOS_MS, strike=(kind, occasion))
        outcome = try_plan(plan)
        yield outcome
        if outcome.report is not None and outcome.report.occasions < occasion:
            return


def strike_all(seeds: range, processes: int) -> Iterator[tuple[str, list[Outcome]]]:
    """Every kind for every seed: (kind, what its runs came to)."""
    tasks = [(seed, kind) for kind in STRIKES for seed in seeds]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_strike_task, tasks)


def _strike_task(task: tuple[int, str]) -> tuple[str, list[Outcome]]:
    return task[1], list(until_untouched(*task))
