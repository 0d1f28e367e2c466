"""I6, I7, I8: memory, stores, code and a second derivation, held against what an independent reader folds.

`check_now` may be asked at any moment of a simulation; the others when it is over.
"""

import msgspec

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY, parse_history_key
from engine.core.apply import account, apply, key_digest
from engine.core.turn import replay
from engine.errors import NonDeterminismError
from engine.model import events as ev
from engine.model.state import InstanceState, stub_of
from engine.partition import keys
from engine.partition.careful import Exam
from engine.partition.context import OwnerContext, OwnerSettings
from engine.partition.owner import Owner
from engine.partition.ports import Record, Store
from engine.partition.restore import restore
from engine.partition.status import OwnerStatus
from engine.store.memory import MemoryStore
from engine.testing import reader
from engine.testing.evidence import Evidence, RunKey, runs_of_view, told
from engine.testing.faults import Faults
from engine.testing.machine import SimulatedClock
from engine.testing.memory_broker import Violation
from engine.testing.memory_log import MemoryLog
from engine.testing.rederivation import derive_again
from engine.testing.world import World


def check_now(world: World) -> int:
    """The partitions whose owner has everything committed at this moment. Returns how many that were."""
    count = 0
    for partition in range(world.broker.identity.partitions):
        process = world.process_of(partition)
        owner = None if process is None else process.owners.get(partition)
        if owner is not None and _is_quiet(world, owner):
            _check_partition(world, owner, world.broker.view(partition))
            count += 1
    return count


def check_states(evidence: Evidence) -> int:
    """All partitions: at rest, every owner has everything committed."""
    world = evidence.world
    for partition in evidence.partitions:
        process = world.process_of(partition)
        owner = None if process is None else process.owners.get(partition)
        if owner is None:
            raise Violation(f"I10: nobody owns {partition}")
        _check_partition(world, owner, evidence.views[partition])
        checkpoint = world.view.checkpoints[partition]
        view = evidence.views[partition]
        if checkpoint is None or (not checkpoint.purges and checkpoint.key_count != len(view)):
            counted = None if checkpoint is None else checkpoint.key_count
            raise Violation(f"I8: partition {partition} counts {counted} keys, there are {len(view)}")
    return sum(map(len, evidence.views))


def _is_quiet(world: World, owner: Owner) -> bool:
    if owner.status is not OwnerStatus.LIVE or owner._in_flight is not None or not owner._batch.is_empty:
        return False
    newest = world.view.checkpoint_of(owner.claim.partition)
    if newest is None or newest.purges:
        return False
    return (newest.epoch, newest.batch) == (owner._checkpoint.epoch, owner._checkpoint.batch)


def _check_partition(world: World, owner: Owner, view: dict[bytes, bytes]) -> None:
    partition = owner.claim.partition
    states = fold_view(view)
    live = {state.instance_id: state for state in states.values() if not state.is_finished}
    seats = {s.instance_id: s.state for s in owner.turns.seats if s.state is not None and s.is_live}
    if live != seats:
        raise Violation(f"I6: partition {partition} holds {seats}, but history folds to {live}")
    _check_shown(partition, seats, view)
    process = world.process_of(partition)
    assert process is not None
    store = world.disks[world.processes.index(process)][partition].copy()
    unwritten, position = owner._cache._changes, owner._cache._position
    if position is not None:
        store.write(*unwritten.writes(), position)
    _check_store(partition, store, states, view)


def _check_shown(partition: int, seats: dict[str, InstanceState], view: dict[bytes, bytes]) -> None:
    """I7: what the owner knows of a run is what a stranger reads of it."""
    for (instance_id, run_id), events in runs_of_view(view).items():
        state = seats.get(instance_id)
        if state is None or state.run_id != run_id:
            continue
        read = reader.fold([events[sequence] for sequence in sorted(events)])
        shown = _shown(state)
        if read != shown:
            differing = {key: (read[key], shown[key]) for key in read if read[key] != shown[key]}
            raise Violation(f"I7: of {instance_id} in {partition} a reader sees otherwise: {differing}")


def _shown(state: InstanceState) -> dict[str, object]:
    parent = state.parent
    return {
        "run_id": state.run_id,
        "workflow": state.workflow,
        "status": state.phase.value,
        "custom_status": state.custom_status,
        "parent": None if parent is None else (parent.instance_id, parent.run_id),
        "created_at_ms": state.created_at_ms,
        "is_suspended": state.is_suspended,
        "stall": state.stall,
        "activities": {sequence: call.attempt for sequence, call in state.activities.items()},
        "timers": dict(state.timers),
        "children": {sequence: call.attempt for sequence, call in state.children.items()},
        "sequence": state.sequence,
        "last_event_at_ms": state.last_event_at_ms,
    }


def _check_store(
    partition: int, store: Store, states: dict[RunKey, InstanceState], view: dict[bytes, bytes]
) -> None:
    live = {run for run, state in states.items() if not state.is_finished}
    expected: dict[bytes, bytes] = {}
    for key, value in view.items():
        parsed = parse_history_key(key)
        if parsed is None:
            expected[keys.outbox_key(key)] = value
        elif parsed[:2] in live:
            expected[keys.event_key(*parsed)] = value
    for (instance_id, _), state in states.items():
        if state.is_finished:
            stub = stub_of(state)
            expected[keys.stub_key(instance_id)] = msgspec.msgpack.encode(stub)
            expected[keys.ended_key(stub)] = b""
    found = dict(store.scan(b""))
    if found != expected:
        raise Violation(f"I8: the store of {partition} {_difference(found, expected)}")


