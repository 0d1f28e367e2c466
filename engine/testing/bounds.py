"""I11 while a simulation runs: what an owner holds in memory stays within its settings, at every step."""

from engine.partition.owner import Owner
from engine.testing.memory_broker import Violation
from engine.testing.world import World


def check_memory(world: World) -> None:
    """Raises Violation where an owner holds more than it may."""
    for process in world.processes:
        if process is None:
            continue
        for owner in process.owners.values():
            if owner.turns is not None:
                _check_owner(owner, world)


def _check_owner(owner: Owner, world: World) -> None:
    settings, partition = world.settings, owner.claim.partition
    # A dirty execution can't be let go: the store does not know of it yet.
    clean = len(owner.turns.seats._executions.keys() - owner.turns.seats._dirty.keys())
    if owner._in_flight is None and owner._batch.is_empty and clean > settings.live_executions_max:
        limit = settings.live_executions_max
        raise Violation(f"I11: partition {partition} keeps {clean} executions, at most {limit}")
    in_flight = 0 if owner._in_flight is None else owner._in_flight[0].inputs
    taken = owner._batch.inputs + in_flight
    allowed = owner._checkpoint.uncommitted_records_max
    if taken > allowed:
        raise Violation(f"I11: partition {partition} is {taken} records past its commit, at most {allowed}")
