"""The invariants I1-I12 of the design as checkers of what a simulation left. Each counts what it saw.

The evidence: the broker's journals, the committed view, the owners' memory and stores, a second derivation.
"""

from collections import Counter
from collections.abc import Callable

import msgspec

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY, FROM_HEADER, IngressSource, parse_history_key, parse_source
from engine.core.apply import account, apply, key_digest
from engine.core.turn import replay
from engine.model import commands as cm
from engine.model import events as ev
from engine.model.checkpoint import Checkpoint
from engine.model.state import InstanceState, stub_of
from engine.partition import keys
from engine.partition.owner import Owner
from engine.testing.machine import SimulatedStore
from engine.testing.memory_broker import MemoryBroker, Violation
from engine.testing.rederivation import derive_again
from engine.testing.world import World

FIRINGS_MAX = 8

RunKey = tuple[str, str]
Runs = dict[RunKey, dict[int, ev.Recorded]]


def check_all(world: World) -> dict[str, int]:
    """Runs every checker: name to how much it looked at."""
    return {name: checker(world) for name, checker in CHECKERS.items()}


def quarantines(broker: MemoryBroker) -> int:
    """How many records were given up because their turns ended the process three times."""
    refused = [r for r in broker.deadletters.records if dict(r.headers)["reason"] == b"WorkerCrashed"]
    stalled = [
        record
        for journal in broker.history_journal
        for record in journal
        if record.value is not None and avro.kind_of(record.value) == ev.InstanceStalled.__name__
    ]
    return len(refused) + len(stalled)


# --- the journal: everything that was ever committed ---


def values_of_journal(broker: MemoryBroker, partition: int) -> dict[bytes, bytes]:
    """Every key that was ever committed, with its one value. A key that had two is a violation of I6."""
    found: dict[bytes, bytes] = {}
    for record in broker.history_journal[partition]:
        if record.key == CHECKPOINT_KEY or record.value is None:
            continue
        first = found.setdefault(record.key, record.value)
        if first != record.value:
            raise Violation(f"I6: {record.key!r} was {_told(first)} and became {_told(record.value)}")
    return found


def _told(value: bytes) -> str:
    kind = avro.kind_of(value) or "?"
    return str(avro.decode_event(value)[1]) if not kind.endswith("Child") else kind


def runs_of_journal(broker: MemoryBroker) -> Runs:
    """Every run that ever was, purged ones too."""
    runs: Runs = {}
    for partition in range(broker.identity.partitions):
        for key, value in values_of_journal(broker, partition).items():
            parsed = parse_history_key(key)
            if parsed is not None:
                runs.setdefault(parsed[:2], {})[parsed[2]] = avro.decode_event(value)[1]
    return runs


def check_runs(world: World) -> int:
    """I2, I3, I5: dense, one end, each call completed once and after its scheduling, no timer early."""
    runs = runs_of_journal(world.broker)
    for run, events in runs.items():
        if sorted(events) != list(range(1, len(events) + 1)):
            raise Violation(f"I2: {run} has the events {sorted(events)}")
        ordered = [events[sequence] for sequence in sorted(events)]
        ends = [r.sequence for r in ordered if isinstance(r.event, ev.TERMINAL_EVENTS)]
        if ends and ends != [len(events)]:
            raise Violation(f"I2: {run} of {len(events)} events ends at {ends}")
        _check_calls(run, ordered)
        _check_timers(run, ordered)
    return sum(map(len, runs.values()))


def _check_calls(run: RunKey, events: list[ev.Recorded]) -> None:
    open_calls: set[int] = set()
    for recorded in events:
        event = recorded.event
        if isinstance(event, ev.ActivityScheduled | ev.ChildScheduled):
            open_calls.add(recorded.sequence)
        ending = ev.ActivityCompleted | ev.ActivityFailed | ev.ChildCompleted | ev.ChildFailed
        if isinstance(event, ending):
            if event.scheduled not in open_calls:
                raise Violation(f"I3: event {recorded.sequence} of {run} completes {event.scheduled} again")
            open_calls.remove(event.scheduled)


def _check_timers(run: RunKey, events: list[ev.Recorded]) -> None:
    due: dict[int, int] = {}
    for recorded in events:
        event = recorded.event
        if isinstance(event, ev.TimerCreated):
            due[recorded.sequence] = event.due_at_ms
        elif isinstance(event, ev.InstanceStarted) and event.start_at_ms is not None:
            due[1] = event.start_at_ms
        elif isinstance(event, ev.TimerCancelled):
            due.pop(event.timer, None)
        elif isinstance(event, ev.TimerFired):
            due_ms = due.pop(event.timer, None)
            if due_ms is None or recorded.recorded_at_ms < due_ms:
                fired = f"fired at {recorded.recorded_at_ms}, due {due_ms}"
                raise Violation(f"I5: timer {event.timer} of {run} {fired}")
        elif isinstance(event, ev.ActivityAttemptFailed | ev.ChildAttemptFailed):
            due[-event.scheduled] = event.retry_at_ms
        elif isinstance(event, ev.ActivityRetried | ev.ChildRetried):
            due_ms = due.pop(-event.scheduled, None)
            if due_ms is not None and recorded.recorded_at_ms < due_ms:
                raise Violation(f"I5: call {event.scheduled} of {run} was retried early")


