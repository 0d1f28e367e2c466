"""Which finished runs an owner asks to purge: those that are due, oldest first, few at a time, each once."""

from __future__ import annotations

from engine.codec import avro
from engine.model.commands import ExpireInstance
from engine.model.retention import RetentionPolicy
from engine.model.state import Phase, RunStub
from engine.partition import keys
from engine.partition.batch import Batch
from engine.partition.cache import Cache
from engine.partition.context import OwnerSettings
from engine.partition.ports import StorePosition
from engine.partition.retention import BURST_MS, LOOK_AHEAD, PURGES_AT_ONCE, Retention
from engine.store.memory import MemoryStore

POSITION = StorePosition(history_topic_id="h", history_position=0, written_at_ms=0)
FAST = 1_000_000


def stub(instance_id: str, ended_at_ms: int, phase: Phase = Phase.COMPLETED) -> RunStub:
    return RunStub(
        instance_id=instance_id,
        run_id=f"run-{instance_id}",
        workflow="w",
        phase=phase,
        last_sequence=2,
        key_sum=0,
        ended_at_ms=ended_at_ms,
    )


class Kept:
    """A partition's retention and the store under it."""

    def __init__(self, policy: RetentionPolicy, per_second: int = FAST) -> None:
        self.cache = Cache(MemoryStore())
        self.now_ms = 0
        self.claim(policy, per_second)

    def claim(self, policy: RetentionPolicy, per_second: int = FAST) -> None:
        settings = OwnerSettings(retention=policy, retention_per_second=per_second)
        self.retention = Retention(3, self.cache, settings)
        # Time goes on from here: nothing is allowed for what was before.
        assert self.retention.due(0, self.now_ms, 0) == []

    def ends(self, *stubs: RunStub) -> None:
        batch = Batch(1)
        for each in stubs:
            batch.changes.finish_run(each)
        self.commit(batch)

    def is_purged(self, *stubs: RunStub) -> None:
        batch = Batch(1)
        for each in stubs:
            batch.changes.forget_run(each)
        self.commit(batch)

    def commit(self, batch: Batch) -> None:
        self.cache.committed(batch, POSITION, self.now_ms)
        self.cache.write()

    def asks(self, broker_now_ms: int, purges: int = 0) -> list[str]:
        self.now_ms += 1_000
        appends = self.retention.due(broker_now_ms, self.now_ms, purges)
        commands = [avro.decode_command(append.value) for append in appends]
        assert all(append.partition == 3 for append in appends)
        assert all(isinstance(command, ExpireInstance) for command in commands)
        return [command.instance_id for command in commands]


def test_by_default_everything_is_kept_and_the_store_is_not_looked_at():
    kept = Kept(RetentionPolicy())
    kept.ends(stub("a", 0))
    assert kept.asks(1 << 50) == []


def test_what_is_due_is_asked_for_once_oldest_first_whatever_its_end():
    kept = Kept(RetentionPolicy(any_terminal_ms=100, failed_ms=300))
    kept.ends(stub("c", 30), stub("b", 20, Phase.TERMINATED), stub("a", 10), stub("f", 0, Phase.FAILED))
    assert kept.asks(109) == []
    assert kept.asks(110) == ["a"]
    assert kept.asks(200) == ["b", "c"]
    assert kept.asks(299) == []
    assert kept.asks(300) == ["f"]
    assert kept.asks(1_000) == []


def test_an_end_that_is_kept_for_ever_holds_up_no_other():
    kept = Kept(RetentionPolicy(completed_ms=0))
    kept.ends(*(stub(f"f{n}", 0, Phase.FAILED) for n in range(2 * LOOK_AHEAD)), stub("c", 5))
    assert kept.asks(5) == ["c"]


def test_the_record_says_when_the_run_was_due_and_which_it_is():
    kept = Kept(RetentionPolicy(completed_ms=7))
    kept.ends(stub("a", 10))
    (append,) = kept.retention.due(1_000, 1_000, 0)
    assert avro.decode_command(append.value) == ExpireInstance(instance_id="a", run_id="run-a", due_at_ms=17)


def test_a_new_claim_finds_what_the_last_one_left_and_a_changed_policy_is_that_of_all():
    kept = Kept(RetentionPolicy(completed_ms=1_000))
    kept.ends(stub("a", 10), stub("b", 20))
    assert kept.asks(30) == []
    kept.claim(RetentionPolicy(completed_ms=10))
    assert kept.asks(25) == ["a"]


def test_many_that_are_due_at_once_are_asked_for_at_the_rate_and_none_is_passed_over():
    kept = Kept(RetentionPolicy(completed_ms=0), per_second=100)
    many = [stub(f"{n:04}", n) for n in range(3 * LOOK_AHEAD)]
    kept.ends(*many)
    asked = kept.asks(1_000)
    assert kept.retention.overdue_ms == 1_000 - len(asked)
    while batch := kept.asks(1_000):
        assert len(batch) <= 100 * BURST_MS // 1_000
        asked += batch
    assert asked == [each.instance_id for each in many]
    assert kept.retention.overdue_ms == 0


def test_a_rate_below_one_a_pass_is_kept_too():
    kept = Kept(RetentionPolicy(completed_ms=0), per_second=2)
    kept.ends(*(stub(f"{n}", 0) for n in range(10)))
    asked = sum(len(kept.retention.due(10, now_ms, 0)) for now_ms in range(0, 2_000, 7))
    assert 3 <= asked <= 4


def test_while_many_purges_are_under_way_no_more_are_asked_for():
    kept = Kept(RetentionPolicy(completed_ms=0))
    kept.ends(*(stub(f"{n}", 0) for n in range(3)))
    assert kept.asks(10, purges=PURGES_AT_ONCE) == []
    assert len(kept.asks(10, purges=PURGES_AT_ONCE - 2)) == 2
    assert len(kept.asks(10)) == 1


def test_what_ends_by_a_clock_that_went_back_is_not_passed_over():
    kept = Kept(RetentionPolicy(completed_ms=0))
    late, early = stub("late", 1_000), stub("early", 500)
    kept.ends(late)
    assert kept.asks(1_000) == ["late"]
    kept.is_purged(late)
    kept.ends(early)
    assert kept.asks(1_000) == ["early"]


def test_what_was_read_and_not_due_yet_is_not_forgotten_for_what_ends_behind_it():
    kept = Kept(RetentionPolicy(completed_ms=100))
    kept.ends(stub("first", 500), stub("last", 1_000))
    assert kept.asks(0) == []
    kept.ends(stub("middle", 700))
    assert kept.asks(2_000) == ["first", "middle", "last"]


def test_what_came_too_early_is_asked_for_again_when_it_is_due():
    kept = Kept(RetentionPolicy(completed_ms=100))
    kept.ends(stub("a", 0))
    assert kept.asks(150) == ["a"]
    kept.retention.came_early()
    assert kept.asks(50) == []
    assert kept.asks(100) == ["a"]


def test_an_instance_id_may_be_any_that_a_client_may_send():
    run = stub("täst|~ 1/2", 1 << 40)
    assert keys.parse_ended(Phase.COMPLETED, keys.ended_key(run)) == keys.Ended(
        run.instance_id, run.run_id, run.ended_at_ms
    )
