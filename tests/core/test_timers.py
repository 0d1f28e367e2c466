"""Timers: never early by the recorded clock, at once when past, and void when their run is."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine as wf
from engine.core import limits
from engine.core.decide import Early
from engine.model import effects as ef
from engine.model import events as ev
from tests.core.driver import START_MS, World, refusal


def sleeping(ctx, milliseconds):
    yield ctx.create_timer(timedelta(milliseconds=milliseconds))
    return str(ctx.current_utc_datetime)


def until(moment):
    def sleeper(ctx, _value):
        yield ctx.create_timer(moment)
        return "awake"

    return sleeper


def due_at_ms(moment):
    world = World(until(moment))
    world.start("sleeper")
    return world.events(ev.TimerCreated)[0].due_at_ms


def test_a_timer_fires_when_it_is_due_and_not_before():
    world = World(sleeping)
    world.start(sleeping, 60_000)
    world.advance(milliseconds=59_999)
    assert world.status() == "RUNNING"
    world.advance(milliseconds=1)
    assert world.output() == "2025-10-09 08:54:20"


def test_a_timer_that_comes_early_by_the_recorded_clock_is_armed_again():
    world = World(sleeping)
    world.start(sleeping, 1_000)
    timer = world.timers.pop()
    turn = world.fire(timer)
    assert turn.recorded == []
    assert turn.effects == [timer]
    assert world.timers == [timer]
    assert Early(timer.due_at_ms) == Early(START_MS + 1_000)


def test_a_timer_fires_not_a_millisecond_early_whoever_says_so():
    world = World(sleeping)
    world.start(sleeping, 1_000)
    timer = world.timers.pop()
    world.now_ms = timer.due_at_ms - 1
    turn = world.fire(timer)
    assert (turn.is_early, turn.recorded) == (True, [])
    world.now_ms = timer.due_at_ms
    turn = world.fire(timer)
    assert (turn.is_early, world.status()) == (False, "COMPLETED")


def test_a_retry_begins_not_a_millisecond_early():
    policy = wf.RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=2)

    def trying(ctx, _value):
        return (yield ctx.call_activity("step", retry_policy=policy))

    world = World(trying)
    world.start(trying)
    world.fail()
    timer = world.timers.pop()
    world.now_ms = timer.due_at_ms - 1
    assert world.fire(timer).recorded == []
    world.now_ms += 1
    world.fire(timer)
    world.complete("at last")
    assert world.output() == "at last"


def test_a_timer_fires_once_however_often_it_is_told():
    world = World(sleeping)
    world.start(sleeping, 0)
    timer = world.timers[0]
    world.advance(milliseconds=0)
    assert world.status() == "COMPLETED"
    assert refusal(world.fire(timer)) is ef.Reason.SUPERSEDED


@pytest.mark.parametrize("milliseconds", [0, -1, -(10**12)])
def test_a_past_timer_fires_at_once(milliseconds):
    world = World(sleeping)
    world.start(sleeping, milliseconds)
    assert world.events(ev.TimerCreated) == [ev.TimerCreated(due_at_ms=START_MS)]
    world.advance(milliseconds=0)
    assert world.status() == "COMPLETED"


def test_a_moment_may_be_naive_and_is_utc_then_or_of_any_zone():
    moment = datetime(2025, 10, 9, 9, 0, tzinfo=UTC)
    aware = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    milliseconds = int(moment.timestamp() * 1000)
    assert [due_at_ms(each) for each in (moment, moment.replace(tzinfo=None), aware)] == [milliseconds] * 3


def test_a_timer_lasts_up_to_ten_years_and_no_millisecond_longer():
    longest = timedelta(milliseconds=limits.TIMER_MS_MAX)
    assert due_at_ms(longest) == START_MS + limits.TIMER_MS_MAX
    world = World(until(longest + timedelta(milliseconds=1)))
    world.start("sleeper")
    assert world.failure().type == "ValueError"
    assert world.failure().message.startswith(
        "expected a timer from 0 to 3,660 days, but got 3660 days, 0:00"
    )


@given(st.integers(0, limits.TIMER_MS_MAX), st.integers(0, 2**42))
def test_now_plus_a_span_is_due_exactly_then(milliseconds, now_ms):
    def later(ctx, _value):
        span = timedelta(milliseconds=milliseconds)
        yield wf.when_all([ctx.create_timer(span), ctx.create_timer(ctx.current_utc_datetime + span)])

    world = World(later, now_ms=now_ms)
    world.start(later)
    assert [event.due_at_ms for event in world.events(ev.TimerCreated)] == [now_ms + milliseconds] * 2


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8))
def test_timers_fire_in_the_order_of_their_due_times(spans):
    def many(ctx, _value):
        order = []
        pending = {span: ctx.create_timer(timedelta(milliseconds=span)) for span in sorted(set(spans))}
        while pending:
            winner = yield wf.when_any(list(pending.values()))
            fired = next(span for span, task in pending.items() if task == winner)
            order.append(fired)
            del pending[fired]
        return order

    world = World(many)
    world.start(many)
    world.advance(seconds=10)
    assert world.output() == sorted(set(spans))


def test_the_clock_of_a_turn_never_goes_back():
    world = World(sleeping)
    world.start(sleeping, 1_000)
    world.advance(seconds=1)
    world.now_ms -= 500_000
    times = [recorded.recorded_at_ms for recorded in world.histories["i"]]
    assert times == sorted(times)
    world.start(sleeping, 1_000)
    assert world.histories["i"][0].recorded_at_ms == world.now_ms


def test_the_clock_of_a_running_instance_stands_still_while_the_brokers_goes_back():
    def two(ctx, _value):
        before = yield ctx.wait_for_external_event("a")
        now = ctx.current_utc_datetime
        yield ctx.wait_for_external_event("b")
        return [before, (ctx.current_utc_datetime - now).total_seconds()]

    world = World(two)
    world.start(two)
    world.raise_event("a")
    world.now_ms -= 60_000
    world.raise_event("b")
    assert world.output() == [None, 0.0]


def test_a_timer_that_is_due_while_suspended_is_recorded_and_observed_at_the_resumption():
    world = World(sleeping)
    world.start(sleeping, 1_000)
    world.suspend()
    world.advance(seconds=5)
    assert world.kinds()[-1] == "TimerFired"
    assert world.status() == "SUSPENDED"
    world.resume()
    assert world.output() == "2025-10-09 08:53:25"


def test_the_timers_of_a_terminated_run_are_void():
    world = World(sleeping)
    world.start(sleeping, 1_000)
    timer = world.timers[0]
    world.terminate()
    world.now_ms += 1_000
    assert refusal(world.fire(timer)) is ef.Reason.SUPERSEDED
