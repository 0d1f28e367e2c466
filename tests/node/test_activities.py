"""The pool of activities: where each kind runs, what it is told, and what becomes of how it ends."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import engine as wf
from engine.codec import avro
from engine.core.activity import WorkflowActivityContext
from engine.core.registry import Registry
from engine.core.values import decode_value, encode_value
from engine.errors import ConfigurationError
from engine.model.commands import ActivityResult, CompleteActivity, FailActivity
from engine.model.effects import RunActivity
from engine.node.activities import ActivityPool
from engine.partition.ports import Append
from tests.core.driver import World
from tests.node import calls

PATIENCE_SECONDS = 120


class Subject:
    """A pool, and what it appends."""

    def __init__(self, registry: Registry) -> None:
        self.appended: queue.Queue[Append] = queue.Queue()
        self.pool = ActivityPool(registry, self.appended.put, 4)

    def begin(self, name: str, value: object = None, *, attempt: int = 1, is_isolated: bool = False) -> None:
        call = RunActivity(
            instance_id="i",
            run_id="r",
            workflow="w",
            scheduled=7,
            call_id=b"\1" * 16,
            name=name,
            input=encode_value(value, "a test's value"),
            attempt=attempt,
        )
        self.pool.run(call, 5, is_isolated)
        self.pool.wake()

    def outcome(self) -> ActivityResult:
        append = self.appended.get(timeout=PATIENCE_SECONDS)
        assert (append.partition, append.key) == (5, b"i")
        command = avro.decode_command(append.value)
        assert isinstance(command, CompleteActivity | FailActivity)
        return command

    def result(self) -> object:
        outcome = self.outcome()
        assert isinstance(outcome, CompleteActivity), outcome
        return decode_value(outcome.result)

    def failure(self):
        outcome = self.outcome()
        assert isinstance(outcome, FailActivity), outcome
        return outcome.failure


@pytest.fixture
def subject() -> Iterator[Subject]:
    subject = Subject(calls.app.registry)
    yield subject
    subject.pool.close()


def test_a_sync_activity_runs_on_a_thread_of_the_pool(subject: Subject) -> None:
    subject.begin("on_a_thread")
    assert str(subject.result()).startswith("activity-")


def test_async_activities_share_one_event_loop(subject: Subject) -> None:
    calls.arrivals.clear()
    subject.begin("on_the_loop")
    subject.begin("on_the_loop")
    first, second = subject.result(), subject.result()
    assert first == second
    assert first[0] == "activity-loop"


def test_an_activity_that_stops_the_event_loop_stops_nobody(subject: Subject) -> None:
    subject.begin("stops_the_loop")
    assert subject.result() == "after it"
    calls.arrivals.clear()
    subject.begin("on_the_loop")
    subject.begin("on_the_loop")
    assert subject.result() == subject.result()


@pytest.mark.parametrize("name", ["in_a_process", "awaiting_in_a_process"])
def test_an_activity_that_asks_for_a_process_runs_in_another(subject: Subject, name: str) -> None:
    subject.begin(name, 1)
    process_id, answer = subject.result()
    assert process_id != os.getpid()
    assert answer == 2


def test_an_isolated_attempt_runs_in_another_process(subject: Subject) -> None:
    subject.begin("on_a_thread", is_isolated=True)
    assert subject.result() == "MainThread"


def test_an_activity_that_dies_with_its_process_fails_no_neighbour(subject: Subject, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    subject.begin("reads", str(pipe))
    # Opens when the neighbour does: it is in the middle of its attempt.
    with pipe.open("w") as writer:
        subject.begin("dies")
        failure = subject.failure()
        assert (failure.type, failure.retryable) == ("ActivityProcessDied", True)
        assert failure.message == "the process that ran activity 'dies' died with it"
        writer.write("still here")
    assert subject.result() == "still here"
    subject.begin("in_a_process", 1)
    assert subject.result()[1] == 2


def test_an_attempt_is_told_what_it_serves(subject: Subject) -> None:
    subject.begin("what_it_is_told", "tea", attempt=3)
    outcome = subject.outcome()
    assert outcome.attempt == 3
    assert decode_value(outcome.result) == ["i", 7, 3, (b"\1" * 16).hex(), "tea"]


def test_the_idempotency_key_is_one_for_all_attempts_of_a_call_and_for_no_other() -> None:
    policy = wf.RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3)

    def calling(ctx, _value):
        for _ in range(2):
            yield ctx.call_activity("step", input="the same", retry_policy=policy)

    world = World(calling)
    world.start(calling)
    attempts = []
    for _ in range(2):
        attempts.append(WorkflowActivityContext(world.call()))
        world.fail()
        world.advance(seconds=2)
        attempts.append(WorkflowActivityContext(world.call()))
        world.complete()
    assert [each.attempt for each in attempts] == [1, 2, 1, 2]
    keys = [each.idempotency_key for each in attempts]
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[0] != keys[2]


def test_an_activity_nobody_registered_fails_and_says_what_is(subject: Subject) -> None:
    subject.begin("nowhere")
    failure = subject.failure()
    assert failure.type == "ActivityNotRegisteredError"
    assert "'nowhere' is not one of: awaiting_in_a_process, dies" in failure.message


@pytest.mark.parametrize(
    ("name", "kind", "is_retryable"),
    [
        ("returns_too_much", "LimitExceededError", False),
        ("gives_up", "NonRetryableError", False),
        ("fails", "ValueError", True),
    ],
)
def test_a_failure_says_whether_a_retry_may_help(
    subject: Subject, name: str, kind: str, is_retryable: bool
) -> None:
    subject.begin(name)
    failure = subject.failure()
    assert (failure.type, failure.retryable) == (kind, is_retryable)


@pytest.mark.parametrize("name", ["on_a_thread", "in_a_process"])
def test_a_closed_pool_takes_up_nothing_more(name: str) -> None:
    subject = Subject(calls.app.registry)
    subject.begin(name, 1)
    subject.outcome()
    subject.pool.close()
    finished = subject.pool.finished
    subject.begin(name, 1)
    subject.begin("nowhere")
    assert subject.appended.empty()
    assert (subject.pool.started, subject.pool.finished) == (finished, finished)


def test_what_ends_after_the_close_is_appended_no_more(subject: Subject, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    subject.begin("reads", str(pipe))
    with pipe.open("w") as writer:
        subject.pool.close()
        writer.write("too late")
    for thread in subject.pool._processes._threads:
        thread.join(PATIENCE_SECONDS)
    assert subject.pool.finished == 1
    assert subject.appended.empty()


def test_an_activity_no_other_process_could_find_is_refused_before_it_is_called() -> None:
    runtime = wf.WorkflowRuntime()
    runtime.register_activity(lambda ctx: None, name="crunch", executor="process")
    with pytest.raises(
        ConfigurationError, match="activity 'crunch', which asks for executor='process'"
    ) as raised:
        ActivityPool(runtime.registry, lambda append: None, 1)
    assert "define it at the top of a module" in str(raised.value)


@pytest.mark.parametrize("name", ["on_a_thread", "fails"])
def test_an_outcome_that_can_not_be_appended_is_told_to_who_can_end_the_worker(name: str) -> None:
    problem = OSError("the producer is done for")

    def refuse(append: Append) -> None:
        raise problem

    failures: queue.Queue[BaseException] = queue.Queue()
    subject = Subject(calls.app.registry)
    subject.pool = ActivityPool(calls.app.registry, refuse, 4, failures.put)
    subject.begin(name)
    assert failures.get(timeout=PATIENCE_SECONDS) is problem
    subject.pool.close()
