"""Derives a partition's history again from its whole inbox, by an owner nothing befalls. Appends nothing."""

from typing_extensions import override

from engine.codec.topics import CHECKPOINT_KEY
from engine.core.registry import Registry
from engine.partition.careful import Exam
from engine.partition.context import OwnerContext, OwnerSettings
from engine.partition.owner import Owner
from engine.partition.ports import Append
from engine.store.memory import MemoryStore
from engine.testing.faults import Faults
from engine.testing.machine import SimulatedClock
from engine.testing.memory_broker import MemoryBroker, Violation
from engine.testing.memory_log import MemoryLog, OnDone

STEPS_MAX = 100_000


class MuteLog(MemoryLog):
    """Appends nothing: all inputs are in the inbox already."""

    @override
    def append(self, record: Append, on_done: OnDone | None = None) -> None:
        """Forgets it."""


def derive_again(broker: MemoryBroker, partition: int, registry: Registry) -> dict[bytes, bytes]:
    """Every key of history with its value, tombstoned or not."""
    again = MemoryBroker(broker.identity.partitions)
    again.identity = broker.identity
    for record in broker.inbox_journal[partition]:
        again.inbox[partition].records.append(record)
        again.inbox[partition].end = record.offset + 1
    faults = Faults("none", {})
    log = MuteLog(again, "again", faults)
    context = OwnerContext(
        registry=registry, settings=OwnerSettings(), run_activity=lambda *_: None, exam=Exam()
    )
    owner = Owner(log.claim(partition), log, MemoryStore(), SimulatedClock(again, 0), context)
    owner.open(again.now_ms)
    owner.start()
    for _ in range(STEPS_MAX):
        again.advance(again.now_ms + 5)
        owner.process(log.poll(0))
        owner.tick()
        for _, result in log.commit_results():
            owner.on_commit_result(result, again.now_ms)
        is_done = owner._batch.is_empty and owner._in_flight is None
        if is_done and owner.turns.next_offset >= again.inbox[partition].end:
            break
    else:
        raise Violation(f"I12: partition {partition} could not be derived again in {STEPS_MAX} passes")
    owner.abandon()
    journal = again.history_journal[partition]
    return {r.key: r.value for r in journal if r.value is not None and r.key != CHECKPOINT_KEY}
