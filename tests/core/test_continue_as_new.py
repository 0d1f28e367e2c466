"""continue_as_new: what a new run keeps, what it drops, and what of the old one can no longer touch it."""

from datetime import timedelta

import pytest

from engine.core import limits
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.ids import run_id_of_continuation
from tests.core.driver import World, refusal


def counting(ctx, value):
    yield ctx.wait_for_external_event("next")
    ctx.continue_as_new(value + 1)


def yielding(ctx, value):
    yield ctx.wait_for_external_event("next")
    yield ctx.continue_as_new(value + 1)
    raise AssertionError("nothing runs behind it")


def returning(ctx, value):
    yield ctx.wait_for_external_event("next")
    return ctx.continue_as_new(value + 1)


@pytest.mark.parametrize("workflow", [counting, yielding, returning])
def test_a_run_starts_over_with_its_new_input_whether_yielded_returned_or_neither(workflow):
    world = World(workflow)
    first = world.start(workflow, 0).recorded[0].run_id
    world.raise_event("next")
    old, new = world.runs["i"]
    assert type(old[-1].event) is ev.InstanceContinuedAsNew
    assert new[0].run_id == old[-1].event.new_run_id == run_id_of_continuation(first)
    assert new[0].event.previous_run_id == first
    assert new[0].event.input.data == b"1"
    assert world.status() == "RUNNING"


def test_the_old_runs_history_is_purged_in_the_same_turn():
    world = World(counting)
    first = world.start(counting, 0).recorded[0].run_id
    turn = world.raise_event("next")
    purged = [effect.run for effect in turn.effects if isinstance(effect, ef.PurgeRun)]
    assert [(run.run_id, run.last_sequence) for run in purged] == [(first, 3)]


def eager(ctx, value):
    if value < 50:
        ctx.continue_as_new(value + 1)
        return None
    return value


def test_a_workflow_that_never_waits_lets_others_have_a_turn_in_between():
    world = World(eager)
    turn = world.start(eager, 0)
    assert len(world.runs["i"]) == limits.CONTINUATIONS_PER_TURN_MAX + 1
    assert world.status() == "PENDING"
    assert turn.effects[-1].due_at_ms == world.now_ms
    world.advance(milliseconds=0)
    assert world.output() == 50
    assert len(world.runs["i"]) == 51


def test_an_eternal_workflow_that_never_waits_can_be_terminated():
    def eternal(ctx, value):
        ctx.continue_as_new(value + 1)

    world = World(eternal)
    world.start(eternal, 0)
    world.terminate(value="enough")
    assert world.output() == "enough"


def saving(ctx, keep):
    yield ctx.wait_for_external_event("next")
    if keep is None:
        first = yield ctx.wait_for_external_event("extra")
        return [first, (yield ctx.wait_for_external_event("extra"))]
    ctx.continue_as_new(None, save_events=keep)


def test_unconsumed_events_go_along_when_asked_to_and_keep_their_order():
    world = World(saving)
    world.start(saving, True)
    for number in (1, 2):
        world.raise_event("extra", number)
    world.raise_event("next")
    assert world.history()[0].saved_events == 2
    assert world.kinds() == ["InstanceStarted", "EventRaised", "EventRaised"]
    world.raise_event("next")
    assert world.output() == [1, 2]


def test_unconsumed_events_stay_behind_when_not_asked_for():
    world = World(saving)
    world.start(saving, False)
    world.raise_event("extra", 1)
    world.raise_event("next")
    assert world.kinds() == ["InstanceStarted"]
    world.raise_event("next")
    world.raise_event("extra", 2)
    world.raise_event("extra", 3)
    assert world.output() == [2, 3]


def test_a_saved_event_without_data_stays_one():
    world = World(saving)
    world.start(saving, True)
    world.raise_event("extra")
    world.raise_event("extra", 0)
    world.raise_event("next")
    world.raise_event("next")
    assert world.output() == [None, 0]