def check_inputs(world: World) -> int:
    """I1: each published command has one effect or one dead letter."""
    broker = world.broker
    runs = runs_of_journal(broker)
    effects = Counter((r.inbox_offset, run[0]) for run, events in runs.items() for r in events.values())
    letters = Counter(_letter_source(record.headers) for record in broker.deadletters.records)
    carried: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for journal in broker.inbox_journal:
        for record in journal:
            source = next((parse_source(v) for n, v in record.headers if n == FROM_HEADER), None)
            if isinstance(source, IngressSource):
                instance_id = record.key.decode("utf-8", "replace")
                carried.setdefault((source.partition, source.offset), []).append((record.offset, instance_id))
    published = [r for client in world.clients for r in client.published] + world.vandal.published
    for record in published:
        place = (record.partition, record.offset)
        felt = sum(1 for each in set(carried.get(place, [])) if effects[each])
        refused = letters[(b"commands", *place)]
        if felt + refused != 1 and not (felt + refused == 0 and _is_purge(record.value or b"")):
            raise Violation(f"I1: the command at {place} had {felt} effects and {refused} dead letters")
    return len(published)


def _letter_source(headers: tuple[tuple[str, bytes], ...]) -> tuple[bytes, int, int]:
    found = dict(headers)
    return found["source.topic"], int(found["source.partition"]), int(found["source.offset"])


def _is_purge(value: bytes) -> bool:
    return avro.kind_of(value) == cm.PurgeInstance.__name__


def check_checkpoints(world: World) -> int:
    """I9: the commits of a partition are one chain: no owner that was fenced got in between."""
    count = 0
    for partition, journal in enumerate(world.broker.history_journal):
        last: Checkpoint | None = None
        for record in journal:
            if record.key != CHECKPOINT_KEY or record.value is None:
                continue
            checkpoint = avro.decode_checkpoint(record.value)
            count += 1
            if last is not None:
                _check_step(partition, last, checkpoint)
            last = checkpoint
    return count


def _check_step(partition: int, last: Checkpoint, following: Checkpoint) -> None:
    is_chained = following.batch == last.batch + 1 and following.offset >= last.offset
    if not is_chained or following.epoch not in (last.epoch, last.epoch + 1):
        before, after = (f"{c.epoch}/{c.batch}/{c.offset}" for c in (last, following))
        raise Violation(f"I9: checkpoint {after} (epoch/batch/offset) of {partition} follows {before}")
    taken = {(m.topic_id, m.partition): m.offset for m in last.sources}
    for mark in following.sources:
        if mark.offset < taken.get((mark.topic_id, mark.partition), -1):
            raise Violation(f"I9: the mark of {mark.topic_id}/{mark.partition} went back to {mark.offset}")
    if following.offset - last.offset > following.uncommitted_records_max:
        raise Violation(f"I11: {following.offset - last.offset} records in one commit of {partition}")


# --- the committed view against memory, stores and code ---


def check_states(world: World) -> int:
    """I6, I7, I8: what owners hold in memory and on disk is what an independent reader folds."""
    count = 0
    for partition in range(world.broker.identity.partitions):
        view = world.broker.view(partition)
        owner, store = _owner_of(world, partition)
        runs = _runs_of_view(view)
        states = {run: _fold(run, events) for run, events in runs.items()}
        live = {state.instance_id: state for state in states.values() if not state.is_finished}
        seats = {s.instance_id: s.state for s in owner.turns.seats if s.state is not None and s.is_live}
        if live != seats:
            raise Violation(f"I6: partition {partition} holds {seats}, but history folds to {live}")
        expected: dict[bytes, bytes] = {}
        stubs = {s.instance_id: stub_of(s) for s in states.values() if s.is_finished}
        for key, value in view.items():
            parsed = parse_history_key(key)
            if parsed is None:
                expected[keys.outbox_key(key)] = value
            elif parsed[0] in live:
                expected[keys.event_key(*parsed)] = value
        expected |= {keys.stub_key(name): _packed(stub) for name, stub in stubs.items()}
        found = dict(store.scan(b""))
        if found != expected:
            raise Violation(f"I8: the store of {partition} {_difference(found, expected)}")
        _check_sum(world, partition, view)
        count += len(view)
    return count


def _packed(stub: object) -> bytes:
    return msgspec.msgpack.encode(stub)


def _difference(found: dict[bytes, bytes], expected: dict[bytes, bytes]) -> str:
    more = sorted(found.keys() - expected.keys())
    less = sorted(expected.keys() - found.keys())
    other = sorted(key for key in found.keys() & expected.keys() if found[key] != expected[key])
    return f"has too much: {more}; misses: {less}; has otherwise: {other}"


