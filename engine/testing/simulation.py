"""One seed from beginning to verdict: chaos, calm, every checker. Nothing counts but the plan it is given."""

import msgspec

from engine.testing import checkers
from engine.testing.memory_broker import Violation
from engine.testing.world import Plan, World

CALM_MS_MAX = 600_000
REST_MS = 5_000
QUARANTINE_MS = 60_000
STEPS_MAX = 60_000


class Report(msgspec.Struct, kw_only=True):
    """What a run came to, so that nobody takes an empty run for a good one."""

    virtual_ms: int
    steps: int
    passes: int
    crashes: int
    commits: int
    inbox_records: int
    history_records: int
    activities: int
    points: int
    torn: int
    quarantines: int
    checks: dict[str, int]
    faults: dict[str, int]


def simulate(plan: Plan) -> Report:
    """Runs the plan to its end."""
    world = World(plan)
    broker = world.broker
    began_ms = broker.now_ms
    world.begin()
    steps = 0
    while broker.now_ms < began_ms + plan.chaos_ms:
        world.step()
        steps += 1
    world.calm()
    calm_ms = broker.now_ms
    while not world.is_at_rest:
        world.step()
        world.view.catch_up()
        steps += 1
        if broker.now_ms > calm_ms + QUARANTINE_MS and checkers.quarantines(broker):
            # Three deaths at one record stall its instance, as they should; then no one waits for it in vain.
            return _report(world, steps, broker.now_ms - began_ms, {})
        if broker.now_ms > calm_ms + CALM_MS_MAX or steps > STEPS_MAX:
            after = f"{broker.now_ms - calm_ms} ms after the last fault"
            raise Violation(f"I12: not at rest {after}: {unrest(world)}")
    checks = _rest(world)
    return _report(world, steps, broker.now_ms - began_ms, checks)


def _report(world: World, steps: int, virtual_ms: int, checks: dict[str, int]) -> Report:
    broker = world.broker
    return Report(
        virtual_ms=virtual_ms,
        quarantines=checkers.quarantines(broker),
        steps=steps,
        passes=world.passes,
        crashes=world.crashes,
        commits=broker.commits,
        inbox_records=sum(map(len, broker.inbox_journal)),
        history_records=sum(map(len, broker.history_journal)),
        activities=sum(p.executed for p in world.processes if p is not None),
        points=world.faults.points,
        torn=broker.torn,
        checks=checks,
        faults=dict(world.faults.counts),
    )


def unrest(world: World) -> str:
    """Who is still at it."""
    waiting = [client.doing for client in world.clients if not client.is_done]
    owners = [
        f"{process.name}/{partition} {owner.status.value} backlog {owner.backlog} {owner.lost_reason}"
        for process in world.processes
        if process is not None
        for partition, owner in process.owners.items()
    ]
    damaged = [process.damaged for process in world.processes if process is not None and process.damaged]
    return f"clients {waiting}; owners {owners}; damaged {damaged}"


def _rest(world: World) -> dict[str, int]:
    """Nothing may go on by itself; then everything is checked."""
    broker = world.broker
    before = (broker.commits, sum(topic.end for topic in broker.inbox))
    until_ms = broker.now_ms + REST_MS
    while broker.now_ms < until_ms:
        world.step()
    after = (broker.commits, sum(topic.end for topic in broker.inbox))
    late = (after[0] - before[0], after[1] - before[1])
    # Timers of runs that raced and won may still be due; many commits in five seconds are a busy loop.
    if late[0] > 40 or late[1] > 40:
        seen = f"{late[0]} commits and {late[1]} inbox records in {REST_MS} ms"
        raise Violation(f"I12: busy at rest: {seen}")
    world.view.catch_up()
    if checkers.quarantines(broker):
        return {}
    return checkers.check_all(world)
