"""The invariants I1-I12 of the design as checkers of what a simulation left. Each counts what it saw.

A Violation begins with the invariant that is broken. What can be broken only while something runs is checked
there: the broker refuses messages that are not on record (I12), the process activities under an owner that is
not live (I12), clients outcomes that are not the model's (I3-I6), and `bounds` memory that grows (I11).
"""

from collections.abc import Callable, Iterator

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY, parse_history_key
from engine.errors import LogDamagedFault
from engine.model import events as ev
from engine.model.checkpoint import Checkpoint
from engine.model.state import InstanceState
from engine.testing import history_checks, reply_checks, retention_checks, state_checks
from engine.testing.chaos import Chaos
from engine.testing.evidence import Evidence, runs_of_view
from engine.testing.faults import LIVE
from engine.testing.memory_broker import MemoryBroker, Violation
from engine.testing.world import World


def check_all(world: World) -> dict[str, int]:
    """Runs every checker: name to how much it looked at."""
    evidence = Evidence(world)
    return {name: checker(evidence) for name, checker in CHECKERS.items()}


def quarantines(broker: MemoryBroker) -> int:
    """How many records were given up because their turns ended the process three times."""
    refused = [r for r in broker.deadletters.records if dict(r.headers)["reason"] == b"WorkerCrashed"]
    stalled = [kind for kind in kinds_of_journal(broker) if kind == ev.InstanceStalled.__name__]
    return len(refused) + len(stalled)


def kinds_of_journal(broker: MemoryBroker) -> Iterator[str]:
    """What kinds of events were ever committed."""
    for journal in broker.history_journal:
        for record in journal:
            kind = None if record.value is None else avro.kind_of(record.value)
            if kind is not None and record.key != CHECKPOINT_KEY:
                yield kind


def check_ends(evidence: Evidence) -> int:
    """I1, I2: what was purged is gone, what is there is over, what was sent has arrived."""
    purged = {client.instance_id for client in evidence.world.clients if client.is_purged}
    count = 0
    for view in evidence.views:
        for (instance_id, run_id), events in runs_of_view(view).items():
            if instance_id in purged:
                raise Violation(f"I1: {instance_id} was purged, but has {len(events)} events")
            last = avro.decode_event(events[max(events)])[1].event
            if not isinstance(last, ev.TERMINAL_EVENTS):
                raise Violation(f"I1: {instance_id}, run {run_id}, still stands at {last}")
            if isinstance(last, ev.InstanceContinuedAsNew):
                raise Violation(f"I2: the run {run_id} that {instance_id} left is still there")
            count += 1
        for key in view:
            if key.startswith(b"~out|"):
                raise Violation(f"I1: {key!r} was never acknowledged")
    return count


def check_damage(evidence: Evidence) -> int:
    """I8: no owner found the log damaged, for it was not."""
    for process in evidence.world.processes:
        if process is not None and process.damaged:
            raise Violation(f"I8: {process.damaged}")
    return len(evidence.world.processes)


CHECKERS: dict[str, Callable[[Evidence], int]] = {
    "no damage seen": check_damage,
    "checkpoints are one chain": history_checks.check_checkpoints,
    "commits cover their effects": state_checks.check_offsets,
    "runs are whole": history_checks.check_runs,
    "answers are to what was asked": history_checks.check_answers,
    "inputs count once": history_checks.check_inputs,
    "replies are told once": reply_checks.check_replies,
    "senders keep their order": history_checks.check_order,
    "refusals are clear": history_checks.check_refusals,
    "timers do not spin": history_checks.check_timers,
    "what is kept is kept": retention_checks.check_retention,
    "states are folds": state_checks.check_states,
    "code replays": state_checks.check_replay,
    "derived again": state_checks.check_rederivation,
    "what is over is over": check_ends,
    "restarted": state_checks.check_restart,
}


# --- a log that lost what it had acknowledged ---


def check_damaged(world: World, chaos: Chaos) -> dict[str, int]:
    """I8: a new owner of each partition notices what was lost, or knows what is still there, and rightly."""
    noticed = 0
    for partition in range(world.broker.identity.partitions):
        _check_neighbour(world, chaos, partition)
        loss = _loss(world, chaos, partition)
        try:
            restored = state_checks.own_again(world, partition)
        except LogDamagedFault:
            noticed += 1
            continue
        if loss is not None:
            raise Violation(f"I8: nobody noticed that {loss}")
        _check_kept(world, partition, restored)
    return {"damage noticed": noticed}


def _loss(world: World, chaos: Chaos, partition: int) -> str | None:
    """What was lost that a new owner must notice."""
    checkpoint = _last_checkpoint(world.broker, partition)
    if checkpoint is None:
        return None
    if checkpoint.inbox_topic_id != world.broker.identity.inbox_topic_id:
        return f"the inbox of {partition} is another"
    if partition == chaos.damaged_partition and checkpoint.offset >= chaos.damaged_offset >= 0:
        return f"inbox record {chaos.damaged_offset} of {partition} was processed, and is gone"
    count = len(_kept(world.broker, partition))
    if checkpoint.key_count != count:
        return f"history of {partition} should hold {checkpoint.key_count} records, but has {count}"
    return None


def _last_checkpoint(broker: MemoryBroker, partition: int) -> Checkpoint | None:
    for record in reversed(broker.history[partition].records):
        if record.key == CHECKPOINT_KEY and record.value is not None:
            return avro.decode_checkpoint(record.value)
    return None


def _kept(broker: MemoryBroker, partition: int) -> dict[bytes, bytes]:
    """What readers are shown of a history that may end in the middle of a purge: nothing of that run."""
    checkpoint = _last_checkpoint(broker, partition)
    going = {(p.instance_id, p.run_id) for p in (() if checkpoint is None else checkpoint.purges)}
    view = broker.view(partition)
    return {key: value for key, value in view.items() if (parse_history_key(key) or ())[:2] not in going}


def _check_kept(world: World, partition: int, restored: dict[str, InstanceState]) -> None:
    view = _kept(world.broker, partition)
    states = state_checks.fold_view(view)
    live = {state.instance_id: state for state in states.values() if not state.is_finished}
    if restored != live:
        raise Violation(f"I8: partition {partition} is restored to {restored}, but is {live}")
    for run, events in runs_of_view(view).items():
        history_checks.check_run(run, [avro.decode_event(events[each])[1] for each in sorted(events)])


def _check_neighbour(world: World, chaos: Chaos, partition: int) -> None:
    """I10: what befell one partition's topics stops no other."""
    has_pill = any(client.has_pill for client in world.clients)
    if has_pill or partition == chaos.damaged_partition or str(chaos.damage).endswith("re-created"):
        return
    if world.phase_of(partition) != LIVE:
        raise Violation(f"I10: partition {partition} is not live beside {chaos.damaged_partition}")
