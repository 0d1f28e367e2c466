"""A workflow that uses everything, under commands in any order: live and replayed, it does the same (I6).

The driver compares a live seat with one rebuilt from history at every command; here are the orders to try.
"""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

import engine as wf
from engine.model import events as ev
from tests.core.driver import World

RETRY = wf.RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=2)


def everything(ctx, rounds):
    """Waits, times out, retries, fans out, calls children, compensates and starts over."""
    ctx.set_custom_status(f"{rounds} left")
    bounded = ctx.wait_for_external_event("a", timeout=timedelta(seconds=ctx.random_int(0, 3)))
    call = ctx.call_activity("step", input=rounds, retry_policy=RETRY)
    child = ctx.call_child_workflow(small, input=rounds, retry_policy=RETRY)
    winner = yield wf.when_any([bounded, call, child])
    ctx.set_custom_status(None if winner.is_failed else "first is done")
    try:
        yield wf.when_all([bounded, call, child])
    except (wf.TaskFailedError, TimeoutError) as error:
        yield ctx.call_activity("undo", input=str(error))
    if ctx.is_patched("nap"):
        yield ctx.create_timer(timedelta(milliseconds=ctx.random_int(-1, 2000)))
    ctx.call_activity("alert", input=str(ctx.uuid4()))
    if rounds:
        ctx.continue_as_new(rounds - 1, save_events=bool(rounds % 2))
        return None
    return [str(ctx.current_utc_datetime), (yield ctx.wait_for_external_event("B"))]


def small(ctx, value):
    """A child that asks for one thing."""
    yield ctx.wait_for_external_event("a", timeout=timedelta(seconds=1))
    return (yield ctx.call_activity("step", input=value))


def someone(world, number):
    """Some call's index, or none where there is no call."""
    return world.calls[number % len(world.calls)] if world.calls else None


def finish_call(world, number, *, good):
    call = someone(world, number)
    if call is not None:
        world.calls.remove(call)
        world.calls.insert(0, call)
        if good:
            world.complete(number)
        else:
            world.fail(str(number), kind="NonRetryableError" if number % 3 == 0 else "ValueError")


def fire_any(world, number):
    if world.timers:
        timer = world.timers.pop(number % len(world.timers))
        world.fire(timer)
        if timer not in world.timers:
            world.timers.append(timer)


ids = st.sampled_from(["i", "j", "child"])
STEPS = st.one_of(
    st.tuples(st.just("start"), ids, st.integers(0, 2)),
    st.tuples(st.just("raise"), ids, st.sampled_from(["a", "A", "b", "c"])),
    st.tuples(st.sampled_from(["suspend", "resume", "resume"]), ids, st.none()),
    st.tuples(st.sampled_from(["terminate", "purge", "force"]), ids, st.booleans()),
    st.tuples(st.sampled_from(["complete", "complete", "fail", "fire"]), ids, st.integers(0, 20)),
    st.tuples(st.just("advance"), ids, st.integers(0, 2500)),
    st.tuples(st.just("back"), ids, st.integers(1, 5000)),
    st.tuples(st.sampled_from(["deliver", "deliver one"]), ids, st.none()),
)


def take(world, step, who, what):
    if who == "child":
        who = next((each for each in world.seats if ":" in each), "i")
    actions = {
        "start": lambda: world.start(everything, what, instance_id=who),
        "raise": lambda: world.raise_event(what, len(world.histories), instance_id=who),
        "suspend": lambda: world.suspend(who),
        "resume": lambda: world.resume(who),
        "terminate": lambda: world.terminate(who, recursive=what),
        "purge": lambda: world.purge(who, recursive=what),
        "force": lambda: world.purge(who, force=True, recursive=what),
        "complete": lambda: finish_call(world, what, good=True),
        "fail": lambda: finish_call(world, what, good=False),
        "fire": lambda: fire_any(world, what),
        "advance": lambda: world.advance(milliseconds=what),
        "deliver": world.deliver,
        "deliver one": lambda: world.messages and world.send(world.messages.popleft()),
    }
    if step == "back":
        world.now_ms -= what
    else:
        actions[step]()


def check(runs):
    """Dense numbers, one end and nothing behind it, each call with one outcome after it, time never back."""
    for history in runs:
        assert [each.sequence for each in history] == list(range(1, len(history) + 1))
        ends = [number for number, each in enumerate(history) if isinstance(each.event, ev.TERMINAL_EVENTS)]
        assert ends in ([], [len(history) - 1])
        times = [each.recorded_at_ms for each in history]
        assert times == sorted(times)
        outcomes = [
            each.event.scheduled
            for each in history
            if isinstance(
                each.event, ev.ActivityCompleted | ev.ActivityFailed | ev.ChildCompleted | ev.ChildFailed
            )
        ]
        assert len(outcomes) == len(set(outcomes))
        for each in history:
            if type(each.event) is ev.TimerFired:
                timer = history[each.event.timer - 1].event
                due_at_ms = timer.due_at_ms if type(timer) is ev.TimerCreated else timer.start_at_ms
                assert each.recorded_at_ms >= due_at_ms


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=5, max_size=40))
def test_whatever_comes_in_whatever_order_live_and_replayed_runs_agree(steps):
    world = World(everything, small)
    world.start(everything, 2)
    for step, who, what in steps:
        take(world, step, who, what)
    for runs in world.runs.values():
        check(runs)


@settings(max_examples=20)
@given(st.lists(STEPS, max_size=20))
def test_whatever_has_come_an_instance_that_is_served_comes_to_its_end(steps):
    world = World(everything, small, step=lambda _, x: x, undo=lambda _, x: x, alert=lambda _, x: x)
    world.start(everything, 2)
    for step, who, what in steps:
        if step not in ("purge", "force"):
            take(world, step, who, what)
    for _ in range(12):
        for who in list(world.seats):
            if world.seat(who).is_live:
                world.resume(who)
            if world.seat(who).is_live:
                world.raise_event("b", instance_id=who)
        world.settle()
        world.advance(hours=1)
    assert {world.status(who) for who in world.histories} <= {"COMPLETED", "TERMINATED", "FAILED"}
