"""The tail of history on a log that is a list: what no real log can be made to do in a test."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.client import UnreachableError, WorkflowClient
from engine.client import tail as tail_module
from engine.client.connection import OnPublished
from engine.client.mirror import Mirror
from engine.client.reads import Reads
from engine.codec.avro import decode_command, encode_event
from engine.codec.topics import CHECKPOINT_KEY, history_key, partition_of
from engine.errors import LogUnavailableFault
from engine.model import events as ev
from engine.partition.ports import Record

PARTITIONS = 3
WAIT_S = 20


class ListLog:
    """A Connection whose owner completes every start at once."""

    def __init__(self) -> None:
        self.partitions = PARTITIONS
        self.history: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self.changed = threading.Condition()
        self.failure: Exception | None = None
        self.reads: list[tuple[int, int]] = []
        self.tails: list[ListTail] = []
        self.asked_for_ends = 0

    def publish(self, key: bytes, value: bytes, on_done: OnPublished) -> None:
        command = decode_command(value)
        self.complete(command.instance_id, f"run-{sum(map(len, self.history))}")
        on_done(None)

    def complete(self, instance_id: str, run_id: str) -> None:
        events = (ev.InstanceStarted(workflow="w"), ev.InstanceCompleted())
        records = []
        for sequence, event in enumerate(events, 1):
            recorded = ev.Recorded(
                run_id=run_id, sequence=sequence, recorded_at_ms=0, inbox_offset=0, event=event
            )
            key = history_key(instance_id, run_id, sequence)
            records.append((key, encode_event(instance_id, recorded)))
        partition = partition_of(instance_id, PARTITIONS)
        with self.changed:
            history = self.history[partition]
            for key, value in [*records, (CHECKPOINT_KEY, b"")]:
                history.append(Record(partition, len(history), 0, key, value))
            self.changed.notify_all()

    def ends(self) -> dict[int, int]:
        self.asked_for_ends += 1
        return {number: len(records) for number, records in enumerate(self.history)}

    def read_history(self, partition: int, start: int) -> Iterator[list[Record]]:
        self.reads.append((partition, start))
        yield self.history[partition][start:]

    def open_tail(self) -> ListTail:
        self.tails.append(ListTail(self))
        return self.tails[-1]

    def read_dead_letters(self) -> Iterator[list[Record]]:
        yield from ()

    def close(self) -> None:
        pass


class ListTail:
    def __init__(self, log: ListLog) -> None:
        self.log = log
        self.positions: dict[int, int] = {}
        self.closed = threading.Event()

    def follow(self, positions: dict[int, int]) -> None:
        assert not self.positions.keys() & positions.keys()
        self.positions |= positions

    def poll(self, timeout_ms: int) -> list[Record]:
        with self.log.changed:
            self.log.changed.wait_for(lambda: self.log.failure or self._is_behind(), timeout_ms / 1000)
        if self.log.failure is not None:
            raise self.log.failure
        found: list[Record] = []
        for partition, position in self.positions.items():
            found += self.log.history[partition][position:]
            self.positions[partition] = len(self.log.history[partition])
        return found

    def _is_behind(self) -> bool:
        return any(at < len(self.log.history[number]) for number, at in self.positions.items())

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def log() -> ListLog:
    return ListLog()


@pytest.fixture
def client(log: ListLog) -> Iterator[WorkflowClient]:
    with WorkflowClient(log) as client:
        yield client


def ended(client: WorkflowClient, instance_id: str):
    return client.wait_for_workflow_completion(instance_id, timeout_in_seconds=WAIT_S)


def test_what_this_client_started_needs_no_read_of_history(client, log):
    for _ in range(20):
        ended(client, client.schedule_new_workflow("w"))
    assert log.reads == []
    assert log.asked_for_ends == 1


def test_all_partitions_are_followed_from_the_second_one_on(client, log):
    ids = [client.schedule_new_workflow("w", instance_id=f"i-{n}") for n in range(20)]
    by_partition = {partition_of(instance_id, PARTITIONS): instance_id for instance_id in ids}
    ended(client, by_partition[0])
    assert set(log.tails[0].positions) == {0}
    ended(client, by_partition[1])
    assert set(log.tails[0].positions) == {0, 1, 2}
    assert len(log.tails) == 1


def test_a_new_run_of_an_ended_instance_is_not_taken_for_the_old_one(client, log):
    seen = set()
    for _ in range(5):
        client.schedule_new_workflow("w", instance_id="again")
        seen.add(ended(client, "again").run_id)
    assert len(seen) == 5
    assert log.reads == []


def test_what_others_started_is_read_once(client, log):
    log.complete("theirs", "r")
    assert ended(client, "theirs").run_id == "r"
    assert ended(client, "theirs").run_id == "r"
    assert log.reads == [(partition_of("theirs", PARTITIONS), 0)]


def test_mirrors_nobody_waits_at_are_forgotten_and_read_again(client, log, monkeypatch):
    monkeypatch.setattr(tail_module, "MIRRORS_MAX", 4)
    for number in range(20):
        log.complete(f"theirs-{number}", "r")
    ended(client, client.schedule_new_workflow("w"))
    ended(client, client.schedule_new_workflow("w"))
    ids = [client.schedule_new_workflow("w") for _ in range(40)]
    for instance_id in ids:
        assert ended(client, instance_id).is_finished
    # From where each was started: not one of them needs what lies before.
    assert log.reads
    assert all(start > 0 for _, start in log.reads)


def test_a_tail_that_dies_tells_those_who_wait_and_the_next_wait_begins_another(client, log):
    log.failure = LogUnavailableFault("the line is cut")
    with pytest.raises(UnreachableError, match="the line is cut"):
        ended(client, client.schedule_new_workflow("w", instance_id="a"))
    log.failure = None
    assert ended(client, "a").is_finished
    assert len(log.tails) >= 2


def test_a_tail_that_nobody_needs_ends_and_begins_again(client, log, monkeypatch):
    monkeypatch.setattr(tail_module, "IDLE_S", 0)
    first = client.schedule_new_workflow("w")
    ended(client, first)
    assert log.tails[0].closed.wait(WAIT_S)
    ended(client, client.schedule_new_workflow("w"))
    assert ended(client, first).is_finished


def test_a_wait_for_what_was_purged_meanwhile_does_not_show_it(client, log):
    instance_id = client.schedule_new_workflow("w")
    run_id = ended(client, instance_id).run_id
    partition = partition_of(instance_id, PARTITIONS)
    with log.changed:
        history = log.history[partition]
        for key in (history_key(instance_id, run_id, 1), history_key(instance_id, run_id, 2)):
            history.append(Record(partition, len(history), 0, key, None))
        history.append(Record(partition, len(history), 0, CHECKPOINT_KEY, b""))
        log.changed.notify_all()
    assert client.get_workflow_state(instance_id) is None
    # Of the same partition, hence behind the purge: once its outcome is seen, the purge was.
    for number in range(100):
        other = f"after-{number}"
        if partition_of(other, PARTITIONS) == partition:
            ended(client, client.schedule_new_workflow("w", instance_id=other))
            break
    with pytest.raises(TimeoutError, match="no such instance"):
        client.wait_for_workflow_completion(instance_id, timeout_in_seconds=0.05)


def test_a_wait_finds_the_run_that_refused_its_start(client, log, monkeypatch):
    monkeypatch.setattr("engine.client.waiting.LOOK_BACK_S", 0.05)
    begin = ev.Recorded(
        run_id="r", sequence=1, recorded_at_ms=0, inbox_offset=0, event=ev.InstanceStarted(workflow="w")
    )
    partition = partition_of("busy", PARTITIONS)
    log.history[partition] += [
        Record(partition, 0, 0, history_key("busy", "r", 1), encode_event("busy", begin)),
        Record(partition, 1, 0, CHECKPOINT_KEY, b""),
    ]
    monkeypatch.setattr(log, "complete", lambda instance_id, run_id: None)
    client.schedule_new_workflow("w", instance_id="busy")
    state = client.wait_for_workflow_start("busy", timeout_in_seconds=WAIT_S)
    assert state.run_id == "r"


class SlowLog(ListLog):
    """Its first read takes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_reading = threading.Event()
        self.may_end = threading.Event()
        self.failing: Iterator[bool] = itertools.repeat(False)

    def read_history(self, partition: int, start: int) -> Iterator[list[Record]]:
        self.is_reading.set()
        assert self.may_end.wait(WAIT_S)
        if next(self.failing):
            raise UnreachableError("the line is cut")
        return super().read_history(partition, start)


