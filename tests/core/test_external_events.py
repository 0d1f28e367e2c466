"""External events: first in, first out, in any case, before or after anyone waits; and waits with a bound."""

from datetime import timedelta

import pytest

import engine as wf
from engine.core import limits
from engine.model import effects as ef
from engine.model import events as ev
from tests.core.driver import World, refusal, wait

waiting = wait()


def three(ctx, names):
    got = []
    for name in names:
        value = yield ctx.wait_for_external_event(name)
        got.append(value)
    return got


def test_an_event_wakes_the_one_who_waits_for_it():
    world = World(waiting)
    world.start(waiting)
    assert world.status() == "RUNNING"
    world.raise_event("go", {"n": 1})
    assert world.output() == {"n": 1}


def test_an_event_without_data_is_none():
    world = World(waiting)
    world.start(waiting)
    world.raise_event("go")
    assert world.output() is None


@pytest.mark.parametrize("value", [0, "", [], False, {}])
def test_a_falsy_value_is_a_value(value):
    world = World(waiting)
    world.start(waiting)
    world.raise_event("go", value)
    assert world.output() == value


def test_names_are_compared_without_regard_to_case_and_kept_as_given():
    world = World(three)
    world.start(three, ["GO", "Straße"])
    world.raise_event("go", 1)
    world.raise_event("STRASSE", 2)
    assert world.output() == [1, 2]
    assert [event.name for event in world.events(ev.EventRaised)] == ["go", "STRASSE"]


def test_events_raised_before_anyone_waits_come_in_the_order_they_were_raised():
    world = World(three)
    world.start(three, ["first", "go", "GO"])
    for number in (1, 2):
        world.raise_event("Go", number)
    world.raise_event("first", 0)
    assert world.output() == [0, 1, 2]


def test_two_equal_events_both_arrive():
    world = World(three)
    world.start(three, ["go", "go"])
    world.raise_event("go", "same")
    assert world.status() == "RUNNING"
    world.raise_event("go", "same")
    assert world.output() == ["same", "same"]


def test_two_waits_for_one_name_are_served_in_their_order():
    def two(ctx, _value):
        first, second = (ctx.wait_for_external_event("go") for _ in range(2))
        return (yield wf.when_all([second, first]))

    world = World(two)
    world.start(two)
    world.raise_event("go", 1)
    world.raise_event("go", 2)
    assert world.output() == [2, 1]


def test_an_event_raised_before_the_scheduled_start_waits_for_it():
    world = World(waiting)
    world.start(waiting, at_ms=world.now_ms + 1_000)
    world.raise_event("go", 1)
    assert world.status() == "PENDING"
    world.advance(seconds=1)
    assert world.output() == 1


def test_an_event_for_no_instance_or_a_finished_one_is_refused():
    world = World(waiting)
    assert refusal(world.raise_event("go")) is ef.Reason.INSTANCE_NOT_FOUND
    world.start(waiting)
    world.raise_event("go")
    assert refusal(world.raise_event("go")) is ef.Reason.INSTANCE_FINISHED


def bounded(ctx, span):
    timeout = None if span is None else timedelta(milliseconds=span)
    try:
        value = yield ctx.wait_for_external_event("go", timeout=timeout)
    except TimeoutError as error:
        return str(error)
    yield ctx.create_timer(timedelta(hours=2))
    return value


def test_a_wait_ends_with_a_timeout_error_when_its_time_is_over():
    world = World(bounded)
    world.start(bounded, 60_000)
    assert world.events(ev.TimerCreated)[0].event_name == "go"
    world.advance(milliseconds=59_999)
    assert world.status() == "RUNNING"
    world.advance(milliseconds=1)
    assert world.output() == "no event 'go' came in time"


def test_an_event_in_time_cancels_the_timer_of_its_wait():
    world = World(bounded)
    world.start(bounded, 60_000)
    timer = world.timers[0]
    world.raise_event("GO", 1)
    assert world.kinds()[-2:] == ["TimerCancelled", "TimerCreated"]
    assert refusal(world.fire(timer)) is ef.Reason.SUPERSEDED
    world.advance(hours=2)
    assert world.output() == 1


@pytest.mark.parametrize("span", [0, -1, -86_400_000])
def test_a_wait_without_time_left_ends_at_once_and_makes_no_timer(span):
    world = World(bounded)
    world.start(bounded, span)
    assert world.kinds() == ["InstanceStarted", "InstanceCompleted"]
    assert "came in time" in world.output()


def test_a_wait_without_time_left_still_takes_what_is_there():
    def late(ctx, _value):
        yield ctx.create_timer(timedelta(seconds=1))
        return (yield ctx.wait_for_external_event("go", timeout=timedelta(0)))

    world = World(late)
    world.start(late)
    world.raise_event("go", "there")
    world.advance(seconds=1)
    assert world.output() == "there"


def test_a_wait_until_a_past_moment_ends_at_once():
    def past(ctx, _value):
        try:
            yield ctx.wait_for_external_event("go", timeout=ctx.current_utc_datetime - timedelta(days=1))
        except TimeoutError:
            return "over"

    world = World(past)
    world.start(past)
    assert world.output() == "over"


def test_an_event_after_its_timeout_waits_for_the_next_who_asks():
    def twice(ctx, _value):
        try:
            yield ctx.wait_for_external_event("go", timeout=timedelta(seconds=1))
        except TimeoutError:
            return (yield ctx.wait_for_external_event("go"))

    world = World(twice)
    world.start(twice)
    world.advance(seconds=1)
    world.raise_event("go", "late")
    assert world.output() == "late"


def test_the_event_of_an_abandoned_wait_is_taken_by_that_wait():
    def race(ctx, _value):
        approval = ctx.wait_for_external_event("go")
        winner = yield wf.when_any([approval, ctx.create_timer(timedelta(seconds=1))])
        assert winner is not approval
        yield ctx.wait_for_external_event("end")
        return approval.get_result()

    world = World(race)
    world.start(race)
    world.advance(seconds=1)
    world.raise_event("go", "too late to win")
    world.raise_event("end")
    assert world.output() == "too late to win"


def test_as_many_events_as_allowed_wait_and_one_more_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "UNCONSUMED_EVENTS_MAX", 3)
    world = World(three)
    world.start(three, ["first", "go", "go", "go", "go"])
    for number in range(3):
        assert refusal(world.raise_event("go", number)) is None
    turn = world.raise_event("go", 3)
    assert refusal(turn) is ef.Reason.EVENTS_LIMIT
    assert turn.rejected.detail == (
        "expected at most 3, but the instance has 3 unconsumed events and this one would be one more; "
        "let the workflow wait for them first"
    )


def test_events_held_by_a_suspension_count_as_well(monkeypatch):
    monkeypatch.setattr(limits, "UNCONSUMED_EVENTS_MAX", 3)
    world = World(three)
    world.start(three, ["go"] * 4)
    world.suspend()
    for number in range(3):
        world.raise_event("go", number)
    assert refusal(world.raise_event("go", 3)) is ef.Reason.EVENTS_LIMIT
    world.resume()
    world.raise_event("go", 3)
    assert world.output() == [0, 1, 2, 3]


def test_as_many_bytes_of_events_as_allowed_wait_and_the_next_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "UNCONSUMED_BYTES_MAX", 10)
    world = World(three)
    world.start(three, ["never", "go"])
    world.raise_event("go", "seven")
    world.raise_event("go", "to 14")
    turn = world.raise_event("go")
    assert refusal(turn) is ef.Reason.EVENTS_LIMIT
    assert "the instance has 14 bytes of unconsumed events" in turn.rejected.detail