def _difference(found: dict[bytes, bytes], expected: dict[bytes, bytes]) -> str:
    more = sorted(found.keys() - expected.keys())
    less = sorted(expected.keys() - found.keys())
    other = sorted(key for key in found.keys() & expected.keys() if found[key] != expected[key])
    return f"has too much: {more}; misses: {less}; has otherwise: {other}"


def fold_view(view: dict[bytes, bytes]) -> dict[RunKey, InstanceState]:
    """The states of all runs in a committed view."""
    return {run: _fold(run, events) for run, events in runs_of_view(view).items()}


def _fold(run: RunKey, events: dict[int, bytes]) -> InstanceState:
    state: InstanceState | None = None
    if sorted(events) != list(range(1, len(events) + 1)):
        raise Violation(f"I2: of {run} only the events {sorted(events)} are left")
    for sequence in sorted(events):
        state = apply(state, run[0], avro.decode_event(events[sequence])[1])
        key, value = f"{run[0]}|{run[1]}|{sequence}".encode(), events[sequence]
        account(state, len(value), key_digest(key, value))
    assert state is not None
    return state


def check_replay(evidence: Evidence) -> int:
    """I6: the code, in one of its versions, replays every run that ever was without complaint."""
    for run, events in evidence.runs.items():
        complaints = [_complaint(evidence.world, version, run, events) for version in evidence.world.versions]
        if all(complaints):
            raise Violation(f"I6: {run} does not replay: {complaints}")
    return len(evidence.runs)


def _complaint(world: World, version: int, run: RunKey, events: list[ev.Recorded]) -> str | None:
    try:
        replay(world.codes[version].registry, run[0], events).close()
    except NonDeterminismError as error:
        return str(error)
    return None


def check_rederivation(evidence: Evidence) -> int:
    """I6: the same inbox gives the same history and messages, byte for byte.

    Not where the code changed, nor where a run stalled: what a process died of is no record of the inbox.
    """
    count = 0
    if len(evidence.world.versions) > 1 or evidence.has_quarantined_records:
        return count
    for partition in evidence.partitions:
        if evidence.has_stalls[partition]:
            continue
        found = evidence.values[partition]
        again = derive_again(evidence.broker, partition, evidence.world.codes[0].registry)
        for key in sorted(found.keys() ^ again.keys()):
            side = "was derived only once" if key in found else "comes only of a second derivation"
            raise Violation(f"I6: {key!r} of partition {partition} {side}")
        for key, value in found.items():
            if value != again[key]:
                raise Violation(f"I6: {key!r} was {told(value)}, derived again {told(again[key])}")
        count += len(found)
    return count


def check_restart(evidence: Evidence) -> int:
    """I8: with a new store, and with each that is left on some disk, the next owner knows the same."""
    count = 0
    for partition in evidence.partitions:
        states = fold_view(evidence.views[partition])
        live = {state.instance_id: state for state in states.values() if not state.is_finished}
        stores = [disk[partition].copy() for disk in evidence.world.disks if partition in disk]
        for store in (MemoryStore(), *stores):
            restored = restore_again(evidence.world, partition, store)
            if restored != live:
                raise Violation(f"I8: partition {partition} is restored to {restored}, but is {live}")
            checkpoint = evidence.world.view.checkpoints[partition]
            if checkpoint is not None and not checkpoint.purges:
                _check_store(partition, store, states, evidence.views[partition])
            count += 1
    return count


def restore_again(world: World, partition: int, store: Store) -> dict[str, InstanceState]:
    """What a restore from this store comes to."""
    log = MemoryLog(world.broker, "restart", Faults("none", {}))
    return restore(log, log.claim(partition), store, world.broker.now_ms).states


def own_again(world: World, partition: int) -> dict[str, InstanceState]:
    """What a new owner of the partition knows that begins without a store. Raises LogDamagedFault."""
    log = MemoryLog(world.broker, "restart", Faults("none", {}))
    context = OwnerContext(
        registry=world.codes[0].registry, settings=OwnerSettings(), run_activity=lambda *_: None, exam=Exam()
    )
    clock = SimulatedClock(world.broker, 0)
    owner = Owner(log.claim(partition), log, MemoryStore(), clock, context)
    owner.open(world.broker.now_ms)
    return {seat.instance_id: seat.state for seat in owner.turns.seats if seat.state is not None}


def check_offsets(evidence: Evidence) -> int:
    """I12: no event names an inbox record that its commit's checkpoint had not taken in."""
    return sum(
        _check_offsets_of(partition, journal)
        for partition, journal in enumerate(evidence.broker.history_journal)
    )


def _check_offsets_of(partition: int, journal: list[Record]) -> int:
    newest, epoch, count = -1, 0, 0
    for record in journal:
        if record.key == CHECKPOINT_KEY:
            checkpoint = avro.decode_checkpoint(record.value or b"")
            # A claim's first commit has torn records before it, which are not its own.
            if checkpoint.epoch == epoch and newest > checkpoint.offset:
                what = f"commits effects of {newest}, but is at {checkpoint.offset}"
                raise Violation(f"I12: partition {partition} {what}")
            newest, epoch, count = -1, checkpoint.epoch, count + 1
        elif record.value is not None and parse_history_key(record.key) is not None:
            newest = max(newest, avro.decode_event(record.value)[1].inbox_offset)
    return count
