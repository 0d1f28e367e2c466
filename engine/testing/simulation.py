"""One seed from beginning to verdict: chaos, calm, every checker. Nothing counts but the plan it is given."""

from collections import Counter

import msgspec

from engine.testing import bounds, checkers, diagnosis, state_checks
from engine.testing.chaos import Chaos
from engine.testing.memory_broker import Violation
from engine.testing.world import Plan, World

CALM_MS_MAX = 240_000
DAMAGED_MS = 40_000
REST_MS = 5_000
STEPS_MAX = 20_000
SPOT_STEPS = 25
COMMITS_AT_REST_MAX = 40


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
    occasions: int
    torn: int
    quarantines: int
    damage: str | None
    checks: dict[str, int]
    events: dict[str, int]
    met: dict[tuple[str, str], int]


def simulate(plan: Plan) -> Report:
    """Runs the plan to its end. Raises Violation for what an invariant forbids."""
    world = World(plan)
    chaos = Chaos(world, world.damage, world.stream("chaos"))
    broker = world.broker
    began_ms = broker.now_ms
    world.begin()
    steps = spots = 0
    while broker.now_ms < began_ms + plan.chaos_ms:
        world.step()
        if world.faults.is_on:
            chaos.step()
        bounds.check_memory(world)
        if steps % SPOT_STEPS == 0 and chaos.damaged_partition is None:
            spots += state_checks.check_now(world)
        steps += 1
    chaos.last_chance()
    world.calm()
    if chaos.damage is None:
        steps += _until_rest(world)
        checks = _rest(world)
    else:
        steps += _until_settled(world)
        checks = checkers.check_damaged(world, chaos)
    return _report(world, steps, broker.now_ms - began_ms, checks | {"spots": spots})


def _until_rest(world: World) -> int:
    broker, steps, calm_ms = world.broker, 0, world.broker.now_ms
    while not world.is_at_rest:
        world.step()
        world.view.catch_up()
        steps += 1
        if broker.now_ms > calm_ms + CALM_MS_MAX or steps > STEPS_MAX:
            after = f"{broker.now_ms - calm_ms} ms after the last fault"
            invariant, what = diagnosis.unrest(world)
            raise Violation(f"{invariant}: not at rest {after}: {what}")
    return steps


def _until_settled(world: World) -> int:
    """Nobody knows what a log that lost records will still do; but it has had its time."""
    steps, until_ms = 0, world.broker.now_ms + DAMAGED_MS
    while world.broker.now_ms < until_ms and steps < STEPS_MAX:
        world.step()
        steps += 1
    return steps


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
    if max(late) > COMMITS_AT_REST_MAX:
        raise Violation(f"I11: busy at rest: {late[0]} commits and {late[1]} inbox records in {REST_MS} ms")
    world.view.catch_up()
    return checkers.check_all(world)


def _report(world: World, steps: int, virtual_ms: int, checks: dict[str, int]) -> Report:
    broker = world.broker
    return Report(
        virtual_ms=virtual_ms,
        steps=steps,
        passes=world.passes,
        crashes=world.crashes,
        commits=broker.commits,
        inbox_records=sum(map(len, broker.inbox_journal)),
        history_records=sum(map(len, broker.history_journal)),
        activities=len(broker.executed),
        points=world.faults.points,
        occasions=world.faults.occasions,
        torn=broker.torn,
        quarantines=checkers.quarantines(broker),
        damage=world.damage,
        checks=checks,
        events=dict(Counter(checkers.kinds_of_journal(broker))),
        met=dict(world.faults.met),
    )