def _check_sum(world: World, partition: int, view: dict[bytes, bytes]) -> None:
    checkpoint = world.view.checkpoints[partition]
    assert checkpoint is not None
    if not checkpoint.purges and checkpoint.key_count != len(view):
        raise Violation(
            f"I8: partition {partition} counts {checkpoint.key_count} keys, there are {len(view)}"
        )


def _runs_of_view(view: dict[bytes, bytes]) -> dict[RunKey, dict[int, bytes]]:
    runs: dict[RunKey, dict[int, bytes]] = {}
    for key, value in view.items():
        parsed = parse_history_key(key)
        if parsed is not None:
            runs.setdefault(parsed[:2], {})[parsed[2]] = value
    return runs


def _fold(run: RunKey, events: dict[int, bytes]) -> InstanceState:
    state: InstanceState | None = None
    if sorted(events) != list(range(1, len(events) + 1)):
        raise Violation(f"I10: of {run} only the events {sorted(events)} are left")
    for sequence in sorted(events):
        state = apply(state, run[0], avro.decode_event(events[sequence])[1])
        key, value = f"{run[0]}|{run[1]}|{sequence}".encode(), events[sequence]
        account(state, len(value), key_digest(key, value))
    assert state is not None
    return state


def _owner_of(world: World, partition: int) -> tuple[Owner, SimulatedStore]:
    name = world.broker.owner_of[partition]
    for machine, process in enumerate(world.processes):
        if process is not None and process.name == name:
            return process.owners[partition], world.disks[machine][partition]
    raise Violation(f"I12: nobody owns {partition}")


def check_replay(world: World) -> int:
    """I6: the code replays every run that ever was without complaint."""
    runs = runs_of_journal(world.broker)
    for (instance_id, _), events in runs.items():
        replay(world.registry, instance_id, [events[sequence] for sequence in sorted(events)]).close()
    return len(runs)


def check_rederivation(world: World) -> int:
    """I6: the same inbox gives the same history and messages, byte for byte."""
    count = 0
    for partition in range(world.broker.identity.partitions):
        found = values_of_journal(world.broker, partition)
        again = derive_again(world.broker, partition, world.registry)
        for key in sorted(found.keys() ^ again.keys()):
            side = "was derived only once" if key in found else "comes only of a second derivation"
            raise Violation(f"I6: {key!r} of partition {partition} {side}")
        for key, value in found.items():
            if value != again[key]:
                raise Violation(f"I6: {key!r} was {_told(value)}, derived again {_told(again[key])}")
        count += len(found)
    return count


# --- what is left at the end ---


def check_ends(world: World) -> int:
    """I10, I12: what was purged is gone, what is there is over."""
    purged = {client.instance_id for client in world.clients if client.is_purged}
    count = 0
    for partition in range(world.broker.identity.partitions):
        for (instance_id, run_id), events in _runs_of_view(world.broker.view(partition)).items():
            if instance_id in purged:
                raise Violation(f"I10: {instance_id} was purged, but has {len(events)} events")
            last = avro.decode_event(events[max(events)])[1].event
            if not isinstance(last, ev.TERMINAL_EVENTS):
                raise Violation(f"I12: {instance_id}, run {run_id}, still stands at {last}")
            if isinstance(last, ev.InstanceContinuedAsNew):
                raise Violation(f"I10: the run {run_id} that {instance_id} left is still there")
            count += 1
        for key in world.broker.view(partition):
            if key.startswith(b"~out|"):
                raise Violation(f"I12: {key!r} was never acknowledged")
    return count


def check_timers(world: World) -> int:
    """I12: no timer is fired over and over: a few times for each claim and each step of a clock at most."""
    broker = world.broker
    allowed = FIRINGS_MAX + 3 * world.faults.counts["clock step"]
    fired: Counter[tuple[int, bytes]] = Counter()
    for partition, journal in enumerate(broker.inbox_journal):
        for record in journal:
            if record.value is not None and avro.kind_of(record.value) == cm.FireTimer.__name__:
                fired[(partition, record.value)] += 1
    for (partition, value), count in fired.items():
        if count > allowed + 2 * broker.epochs[partition][0]:
            raise Violation(f"I12: {avro.decode_command(value)} was appended {count} times")
    return len(fired)


def check_damage(world: World) -> int:
    """I8: no owner found the log damaged, for it was not."""
    for process in world.processes:
        if process is not None and process.damaged:
            raise Violation(f"I8: {process.damaged}")
    return len(world.processes)


CHECKERS: dict[str, Callable[[World], int]] = {
    "no damage seen": check_damage,
    "checkpoints are one chain": check_checkpoints,
    "runs are whole": check_runs,
    "inputs count once": check_inputs,
    "timers do not spin": check_timers,
    "states are folds": check_states,
    "code replays": check_replay,
    "derived again": check_rederivation,
    "what is over is over": check_ends,
}
