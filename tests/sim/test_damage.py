"""A log that lost what it had acknowledged: the owner stops loudly and never shows less."""

import msgspec
import pytest

from engine.codec import avro
from engine.codec.topics import CHECKPOINT_KEY
from engine.errors import LogDamagedFault
from engine.model.checkpoint import PurgeProgress
from engine.partition.careful import Exam
from engine.partition.context import OwnerContext, OwnerSettings
from engine.partition.owner import Owner
from engine.partition.ports import Append, Identity, Record
from engine.partition.status import OwnerStatus
from engine.store.memory import MemoryStore
from engine.testing import checkers
from engine.testing.chaos import Chaos
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
    return claim_with(MemoryLog(world.broker, "next", Faults("none", {})), world, partition, store)


def claim_with(log: MemoryLog, world: World, partition: int, store: MemoryStore) -> Owner:
    context = OwnerContext(
        registry=world.codes[0].registry, settings=OwnerSettings(), run_activity=lambda *_: None, exam=Exam()
    )
    owner = Owner(log.claim(partition), log, store, SimulatedClock(world.broker, 0), context)
    owner.open(world.broker.now_ms)
    return owner


def commit_claim(log: MemoryLog, world: World, owner: Owner) -> None:
    owner.start()
    world.broker.advance(world.broker.now_ms + 1_000)
    for _, result in log.commit_results():
        owner.on_commit_result(result, world.broker.now_ms)


def lose_last_checkpoint(world: World, partition: int) -> None:
    records = world.broker.history[partition].records
    last = max(number for number, record in enumerate(records) if record.key == CHECKPOINT_KEY)
    world.broker.lose_tail("history", partition, len(records) - last)


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


def test_a_history_that_loses_its_tail_under_an_owner_is_owned_no_more() -> None:
    world = world_at_work()
    partition = busiest(world)
    log = MemoryLog(world.broker, "next", Faults("none", {}))
    owner = claim_with(log, world, partition, MemoryStore())
    # All events stay, so no count and no sum can tell.
    lose_last_checkpoint(world, partition)

    commit_claim(log, world, owner)

    assert owner.status is OwnerStatus.LOST
    assert f"behind {owner.claim.history_end} in history ended at" in owner.lost_reason
    with pytest.raises(LogDamagedFault, match="gone when the next commit came"):
        claim_anew(world, partition, MemoryStore())


def test_a_store_of_a_commit_that_history_has_lost_is_not_believed() -> None:
    world = world_at_work()
    partition = busiest(world)
    store = MemoryStore()
    before = claim_anew(world, partition, store).turns.next_offset
    lose_last_checkpoint(world, partition)
    # What aborted transactions leave behind brings the end to where it was.
    world.broker.history[partition].skip(10)

    log = MemoryLog(world.broker, "next", Faults("none", {}))
    owner = claim_with(log, world, partition, store)

    assert owner.turns.next_offset < before
    commit_claim(log, world, owner)
    assert owner.status is not OwnerStatus.LOST


def test_an_inbox_that_changes_after_it_was_compared_is_not_followed() -> None:
    world = world_at_work()
    partition = busiest(world)
    log = MemoryLog(world.broker, "next", Faults("none", {}))
    owner = claim_with(log, world, partition, MemoryStore())
    processed = owner.turns.next_offset - 1
    topic = world.broker.inbox[partition]
    topic.truncate(processed)
    for number in range(3):
        world.broker.append_inbox(Append(partition, b"w0", b"another %d" % number))

    commit_claim(log, world, owner)

    with pytest.raises(LogDamagedFault, match=f"inbox record {processed} is not the one"):
        owner.process(log.poll(0))
    assert owner.turns.next_offset == processed + 1


def test_a_history_cut_in_the_middle_of_a_purge_is_owned() -> None:
    world = world_at_work()
    partition = next(p for p, j in enumerate(world.broker.history_journal) if purges_of(j))
    records = world.broker.history[partition].records
    cut = next(number for number, record in enumerate(records) if purges_of([record]))
    world.broker.lose_tail("history", partition, len(records) - cut - 1)
    chaos = Chaos(world, None, world.stream("chaos"))
    chaos.damaged_partition = partition
    world.calm()

    checkers.check_damaged(world, chaos)


def purges_of(records: list[Record]) -> list[PurgeProgress]:
    checkpoints = [avro.decode_checkpoint(r.value or b"") for r in records if r.key == CHECKPOINT_KEY]
    return [purge for checkpoint in checkpoints for purge in checkpoint.purges]
