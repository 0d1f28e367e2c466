"""Why a simulation does not come to rest, and which invariant that is a breach of. Changes nothing."""

from engine.codec import avro
from engine.codec.topics import parse_history_key
from engine.core.apply import apply
from engine.model.state import InstanceState
from engine.partition.status import OwnerStatus
from engine.testing.world import World


def unrest(world: World) -> tuple[str, str]:
    """(invariant, who is still at it)."""
    waiting = [client.doing for client in world.clients if not client.is_done]
    owners = [
        f"{process.name}/{partition} {owner.status.value} backlog {owner.backlog} {owner.lost_reason}"
        for process in world.processes
        if process is not None
        for partition, owner in process.owners.items()
    ]
    damaged = [process.damaged for process in world.processes if process is not None and process.damaged]
    invariant, cause = _cause(world, is_damaged=bool(damaged))
    return invariant, f"{cause}; clients {waiting}; owners {owners}; damaged {damaged}"


def _cause(world: World, *, is_damaged: bool) -> tuple[str, str]:
    if is_damaged:
        return "I8", "a log that lost nothing was found damaged"
    for partition, topic in enumerate(world.broker.inbox):
        process = world.process_of(partition)
        owner = None if process is None else process.owners.get(partition)
        if owner is None or owner.status is not OwnerStatus.LIVE:
            return "I10", f"partition {partition} is owned by nobody"
        checkpoint = world.view.checkpoint_of(partition)
        if checkpoint is None or checkpoint.offset + 1 < topic.end:
            return "I10", f"partition {partition} stands still before the end of its inbox"
    for partition, (offset, _) in world.broker.group_offsets.items():
        if offset < world.broker.commands[partition].end:
            return "I1", f"commands of partition {partition} are not taken in"
    states = [state for partition in range(len(world.broker.inbox)) for state in _live(world, partition)]
    return _cause_in(states, world)


def _cause_in(states: list[InstanceState], world: World) -> tuple[str, str]:
    for state in states:
        if state.stall is not None:
            return "I10", f"{state.instance_id} is stalled: {state.stall}"
        if any(activity.retry_at_ms is None for activity in state.activities.values()):
            return "I3", f"an activity of {state.instance_id} never ended"
        retries = [activity.retry_at_ms for activity in state.activities.values()]
        retries += [child.retry_at_ms for child in state.children.values()]
        due = [each for each in (*state.timers.values(), *retries) if each is not None]
        if due and min(due) < world.broker.now_ms - 60_000:
            return "I5", f"a timer of {state.instance_id} never fired"
    childless = [state for state in states if not state.children]
    if childless:
        return "I4", f"{childless[0].instance_id} waits for events that were all raised"
    kept = world.settings.retention.kept_ms()
    expired = world.view.ends() & kept.keys()
    if expired:
        return "I5", f"what ended as {sorted(expired)} is still there, though kept for {kept} ms only"
    return "I1", "a message between instances, or a purge, never had its effect"


def _live(world: World, partition: int) -> list[InstanceState]:
    states: dict[tuple[str, str], InstanceState] = {}
    found = ((parse_history_key(key), value) for key, value in world.broker.view(partition).items())
    events = sorted((key, value) for key, value in found if key is not None)
    for (instance_id, run_id, _), value in events:
        before = states.get((instance_id, run_id))
        states[(instance_id, run_id)] = apply(before, instance_id, avro.decode_event(value)[1])
    return [state for state in states.values() if not state.is_finished]