def of_one_partition(count: int) -> list[str]:
    names = (f"busy-{number}" for number in itertools.count())
    return list(itertools.islice((each for each in names if partition_of(each, PARTITIONS) == 0), count))


class Waiter:
    """Waits at a mirror, as a client does."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.woken = threading.Event()
        mirror.waiters[self] = self.woken.set

    def wait(self):
        assert self.woken.wait(WAIT_S)
        return self.mirror.shown(fetch_payloads=False)


def test_one_pass_over_history_serves_all_who_asked_while_the_last_one_went_on():
    log, ids = SlowLog(), of_one_partition(20)
    for instance_id in ids:
        log.complete(instance_id, "r")
    reads, waiters = Reads(log), [Waiter(Mirror(each, 0, must_read=True)) for each in ids]
    reads.ask(waiters[0].mirror)
    assert log.is_reading.wait(WAIT_S)
    for waiter in waiters[1:]:
        reads.ask(waiter.mirror)
    log.may_end.set()
    assert [waiter.wait().is_finished for waiter in waiters] == [True] * len(ids)
    assert log.reads == [(0, 0), (0, 0)]


def test_who_was_served_by_the_tail_while_waiting_for_a_read_needs_none():
    log, (first, second) = SlowLog(), of_one_partition(2)
    log.complete(first, "r")
    reads, reader, waiter = Reads(log), Waiter(Mirror(first, 0, must_read=True)), Waiter(Mirror(second, 0))
    reads.ask(reader.mirror)
    assert log.is_reading.wait(WAIT_S)
    reads.ask(waiter.mirror)
    log.complete(second, "r")
    for record in log.history[0][3:5]:
        waiter.mirror.add(record)
    log.may_end.set()
    assert reader.wait().is_finished
    assert waiter.mirror.shown(fetch_payloads=False).is_finished
    # Whoever comes next is served by one more pass: of the second there was none.
    last = Waiter(Mirror(first, 0, must_read=True))
    reads.ask(last.mirror)
    assert last.wait().is_finished
    assert len(log.reads) == 2


def test_an_outcome_that_comes_while_history_is_looked_through_is_shown_at_once():
    log, (instance_id,) = SlowLog(), of_one_partition(1)
    reads, waiter = Reads(log), Waiter(Mirror(instance_id, 0))
    reads.ask(waiter.mirror)
    assert log.is_reading.wait(WAIT_S)
    log.complete(instance_id, "r")
    for record in log.history[0][:-1]:
        waiter.mirror.add(record)
    assert waiter.mirror.shown(fetch_payloads=False).is_finished
    log.may_end.set()
    assert waiter.wait().is_finished
    assert not waiter.mirror.is_unknown


def test_a_wait_whose_instance_is_looked_for_is_not_held_up_by_that(monkeypatch):
    monkeypatch.setattr("engine.client.waiting.LOOK_BACK_S", 0.05)
    log, (instance_id,) = SlowLog(), of_one_partition(1)
    complete = log.complete
    monkeypatch.setattr(log, "complete", lambda instance_id, run_id: None)
    with WorkflowClient(log) as client, ThreadPoolExecutor(1) as threads:
        client.schedule_new_workflow("w", instance_id=instance_id)
        done = threads.submit(ended, client, instance_id)
        assert log.is_reading.wait(WAIT_S)
        complete(instance_id, "r")
        assert done.result(WAIT_S).is_finished
        assert not log.may_end.is_set()
        log.may_end.set()


def test_a_read_that_fails_is_told_to_those_who_asked_and_the_next_may_succeed():
    log, ids = SlowLog(), of_one_partition(2)
    for instance_id in ids:
        log.complete(instance_id, "r")
    reads, waiters = Reads(log), [Waiter(Mirror(each, 0, must_read=True)) for each in ids]
    log.failing = iter([True, False])
    reads.ask(waiters[0].mirror)
    assert log.is_reading.wait(WAIT_S)
    reads.ask(waiters[1].mirror)
    log.may_end.set()
    assert waiters[0].wait() is None
    with pytest.raises(UnreachableError, match="the line is cut"):
        waiters[0].mirror.check_read()
    assert waiters[1].wait().is_finished
