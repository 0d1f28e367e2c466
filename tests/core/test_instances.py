"""The life of an instance: start, scheduled start, reuse of ids, suspension, termination, purge."""

from datetime import timedelta

import pytest

import engine as wf
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from tests.core.driver import World, refusal, wait

waiting = wait()


def plain(ctx, value):
    return value


def stepping(ctx, names):
    got = []
    for name in names:
        got.append((yield ctx.wait_for_external_event(name)))
        ctx.set_custom_status(f"had {name}")
    return got


def test_a_start_runs_the_code_at_once_with_its_input():
    world = World(plain)
    turn = world.start(plain, [1])
    assert world.output() == [1]
    assert turn.effects == [ef.RunEnded(instance_id="i", run_id=turn.recorded[0].run_id)]


def test_a_second_start_of_an_active_instance_is_refused_whatever_it_is_at():
    world = World(waiting)
    world.start(waiting, at_ms=world.now_ms + 1)
    assert refusal(world.start(waiting)) is ef.Reason.INSTANCE_ALREADY_EXISTS
    world.advance(milliseconds=1)
    assert refusal(world.start(waiting)) is ef.Reason.INSTANCE_ALREADY_EXISTS
    world.suspend()
    assert refusal(world.start(waiting)) is ef.Reason.INSTANCE_ALREADY_EXISTS


def test_the_id_of_a_finished_instance_may_be_used_again_and_its_history_goes():
    world = World(plain)
    first = world.start(plain, 1).recorded[0].run_id
    turn = world.start(plain, 2)
    purge = turn.effects[0]
    assert isinstance(purge, ef.PurgeRun)
    assert (purge.run.run_id, purge.run.last_sequence) == (first, 2)
    assert turn.recorded[0].run_id != first
    assert turn.recorded[0].sequence == 1
    assert world.output() == 2


def test_a_scheduled_start_waits_for_its_time():
    world = World(plain)
    turn = world.start(plain, 1, at_ms=world.now_ms + 60_000)
    assert [type(effect) for effect in turn.effects] == [ef.ArmTimer]
    assert world.status() == "PENDING"
    world.advance(milliseconds=59_999)
    assert world.status() == "PENDING"
    world.advance(milliseconds=1)
    assert world.kinds() == ["InstanceStarted", "TimerFired", "InstanceCompleted"]


def test_a_start_time_that_is_past_starts_at_once():
    world = World(plain)
    world.start(plain, 1, at_ms=world.now_ms - 1)
    assert world.output() == 1


def test_a_suspended_instance_records_what_comes_and_observes_it_in_order_when_resumed():
    world = World(stepping)
    world.start(stepping, ["a", "b", "c"])
    world.suspend()
    assert world.status() == "SUSPENDED"
    for name in ("b", "a"):
        world.raise_event(name, name.upper())
    assert world.custom_status() is None
    world.resume()
    assert world.status() == "RUNNING"
    assert world.custom_status() == "had b"
    world.raise_event("c", "C")
    assert world.output() == ["A", "B", "C"]


def test_results_timers_and_events_of_a_suspension_come_in_the_order_they_came():
    def race(ctx, _value):
        order = []
        pending = {
            "call": ctx.call_activity("step"),
            "timer": ctx.create_timer(timedelta(seconds=1)),
            "event": ctx.wait_for_external_event("go"),
        }
        while pending:
            winner = yield wf.when_any(list(pending.values()))
            name = next(name for name, task in pending.items() if task == winner)
            order.append(name)
            del pending[name]
        return order

    world = World(race)
    world.start(race)
    world.suspend()
    world.raise_event("go")
    world.advance(seconds=1)
    world.complete()
    world.resume()
    assert world.output() == ["event", "timer", "call"]


def test_suspending_twice_and_resuming_once_lets_it_go_on():
    world = World(waiting)
    world.start(waiting)
    world.suspend()
    world.suspend()
    world.raise_event("go", 1)
    world.resume()
    assert world.output() == 1


def test_resuming_what_is_not_suspended_changes_nothing_for_the_code():
    world = World(waiting)
    world.start(waiting)
    world.resume()
    assert world.status() == "RUNNING"
    world.raise_event("go", 1)
    assert world.output() == 1


def test_a_pending_instance_can_be_suspended_and_begins_when_resumed():
    world = World(plain)
    world.start(plain, 1, at_ms=world.now_ms + 1_000)
    world.suspend()
    world.advance(seconds=2)
    assert world.status() == "SUSPENDED"
    world.resume()
    assert world.output() == 1


