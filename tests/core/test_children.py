"""Child workflows: their ids, what they tell their parent, and what their parent does to them."""

from datetime import timedelta

import pytest

import engine as wf
from engine.core import limits
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from tests.core.driver import World, refusal, wait

waiting = wait()


def parent(ctx, options):
    return (yield ctx.call_child_workflow("child", **options))


def catching(ctx, options):
    try:
        return (yield ctx.call_child_workflow("child", **options))
    except wf.TaskFailedError as error:
        return [error.details.error_type, error.details.message, str(error)]


def family(body, *others):
    def child(ctx, value):
        return body(ctx, value)

    return World(parent, catching, child, waiting, *others)


def test_a_child_gets_its_input_and_its_parent_the_output():
    world = family(lambda ctx, value: value * 2)
    world.start(parent, {"input": 21})
    world.settle()
    assert world.output() == 42


def test_the_default_id_of_a_child_holds_its_parents_id_run_and_the_calls_number():
    world = family(lambda ctx, value: None)
    turn = world.start(parent, {})
    run_id = turn.recorded[0].run_id
    assert world.messages[0].instance_id == f"i:{run_id[:8]}:0002"


def test_the_default_id_of_a_child_of_a_long_id_is_within_the_bound():
    world = family(lambda ctx, value: None)
    long_id = "x" * limits.INSTANCE_ID_BYTES_MAX
    world.start(parent, {}, instance_id=long_id)
    assert limits.invalid_instance_id(world.messages[0].instance_id) is None
    world.settle()
    assert world.status(long_id) == "COMPLETED"


def test_a_child_knows_its_parent_and_its_depth():
    world = family(lambda ctx, value: None)
    turn = world.start(parent, {"instance_id": "c"})
    world.deliver()
    started = world.history("c")[0]
    assert started.parent.instance_id == "i"
    assert started.parent.run_id == turn.recorded[0].run_id
    assert started.depth == 1


def test_a_failed_child_fails_its_call_with_its_own_error():
    def broken(ctx, value):
        raise KeyError("nothing there")

    world = family(broken)
    world.start(catching, {})
    world.settle()
    assert world.output() == [
        "KeyError",
        "'nothing there'",
        "i: Child workflow #2 failed: 'nothing there'",
    ]


def test_an_unhandled_failure_goes_up_level_by_level():
    def broken(ctx, value):
        raise KeyError("k")

    def grandparent(ctx, _value):
        yield ctx.call_child_workflow(parent, input={}, instance_id="p")

    world = family(broken, grandparent)
    world.start(grandparent)
    world.settle()
    assert world.failure("p").type == "TaskFailedError"
    assert world.failure().message == "i: Child workflow #2 failed: p: Child workflow #2 failed: 'k'"


def test_a_terminated_child_fails_its_call():
    world = family(waiting)
    world.start(catching, {"instance_id": "c"})
    world.deliver()
    world.terminate("c")
    world.deliver()
    assert world.output()[:2] == ["WorkflowTerminated", "child workflow 'c' was terminated"]


def test_a_terminated_child_is_not_tried_again():
    retry = wf.RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3)

    def insisting(ctx, _value):
        yield ctx.call_child_workflow(waiting, instance_id="c", retry_policy=retry)

    world = family(waiting, insisting)
    world.start(insisting)
    world.deliver()
    world.terminate("c")
    world.deliver()
    assert world.kinds() == ["InstanceStarted", "ChildScheduled", "ChildFailed", "InstanceFailed"]
    (failed,) = world.events(ev.ChildFailed)
    assert (failed.attempt, failed.failure.retryable) == (1, False)


def test_a_child_whose_id_is_in_use_fails_its_call_and_leaves_the_other_alone():
    world = family(lambda ctx, value: None)
    world.start(waiting.__name__, instance_id="c")
    retry = wf.RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3)

    def insisting(ctx, _value):
        try:
            yield ctx.call_child_workflow("child", instance_id="c", retry_policy=retry)
        except wf.TaskFailedError as error:
            return [error.details.error_type, error.details.message]

    world.registry.add_workflow(insisting, None)
    world.start(insisting)
    world.deliver()
    assert world.output() == [
        "WorkflowInstanceAlreadyExists",
        "an active workflow with ID 'c' already exists",
    ]
    assert world.status("c") == "RUNNING"


def test_an_instance_that_calls_itself_as_a_child_is_told_so():
    world = family(lambda ctx, value: None)
    world.start(catching, {"instance_id": "i"})
    world.deliver()
    assert world.output()[0] == "WorkflowInstanceAlreadyExists"


def test_a_failed_child_is_started_again_under_the_same_id():
    attempts = []

    def shaky(ctx, value):
        attempts.append(ctx.run_id)
        if len(set(attempts)) < 3:
            raise ValueError(len(set(attempts)))
        return "third time lucky"

    retry = wf.RetryPolicy(first_retry_interval=timedelta(seconds=1), max_number_of_attempts=3)

    def retrying(ctx, _value):
        return (yield ctx.call_child_workflow("child", instance_id="c", retry_policy=retry))

    world = family(shaky, retrying)
    world.start(retrying)
    for _ in range(3):
        world.deliver()
        world.advance(seconds=1)
    assert world.output() == "third time lucky"
    assert world.kinds()[2:6] == ["ChildAttemptFailed", "ChildRetried", "ChildAttemptFailed", "ChildRetried"]
    assert len(world.runs["c"]) == 3


