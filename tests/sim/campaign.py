"""Many plans over all cores: what each comes to, and what all of them did."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import msgspec

from engine.model.events import EVENTS
from engine.testing.checkers import CHECKERS
from engine.testing.faults import DAMAGES, KINDS
from engine.testing.simulation import Report, simulate
from engine.testing.world import Plan
from tests.sim.mutants import MUTANTS

COUNTED = (
    "virtual_ms",
    "passes",
    "crashes",
    "commits",
    "inbox_records",
    "history_records",
    "activities",
    "torn",
    "points",
    "quarantines",
)
PLANS_PER_TASK = 8
TEXT_MAX = 500


class Outcome(msgspec.Struct, frozen=True):
    """What became of a plan: a report, or what went wrong, whatever raised it."""

    plan: Plan
    report: Report | None
    failure: str = ""


def try_plan(plan: Plan) -> Outcome:
    """Whatever the engine raises is a finding too, and no less one than a checker's."""
    try:
        return Outcome(plan, simulate(plan))
    except Exception as error:
        text = str(error) if type(error).__name__ == "Violation" else f"{type(error).__name__}: {error}"
        return Outcome(plan, None, text[:TEXT_MAX])


def try_plans(plans: Iterable[Plan], processes: int, mutant: str | None = None) -> Iterator[Outcome]:
    """All of them, in the order they end in."""
    tasks = [(mutant, list(group)) for group in _grouped(plans)]
    if processes == 1 or len(tasks) == 1:
        for task in tasks:
            yield from _try_task(task)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for outcomes in pool.imap_unordered(_try_task, tasks):
            yield from outcomes


def cores() -> int:
    """How many of them this process may use."""
    return len(os.sched_getaffinity(0))


def _grouped(plans: Iterable[Plan]) -> Iterator[list[Plan]]:
    group: list[Plan] = []
    for plan in plans:
        group.append(plan)
        if len(group) == PLANS_PER_TASK:
            yield group
            group = []
    if group:
        yield group


def _try_task(task: tuple[str | None, list[Plan]]) -> list[Outcome]:
    mutant, plans = task
    with MUTANTS[mutant].plant() if mutant is not None else nullcontext():
        return [try_plan(plan) for plan in plans]


class Totals:
    """What a campaign came to. A fault that met no owner in some phase, or an idle checker, shows."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.checks: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.met: Counter[tuple[str, str]] = Counter()

    def add(self, report: Report) -> None:
        """One more run."""
        self.counts["seeds"] += 1
        self.counts["damaged"] += report.damage is not None
        for name in COUNTED:
            self.counts[name] += getattr(report, name)
        self.checks.update(report.checks)
        self.events.update(report.events)
        self.met.update(report.met)

    def gaps(self) -> list[str]:
        """What was never seen, though a campaign is large enough only if it was."""
        pairs = [(kind, phase) for kind, each in (KINDS | DAMAGES).items() for phase in each.phases]
        found = [f"no {kind!r} while {phase}" for kind, phase in pairs if not self.met[(kind, phase)]]
        found += [f"checker {name!r} saw nothing" for name in CHECKERS if not self.checks[name]]
        found += [f"no event {kind.__name__}" for kind in EVENTS if not self.events[kind.__name__]]
        return found

    def table(self) -> str:
        """Fault by phase, how often."""
        lines = []
        for kind, each in (KINDS | DAMAGES).items():
            cells = [f"{phase} {self.met[(kind, phase)]}" for phase in each.phases]
            lines.append(f"  {kind:26}{', '.join(cells)}")
        return "\n".join(lines)
