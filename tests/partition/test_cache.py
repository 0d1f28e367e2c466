"""A cache written behind says and comes to the same as one that is written with every commit."""

from hypothesis import given
from hypothesis import strategies as st

from engine.codec.topics import out_key
from engine.model.state import Phase, RunStub
from engine.partition import keys
from engine.partition.batch import Batch
from engine.partition.cache import UNWRITTEN_BYTES_MAX, UNWRITTEN_MS_MAX, Cache
from engine.partition.changes import Changes
from engine.partition.ports import StorePosition
from engine.store.memory import MemoryStore

INSTANCES = ("a", "b|1", "c")
STEPS = ("begin", "event", "finish", "purge", "message", "arrived", "commit", "write")


def position(number: int) -> StorePosition:
    return StorePosition(history_topic_id="h", history_position=number, written_at_ms=number)


def stub(instance_id: str, run_id: str, last: int) -> RunStub:
    return RunStub(
        instance_id=instance_id,
        run_id=run_id,
        workflow="w",
        phase=Phase.COMPLETED,
        last_sequence=last,
        key_sum=7,
        ended_at_ms=last,
    )


class Partition:
    """Runs that begin, go on, end and are purged, as turns would have it: told to two caches."""

    def __init__(self) -> None:
        self.at_once, self.behind = MemoryStore(), MemoryStore()
        self.cache = Cache(self.behind)
        self.changes: list[Changes] = [Changes(), Changes()]
        self.runs: dict[str, tuple[str, int, bool]] = {}
        self.messages: list[bytes] = []
        self.count = 0

    def step(self, name: str, instance_id: str) -> None:
        run_id, last, is_over = self.runs.get(instance_id, ("", 0, True))
        if name == "begin" and is_over:
            self.forget(instance_id)
            self.runs[instance_id] = (f"run{self.count}", 1, False)
            self.event(instance_id, f"run{self.count}", 1)
        elif name == "event" and not is_over:
            self.runs[instance_id] = (run_id, last + 1, False)
            self.event(instance_id, run_id, last + 1)
        elif name == "finish" and not is_over:
            # A run never ends without the event that says so.
            self.runs[instance_id] = (run_id, last + 1, True)
            self.event(instance_id, run_id, last + 1)
            for each in self.changes:
                each.finish_run(stub(instance_id, run_id, last + 1))
        elif name == "purge":
            self.forget(instance_id)
            self.runs.pop(instance_id, None)
        elif name in {"message", "arrived"}:
            self.message(has_arrived=name == "arrived")
        elif name in {"commit", "write"}:
            self.commit(and_write=name == "write")
        self.count += 1

    def event(self, instance_id: str, run_id: str, sequence: int) -> None:
        for each in self.changes:
            each.events_of((instance_id, run_id)).append((sequence, b"%d" % self.count))

    def forget(self, instance_id: str) -> None:
        if instance_id in self.runs:
            run_id, last, _ = self.runs[instance_id]
            for each in self.changes:
                each.forget_run(stub(instance_id, run_id, last))

    def message(self, *, has_arrived: bool) -> None:
        if has_arrived and self.messages:
            key, value = self.messages.pop(), None
        else:
            key, value = out_key("t", 0, self.count), b"m"
            self.messages.append(key)
        for each in self.changes:
            each.set_message(key, value)

    def commit(self, *, and_write: bool) -> None:
        mine, its = self.changes
        self.at_once.write(*mine.writes(), position(self.count))
        self.cache.committed(batch_of(its), position(self.count), now_ms=0)
        if and_write:
            self.cache.write()
        self.changes = [Changes(), Changes()]
        assert self.cache.stubs(list(INSTANCES)) == Cache(self.at_once).stubs(list(INSTANCES))


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(INSTANCES)), max_size=60))
def test_it_comes_to_the_same_whenever_it_is_written(steps: list[tuple[str, str]]) -> None:
    partition = Partition()
    for name, instance_id in steps:
        partition.step(name, instance_id)
    partition.commit(and_write=True)

    assert dict(partition.behind.scan(b"")) == dict(partition.at_once.scan(b""))
    assert partition.behind.position() == partition.at_once.position()


def batch_of(changes: Changes, size: int = 0) -> Batch:
    batch = Batch(1)
    batch.changes, batch.size = changes, size
    return batch


def events(count: int, size: int = 1) -> Changes:
    changes = Changes()
    for sequence in range(1, count + 1):
        changes.events_of(("a", "r")).append((sequence, b"v" * size))
    return changes


def test_a_run_that_begins_and_ends_unwritten_costs_its_stub_alone() -> None:
    changes, over = events(8), stub("a", "r", 8)
    changes.finish_run(over)

    puts, deletes = changes.writes()

    assert [key for key, _ in puts] == [keys.stub_key("a"), keys.ended_key(over)]
    assert deletes == []


def test_it_is_written_when_it_has_waited_and_when_it_is_much() -> None:
    store = MemoryStore()
    cache = Cache(store)
    cache.committed(batch_of(events(1)), position(1), now_ms=5)
    cache.write_when_due(5 + UNWRITTEN_MS_MAX - 1)
    assert store.position() is None

    cache.write_when_due(5 + UNWRITTEN_MS_MAX)
    assert store.position() == position(1)

    half = UNWRITTEN_BYTES_MAX // 2
    cache.committed(batch_of(events(2, half), 2 * half), position(2), now_ms=6_000)
    assert store.position() == position(2)
