"""A failing plan to the smallest that still fails, and either as the one line that repeats it."""

import msgspec

from engine.testing.faults import DAMAGES, KINDS
from engine.testing.world import Plan
from tests.sim.campaign import try_plan

_DEFAULT = Plan(seed=0)


def command_of(plan: Plan, mutant: str | None = None) -> str:
    """The line."""
    words = [f"--seed {plan.seed}"]
    if plan.clients != _DEFAULT.clients:
        words.append(f"--clients {plan.clients}")
    if plan.chaos_ms != _DEFAULT.chaos_ms:
        words.append(f"--chaos-ms {plan.chaos_ms}")
    if plan.strike is not None:
        words.append(f"--strike '{plan.strike[0]}:{plan.strike[1]}'")
    for option, kinds in (("--without", plan.without), ("--focus", plan.focus)):
        words += [f"{option} '{kind}'" for kind in kinds]
    if plan.is_quiet:
        words.append("--quiet")
    if mutant is not None:
        words.append(f"--mutant '{mutant}'")
    return f"python -m tests.sim.run {' '.join(words)}"


def shrink(plan: Plan) -> Plan:
    """The plan with fewer kinds of faults, clients and less time, for as long as it still fails."""
    best = plan
    for kind in (*KINDS, *DAMAGES):
        best = _smaller(best, without=(*best.without, kind)) or best
    for clients in range(1, best.clients):
        fewer = _smaller(best, clients=clients)
        if fewer is not None:
            best = fewer
            break
    while best.chaos_ms > 500:
        shorter = _smaller(best, chaos_ms=best.chaos_ms // 2)
        if shorter is None:
            break
        best = shorter
    # What was left out without being in the seed's personality says nothing, and is only long.
    for kind in best.without:
        rest = tuple(each for each in best.without if each != kind)
        best = _smaller(best, without=rest) or best
    return best


def _smaller(plan: Plan, **changes: object) -> Plan | None:
    smaller = msgspec.structs.replace(plan, **changes)
    return smaller if try_plan(smaller).report is None else None
