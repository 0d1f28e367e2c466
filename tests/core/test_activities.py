"""Calls of activities: what is handed out, what comes back in which order, and what is an orphan."""

from datetime import timedelta

import msgspec
import pytest

import engine as wf
from engine.core import limits
from engine.core.consequences import open_effects
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.failure import failure_of
from engine.node.activities import result_of
from tests.core.driver import World, payload, refusal


def chain(ctx, value):
    for _ in range(3):
        value = yield ctx.call_activity("add", input=value)
    return value


def add(ctx, value):
    return value + 1


def catching(ctx, _value):
    try:
        return (yield ctx.call_activity("step"))
    except wf.TaskFailedError as error:
        return [str(error), error.details.error_type, error.details.message, error.details.stack_trace]


def test_a_chain_hands_the_result_of_one_step_to_the_next():
    world = World(chain, add=add)
    world.start(chain, 1)
    world.settle()
    assert world.output() == 4
    assert world.kinds() == [
        "InstanceStarted",
        *["ActivityScheduled", "ActivityCompleted"] * 3,
        "InstanceCompleted",
    ]


def test_a_call_says_what_a_worker_needs_and_what_its_result_is_known_by():
    world = World(chain)
    turn = world.start(chain, 1)
    assert world.call() == ef.RunActivity(
        instance_id="i",
        run_id=turn.recorded[0].run_id,
        workflow="chain",
        scheduled=2,
        call_id=turn.recorded[1].event.call_id,
        name="add",
        input=payload(1),
        attempt=1,
    )


def test_a_failure_reaches_the_code_with_type_message_and_stack():
    def step(ctx):
        raise KeyError("gone")

    world = World(catching, step=step)
    world.start(catching)
    world.settle()
    text, kind, message, stack = world.output()
    assert (text, kind, message) == ("i: Activity task #2 failed: 'gone'", "KeyError", "'gone'")
    assert "in step" in stack


def test_a_failure_nobody_handles_fails_the_run():
    world = World(chain)
    world.start(chain, 1)
    world.fail("no luck")
    assert world.failure().type == "TaskFailedError"
    assert world.failure().message == "i: Activity task #2 failed: no luck"


def test_compensation_runs_after_a_failure():
    def booking(ctx, _value):
        done = []
        try:
            for name in ("flight", "hotel", "car"):
                yield ctx.call_activity(f"book_{name}")
                done.append(name)
        except wf.TaskFailedError:
            for name in reversed(done):
                yield ctx.call_activity(f"cancel_{name}")
        return done

    world = World(booking)
    world.start(booking)
    world.complete(name="book_flight")
    world.complete(name="book_hotel")
    world.fail(name="book_car")
    world.complete(name="cancel_hotel")
    world.complete(name="cancel_flight")
    assert world.output() == ["flight", "hotel"]


def test_a_finally_block_may_call_and_wait():
    def renting(ctx, _value):
        try:
            yield ctx.call_activity("use")
        finally:
            yield ctx.call_activity("release")

    world = World(renting)
    world.start(renting)
    world.fail("broken", name="use")
    world.complete(name="release")
    assert world.failure().message == "i: Activity task #2 failed: broken"


def test_an_error_in_the_compensation_is_the_runs_failure():
    def renting(ctx, _value):
        try:
            yield ctx.call_activity("use")
        except wf.TaskFailedError:
            yield ctx.call_activity("undo")

    world = World(renting)
    world.start(renting)
    world.fail("first", name="use")
    world.fail("second", name="undo")
    assert world.failure().message == "i: Activity task #4 failed: second"


def forgetful(ctx, _value):
    ctx.call_activity("alert", input="look")
    return "done"


def test_an_activity_nobody_waits_for_is_recorded_and_run():
    world = World(forgetful)
    turn = world.start(forgetful)
    assert world.kinds() == ["InstanceStarted", "ActivityScheduled", "InstanceCompleted"]
    assert [type(effect) for effect in turn.effects] == [ef.RunActivity, ef.RunEnded]
    assert refusal(world.complete()) is ef.Reason.UNKNOWN_CALL


def test_a_result_is_taken_once():
    world = World(chain)
    world.start(chain, 1)
    call = world.call()
    world.complete(2)
    assert refusal(world.send(result_of(call, payload(99)))) is ef.Reason.UNKNOWN_CALL
    assert world.call().input == payload(2)


def test_a_result_of_another_call_never_reaches_the_one_that_has_its_number():
    world = World(chain)
    world.start(chain, 1)
    other = msgspec.structs.replace(world.call(), call_id=b"x" * 16)
    assert refusal(world.send(result_of(other, payload(99)))) is ef.Reason.UNKNOWN_CALL
    assert refusal(world.send(result_of(other, failure_of("E", "e")))) is ef.Reason.UNKNOWN_CALL
    assert world.events(ev.ActivityCompleted) == []


def test_what_is_asked_for_decides_the_calls_id():
    def one(ctx, _value):
        yield ctx.call_activity("a", input=1)

    def two(ctx, _value):
        yield ctx.call_activity("a", input=2)

    ids = []
    for body in (one, two):
        world = World()
        world.registry.add_workflow(body, "w")
        world.start("w")
        ids.append(world.call().call_id)
    assert len(set(ids)) == 2


def test_a_call_may_name_a_function_that_was_registered_under_another_name():
    registered = wf.WorkflowRuntime()

    @registered.activity(name="charge-card")
    def charge(ctx): ...

    def calling(ctx, _value):
        yield ctx.call_activity(charge)

    world = World(calling)
    world.start(calling)
    assert world.call().name == "charge-card"


def test_a_call_to_another_app_is_refused_with_a_clear_text():
    def calling(ctx, where):
        yield ctx.call_activity("a", app_id=where)

    def child(ctx, where):
        yield ctx.call_child_workflow("a", app_id=where)

    for workflow in (calling, child):
        world = World(workflow)
        world.registry.app_id = "orders"
        world.start(workflow, "billing")
        assert world.failure().type == "NotImplementedError"
        assert world.failure().message == (
            "expected app_id to be None or this app, 'orders', but got 'billing': "
            "calls to other apps are not available yet"
        )
    world = World(calling)
    world.registry.app_id = "orders"
    world.start(calling, "orders")
    assert world.call().name == "a"


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * (limits.NAME_BYTES_MAX + 1)])
def test_a_name_that_cannot_be_one_is_refused_by_the_call(name):
    def calling(ctx, _value):
        yield ctx.call_activity(name)

    world = World(calling)
    world.start(calling)
    assert world.failure().type == "ValueError"
    assert "expected activity name" in world.failure().message


def test_what_a_new_owner_must_set_going_again_is_what_is_open():
    def busy(ctx, _value):
        again = wf.RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=9)
        tasks = [ctx.call_activity("a"), ctx.call_activity("b", retry_policy=again)]
        tasks += [ctx.create_timer(timedelta(hours=1)), ctx.call_activity("c")]
        tasks += [ctx.call_child_workflow("d", retry_policy=again)]
        yield wf.when_all(tasks)

    world = World(busy)
    world.start(busy)
    world.fail(name="b")
    world.complete(name="c")
    state = world.seat().state
    effects = open_effects(state)
    assert [effect.name for effect in effects if isinstance(effect, ef.RunActivity)] == ["a"]
    assert sorted(effect.timer for effect in effects if isinstance(effect, ef.ArmTimer)) == [3, 4]