def test_a_child_that_continues_as_new_tells_its_parent_only_at_the_end():
    def counting(ctx, value):
        if value < 3:
            yield ctx.create_timer(timedelta(seconds=1))
            ctx.continue_as_new(value + 1)
            return None
        return value

    world = family(counting)
    world.start(parent, {"input": 0, "instance_id": "c"})
    world.deliver()
    for _ in range(3):
        assert world.status() == "RUNNING"
        world.advance(seconds=1)
        world.deliver()
    assert world.output() == 3


def test_a_recursive_termination_reaches_grandchildren_with_its_output():
    def middle(ctx, _value):
        yield ctx.call_child_workflow("waiting", instance_id="grandchild")

    world = family(middle)
    world.start(parent, {"instance_id": "c"})
    world.settle()
    world.terminate(value="stop")
    world.deliver()
    assert [world.output(each) for each in ("i", "c", "grandchild")] == ["stop"] * 3


def test_a_termination_that_is_not_recursive_leaves_children_alone_and_drops_their_results():
    world = family(waiting)
    world.start(parent, {"instance_id": "c"})
    world.deliver()
    world.terminate(recursive=False)
    assert not world.messages
    world.raise_event("go", instance_id="c")
    assert world.status("c") == "COMPLETED"
    assert refusal(world.send(world.messages.popleft())) is ef.Reason.UNKNOWN_CALL


def test_the_termination_of_a_child_that_never_started_hurts_nobody():
    world = family(waiting)
    command = cm.TerminateChild(instance_id="c", parent_instance_id="i", parent_run_id="r")
    assert refusal(world.send(command)) is ef.Reason.UNKNOWN_CALL


def test_a_recursive_purge_takes_the_children_along():
    world = family(lambda ctx, value: value)
    world.start(parent, {"instance_id": "c"})
    world.settle()
    world.purge()
    world.deliver()
    assert refusal(world.purge("c")) is ef.Reason.INSTANCE_NOT_FOUND


def test_a_purge_that_is_not_recursive_leaves_the_children():
    world = family(lambda ctx, value: value)
    world.start(parent, {"instance_id": "c"})
    world.settle()
    world.purge(recursive=False)
    world.deliver()
    assert world.purge("c").is_purged


def test_a_recursive_purge_does_not_reach_a_later_instance_of_the_same_id():
    world = family(lambda ctx, value: value)
    world.start(parent, {"instance_id": "c"})
    world.settle()
    world.start("child", "mine", instance_id="c")
    world.purge()
    world.deliver()
    assert world.output("c") == "mine"


def test_a_forced_purge_of_a_running_family_leaves_nobody():
    world = family(waiting)
    world.start(parent, {"instance_id": "c"})
    world.deliver()
    world.purge(force=True)
    world.deliver()
    assert refusal(world.raise_event("go", instance_id="c")) is ef.Reason.INSTANCE_NOT_FOUND


def test_a_child_that_is_purged_while_it_runs_fails_its_call():
    world = family(waiting)
    world.start(catching, {"instance_id": "c"})
    world.deliver()
    world.purge("c", force=True)
    world.deliver()
    assert world.output()[:2] == ["WorkflowPurged", "child workflow 'c' was purged while it ran"]


def test_children_nest_as_deep_as_allowed_and_no_deeper():
    def nesting(ctx, level):
        try:
            return (yield ctx.call_child_workflow("nesting", input=level + 1, instance_id=f"d{level + 1}"))
        except wf.LimitExceededError as error:
            return [level, str(error)]

    world = World(nesting)
    world.start(nesting, 0)
    world.settle()
    level, text = world.output()
    assert level == limits.DEPTH_MAX
    assert text == "expected the nesting of child workflows to be at most 32, but it is 33; nest less deeply"


@pytest.mark.parametrize("bad_id", ["", "~x", ".x", "a/b", "a\nb", "x" * (limits.INSTANCE_ID_BYTES_MAX + 1)])
def test_a_child_id_that_cannot_be_one_is_refused_by_the_call(bad_id):
    def calling(ctx, _value):
        yield ctx.call_child_workflow("child", instance_id=bad_id)

    world = World(calling)
    world.start(calling)
    assert world.failure().type == "ValueError"
    assert world.failure().message.startswith("expected an instance id")


def test_a_child_that_runs_on_is_not_hurt_by_its_parents_end():
    def forgetful(ctx, _value):
        ctx.call_child_workflow("child", instance_id="c")

    world = family(waiting, forgetful)
    world.start(forgetful)
    assert world.kinds() == ["InstanceStarted", "ChildScheduled", "InstanceCompleted"]
    world.deliver()
    world.raise_event("go", 1, instance_id="c")
    assert world.output("c") == 1
    world.deliver()
    assert world.events(ev.ChildCompleted) == []
