"""Every bound of a run's open calls and texts: at the limit all is well, one more is a clear error."""

import pickle
from datetime import timedelta

import pytest

import engine as wf
from engine.core import limits
from engine.core.limits import invalid_instance_id, invalid_name
from tests.core.driver import World

KINDS = {
    "activity": ("OPEN_ACTIVITIES_MAX", lambda ctx: ctx.call_activity("step")),
    "timer": ("OPEN_TIMERS_MAX", lambda ctx: ctx.create_timer(timedelta(hours=1))),
    "child": ("OPEN_CHILDREN_MAX", lambda ctx: ctx.call_child_workflow("child")),
}


def opening(act):
    def workflow(ctx, count):
        for _ in range(count):
            act(ctx)
        yield ctx.wait_for_external_event("go")
        try:
            act(ctx)
        except wf.LimitExceededError as error:
            return str(error)

    return workflow


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_calls_as_allowed_are_open_and_one_more_is_refused(kind):
    setting, act = KINDS[kind]
    limit = getattr(limits, setting)
    world = World(opening(act))
    world.start("workflow", limit)
    assert len(world.history()) == 1 + limit
    world.raise_event("go")
    assert world.output() == (
        f"expected the open calls of kind {kind!r} of one run to be at most {limit:,}, "
        f"but it is {limit + 1:,}; "
        "wait for some before more"
    )


def test_a_call_that_ended_makes_room_for_another(monkeypatch):
    monkeypatch.setattr(limits, "OPEN_ACTIVITIES_MAX", 1)
    monkeypatch.setattr(limits, "OPEN_TIMERS_MAX", 1)

    def one_at_a_time(ctx, _value):
        for _ in range(3):
            try:
                yield ctx.call_activity("step")
            except wf.TaskFailedError:
                yield ctx.create_timer(timedelta(seconds=1))
            yield ctx.wait_for_external_event("go", timeout=timedelta(hours=1))
        return "done"

    world = World(one_at_a_time)
    world.start(one_at_a_time)
    for _ in range(3):
        world.fail()
        world.advance(seconds=1)
        world.raise_event("go")
    assert world.output() == "done"


@pytest.mark.parametrize(
    "text", ["x" * limits.CUSTOM_STATUS_BYTES_MAX, "é" * (limits.CUSTOM_STATUS_BYTES_MAX // 2)]
)
def test_a_custom_status_at_the_limit_is_shown_and_one_byte_more_is_refused(text):
    def showing(ctx, status):
        ctx.set_custom_status(status)

    world = World(showing)
    world.start(showing, text)
    assert world.custom_status() == text
    world.start(showing, text + "x")
    assert world.failure().message == (
        "expected the custom status (bytes) to be at most 16,384, but it is 16,385; say less"
    )


def test_an_instance_id_may_be_as_long_as_allowed_and_no_longer():
    longest = "é" * (limits.INSTANCE_ID_BYTES_MAX // 2)
    assert invalid_instance_id(longest) is None
    assert invalid_instance_id(longest + "x") == "expected an instance id of 1 to 128 bytes, but it has 129"
    for wrong in ("", "~out", ".", "a/b", "a\tb", "a\u200bb", "\ud800"):
        assert invalid_instance_id(wrong) is not None
    for good in ("a|b", "order-1:child", "Ünïcode id", "0"):
        assert invalid_instance_id(good) is None


def test_a_name_may_be_as_long_as_allowed_and_no_longer():
    assert invalid_name("event name", "x" * limits.NAME_BYTES_MAX) is None
    text = "expected event name of 1 to 256 bytes, but it has 257"
    assert invalid_name("event name", "x" * (limits.NAME_BYTES_MAX + 1)) == text
    assert invalid_name("event name", "") == "expected event name of 1 to 256 bytes, but it has 0"


def test_an_error_at_a_limit_carries_its_numbers_and_survives_a_process():
    error = wf.LimitExceededError("the load (kg)", 1_001, 1_000, "take less")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.actual, again.limit) == (str(error), 1_001, 1_000)
    assert str(error) == "expected the load (kg) to be at most 1,000, but it is 1,001; take less"


def test_the_inputs_of_one_turn_are_bounded_and_the_next_turn_has_room_again(monkeypatch):
    monkeypatch.setattr(limits, "TURN_BYTES_MAX", 100)

    def greedy(ctx):
        yield ctx.call_activity("echo", input="x" * 80)
        yield ctx.call_activity("echo", input="x" * 80)
        ctx.call_activity("echo", input="x" * 80)
        try:
            ctx.call_activity("echo", input="x" * 80)
        except wf.LimitExceededError as error:
            return str(error)

    world = World(greedy)
    world.start("greedy")
    world.complete()
    world.complete()
    assert world.output() == (
        "expected what is asked for between two waits (bytes) to be at most 100, but it is 164; "
        "wait for some before more, or pass references"
    )