def test_the_code_that_runs_at_a_resumption_sees_the_time_of_the_resumption():
    def timed(ctx, _value):
        yield ctx.wait_for_external_event("go")
        return str(ctx.current_utc_datetime)

    world = World(timed)
    world.start(timed)
    world.suspend()
    world.raise_event("go")
    world.advance(hours=1)
    world.resume()
    assert world.output() == "2025-10-09 09:53:20"


def prepared(phase):
    world = World(waiting)
    world.start(waiting, at_ms=world.now_ms + 1_000 if phase == "pending" else None)
    if phase == "suspended":
        world.suspend()
    if phase == "stalled":
        world.seat().replay_error = "the code is another"
        world.raise_event("go")
        assert world.status() == "STALLED"
    return world


@pytest.mark.parametrize("phase", ["pending", "running", "suspended", "stalled"])
def test_an_instance_can_be_terminated_whatever_it_is_at(phase):
    world = prepared(phase)
    world.terminate(value={"why": "enough"})
    assert world.status() == "TERMINATED"
    assert world.output() == {"why": "enough"}


def test_terminating_nothing_or_something_finished_is_refused():
    world = World(plain)
    assert refusal(world.terminate()) is ef.Reason.INSTANCE_NOT_FOUND
    world.start(plain)
    assert refusal(world.terminate()) is ef.Reason.INSTANCE_FINISHED


def test_termination_lets_finally_blocks_run_but_not_act():
    seen = []

    def careful(ctx, _value):
        try:
            yield ctx.wait_for_external_event("go")
        finally:
            ctx.set_custom_status("undone")
            seen.append("undone")
            yield ctx.call_activity("undo")
            seen.append("more")

    world = World(careful)
    world.start(careful)
    world.terminate()
    assert world.kinds() == ["InstanceStarted", "InstanceTerminated"]
    assert set(seen) == {"undone"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_code_that_catches_whatever_ends_it_is_ended_all_the_same():
    def stubborn(ctx, _value):
        while True:
            try:
                yield ctx.wait_for_external_event("go")
            except BaseException:
                ctx.is_patched("again")

    world = World(stubborn)
    world.start(stubborn)
    world.terminate()
    assert world.kinds() == ["InstanceStarted", "InstanceTerminated"]


def test_what_arrives_for_a_terminated_run_is_an_orphan():
    def calling(ctx, _value):
        yield ctx.call_activity("step")

    world = World(calling)
    world.start(calling)
    world.terminate()
    assert refusal(world.complete()) is ef.Reason.UNKNOWN_CALL


@pytest.mark.parametrize("phase", ["pending", "running", "suspended", "stalled"])
def test_an_unfinished_instance_is_purged_only_by_force(phase):
    world = prepared(phase)
    assert refusal(world.purge()) is ef.Reason.INSTANCE_NOT_FINISHED
    turn = world.purge(force=True)
    assert turn.is_purged
    assert refusal(world.raise_event("go")) is ef.Reason.INSTANCE_NOT_FOUND


def test_a_finished_instance_is_purged_with_all_its_events():
    world = World(plain)
    run_id = world.start(plain).recorded[0].run_id
    turn = world.purge()
    (purge,) = turn.effects
    assert isinstance(purge, ef.PurgeRun)
    assert (purge.run.instance_id, purge.run.run_id, purge.run.last_sequence) == ("i", run_id, 2)
    assert refusal(world.purge()) is ef.Reason.INSTANCE_NOT_FOUND
    world.start(plain, "again")
    assert world.output() == "again"


def test_a_refused_record_is_refused_for_its_reason_even_while_stalled():
    world = prepared("stalled")
    refuse = cm.RefuseRecord(instance_id="i", reason="TooLarge", detail="900 MB", key=b"i", value=None)
    turn = world.send(refuse)
    assert turn.rejected == ef.Rejected(ef.Reason.TOO_LARGE, "900 MB")
    assert turn.recorded == []


def test_the_custom_status_is_the_last_one_set_and_recorded_once_per_change():
    def busy(ctx, _value):
        for number in range(5):
            ctx.set_custom_status(f"at {number}")
        yield ctx.wait_for_external_event("a")
        ctx.set_custom_status("at 4")
        yield ctx.wait_for_external_event("b")
        ctx.set_custom_status(None)

    world = World(busy)
    world.start(busy)
    assert world.custom_status() == "at 4"
    world.raise_event("a")
    assert world.events(ev.CustomStatusSet) == [ev.CustomStatusSet(status="at 4")]
    world.raise_event("b")
    assert world.custom_status() is None


def test_a_custom_status_of_another_type_is_shown_as_its_text():
    def number(ctx, _value):
        ctx.set_custom_status(3)
        yield ctx.wait_for_external_event("a")

    world = World(number)
    world.start(number)
    assert world.custom_status() == "3"