def test_events_held_by_a_suspension_go_along_too():
    world = World(saving)
    world.start(saving, True)
    world.suspend()
    world.raise_event("next")
    world.raise_event("extra", 1)
    world.raise_event("extra", 2)
    world.resume()
    assert world.history()[0].saved_events == 2
    world.raise_event("next")
    assert world.output() == [1, 2]


def test_saved_events_of_a_run_that_may_not_go_on_at_once_wait_for_it():
    def hasty(ctx, value):
        if value < limits.CONTINUATIONS_PER_TURN_MAX:
            if value == 0:
                yield ctx.wait_for_external_event("next")
            ctx.continue_as_new(value + 1, save_events=True)
            return None
        return (yield ctx.wait_for_external_event("extra"))

    world = World(hasty)
    world.start(hasty, 0)
    world.raise_event("extra", "kept")
    world.raise_event("next")
    assert world.status() == "PENDING"
    assert world.kinds() == ["InstanceStarted", "EventRaised"]
    world.advance(milliseconds=0)
    assert world.output() == "kept"


def test_the_custom_status_is_carried_over_and_can_be_cleared():
    def showing(ctx, status):
        if status == "first":
            ctx.set_custom_status("shown")
            yield ctx.wait_for_external_event("next")
            ctx.continue_as_new("second")
            return
        yield ctx.wait_for_external_event("next")
        ctx.set_custom_status(None)
        yield ctx.wait_for_external_event("next")

    world = World(showing)
    world.start(showing, "first")
    world.raise_event("next")
    assert world.custom_status() == "shown"
    world.raise_event("next")
    assert world.custom_status() is None


def test_late_results_timers_and_children_of_the_old_run_are_dropped():
    def restless(ctx, value):
        ctx.call_activity("step")
        ctx.create_timer(timedelta(seconds=1))
        ctx.call_child_workflow("child", instance_id=f"c{value}")
        yield ctx.wait_for_external_event("next")
        ctx.continue_as_new(value + 1)

    def child(ctx, value):
        return "done"

    world = World(restless, child)
    world.start(restless, 0)
    old_call, old_timer = world.calls.pop(), world.timers.pop()
    world.raise_event("next")
    new_call = world.calls[-1]
    assert (new_call.scheduled, new_call.name) == (old_call.scheduled, old_call.name)
    world.calls.append(old_call)
    world.calls.reverse()
    assert refusal(world.complete("of the old run")) is ef.Reason.UNKNOWN_CALL
    world.now_ms += 1_000
    assert refusal(world.fire(old_timer)) is ef.Reason.SUPERSEDED
    world.send(world.messages.popleft())
    assert refusal(world.send(world.messages.pop())) is ef.Reason.UNKNOWN_CALL
    assert world.kinds() == ["InstanceStarted", "ActivityScheduled", "TimerCreated", "ChildScheduled"]


def test_what_was_called_before_the_continuation_is_recorded_and_run():
    def alerting(ctx, value):
        yield ctx.wait_for_external_event("next")
        ctx.call_activity("alert")
        ctx.continue_as_new(value)

    world = World(alerting)
    world.start(alerting, 0)
    world.raise_event("next")
    old, _ = world.runs["i"]
    assert [type(each.event).__name__ for each in old][-2:] == ["ActivityScheduled", "InstanceContinuedAsNew"]
    assert world.call("alert").attempt == 1


def test_a_termination_ends_the_new_run_as_it_would_the_old():
    world = World(counting)
    world.start(counting, 0)
    world.raise_event("next")
    world.terminate()
    assert world.status() == "TERMINATED"


def test_an_error_after_the_wish_to_continue_fails_the_run():
    def broken(ctx, value):
        ctx.continue_as_new(1)
        raise ValueError("no")

    world = World(broken)
    world.start(broken)
    assert world.failure().message == "no"


def test_every_run_has_ids_and_randomness_of_its_own():
    def drawing(ctx, seen):
        seen = [*(seen or []), [ctx.run_id, str(ctx.uuid4())]]
        if len(seen) < 3:
            ctx.continue_as_new(seen)
            return None
        return seen

    world = World(drawing)
    world.start(drawing)
    for values in zip(*world.output(), strict=True):
        assert len(set(values)) == 3
