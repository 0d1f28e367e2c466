"""A log that lost what it had acknowledged: the owner stops loudly and never shows less."""

import msgspec
import pytest

from engine.codec import avro
from engine.errors import LogDamagedFault
from engine.partition.careful import Exam
from engine.partition.context import OwnerContext, OwnerSettings
from engine.partition.owner import Owner
from engine.partition.ports import Identity
from engine.store.memory import MemoryStore
from engine.testing.faults import Faults
from engine.testing.machine import SimulatedClock
from engine.testing.memory_log import MemoryLog
from engine.testing.world import Plan, World


def world_at_work() -> World:
    world = World(Plan(seed=3, is_quiet=True, clients=12))
    world.begin()
    for _ in range(2_000):
        world.step()
        if sum(topic.end for topic in world.broker.inbox) >= 40:
            break
    else:
        pytest.fail("too little work to damage")
    for process in world.processes:
        if process is not None:
            process.die()
    return world


def busiest(world: World) -> int:
    return max(range(world.broker.identity.partitions), key=lambda p: world.broker.inbox[p].end)


def claim_anew(world: World, partition: int, store: MemoryStore) -> Owner:
    log = MemoryLog(world.broker, "next", Faults("none", {}))
    context = OwnerContext(
        registry=world.codes[0].registry, settings=OwnerSettings(), run_activity=lambda *_: None, exam=Exam()
    )
    owner = Owner(log.claim(partition), log, store, SimulatedClock(world.broker, 0), context)
    owner.open(world.broker.now_ms)
    return owner


def test_a_log_that_lost_nothing_is_owned_again() -> None:
    world = world_at_work()
    partition = busiest(world)

    assert claim_anew(world, partition, MemoryStore()).turns.next_offset > 0


def test_an_inbox_that_lost_its_tail_is_not_owned() -> None:
    world = world_at_work()
    partition = busiest(world)
    world.broker.inbox[partition].truncate(world.broker.inbox[partition].start + 1)

    with pytest.raises(LogDamagedFault, match="truncated"):
        claim_anew(world, partition, MemoryStore())


def test_an_inbox_created_anew_is_not_owned() -> None:
    world = world_at_work()
    partition = busiest(world)
    was = world.broker.identity
    world.broker.identity = Identity(was.commands_topic_id, "another", was.history_topic_id, was.partitions)

    with pytest.raises(LogDamagedFault, match="re-created"):
        claim_anew(world, partition, MemoryStore())


def test_a_history_that_lost_records_in_the_middle_is_not_owned() -> None:
    world = world_at_work()
    partition = busiest(world)
    records = world.broker.history[partition].records
    view = world.broker.view(partition)
    lost = next(r for r in records if r.key in view and not r.key.startswith(b"~"))
    records.remove(lost)

    with pytest.raises(LogDamagedFault, match=r"history has lost them|lost or changed"):
        claim_anew(world, partition, MemoryStore())


def test_a_history_that_is_gone_behind_a_trimmed_inbox_is_not_owned() -> None:
    world = world_at_work()
    partition = busiest(world)
    world.broker.history[partition].truncate(0)
    world.broker.inbox[partition].drop_before(1)

    with pytest.raises(LogDamagedFault, match="no checkpoint"):
        claim_anew(world, partition, MemoryStore())


def test_a_history_in_which_a_record_was_changed_is_not_owned() -> None:
    world = world_at_work()
    partition = busiest(world)
    records = world.broker.history[partition].records
    view = world.broker.view(partition)
    place = next(n for n, r in enumerate(records) if r.key in view and not r.key.startswith(b"~"))
    instance_id, recorded = avro.decode_event(records[place].value or b"")
    changed = msgspec.structs.replace(recorded, recorded_at_ms=recorded.recorded_at_ms + 1)
    value = avro.encode_event(instance_id, changed)
    records[place] = msgspec.structs.replace(records[place], value=value)

    with pytest.raises(LogDamagedFault, match="records were lost or changed"):
        claim_anew(world, partition, MemoryStore())


def test_a_history_that_lost_a_whole_run_is_not_owned() -> None:
    world = world_at_work()
    partition = busiest(world)
    topic = world.broker.history[partition]
    view = world.broker.view(partition)
    run = next(r.key for r in topic.records if r.key in view and not r.key.startswith(b"~")).rpartition(b"|")[
        0
    ]
    topic.records = [record for record in topic.records if not record.key.startswith(run + b"|")]

    with pytest.raises(LogDamagedFault, match="records with sum"):
        claim_anew(world, partition, MemoryStore())
