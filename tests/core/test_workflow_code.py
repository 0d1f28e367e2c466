"""What code a workflow may be, and what becomes of every way it can go wrong. No way ends the partition."""

import asyncio
import re
import sys
from datetime import timedelta

import pytest

import engine as wf
from engine.codec import avro
from engine.core.registry import Registry
from engine.core.tasks import Task
from engine.model.failure import MESSAGE_BYTES_MAX, STACK_BYTES_MAX
from engine.node.activities import ActivityPool
from tests.core.driver import World, wait

waiting = wait()


def test_a_plain_function_is_a_workflow_of_one_turn():
    def plain(ctx, value):
        ctx.set_custom_status("quick")
        return value + 1

    world = World(plain)
    world.start(plain, 1)
    assert world.output() == 2
    assert world.custom_status() == "quick"


def test_a_workflow_without_an_input_parameter_is_called_without():
    def bare(ctx):
        return (yield ctx.wait_for_external_event("go"))

    world = World(bare)
    world.start(bare, "ignored")
    world.raise_event("go", 1)
    assert world.output() == 1


def test_helpers_may_yield_for_the_workflow():
    def helper(ctx, name):
        return (yield ctx.wait_for_external_event(name))

    def main(ctx, _value):
        first = yield from helper(ctx, "a")
        return [first, (yield from helper(ctx, "b"))]

    world = World(main)
    world.start(main)
    world.raise_event("a", 1)
    world.raise_event("b", 2)
    assert world.output() == [1, 2]


async def coroutine(ctx, _value):
    pass


async def async_generator(ctx, _value):
    yield 1


@pytest.mark.parametrize("workflow", [coroutine, async_generator])
def test_an_async_workflow_is_refused_and_one_that_hides_it_fails_with_a_clear_text(workflow):
    text = "expected workflow {!r} to be a generator or plain function, but it is async"
    with pytest.raises(TypeError, match=text.format(workflow.__name__)):
        Registry().add_workflow(workflow, None)

    def hiding(ctx, value):
        return workflow(ctx, value)

    world = World(hiding)
    world.start(hiding)
    assert world.failure().type == "TypeError"
    assert world.failure().message == text.format("hiding")


@pytest.mark.parametrize("value", [1, None, "task", [Task()]])
def test_a_yield_of_what_is_no_task_fails_the_run_with_a_clear_text(value):
    def wrong(ctx, _value):
        yield value

    world = World(wrong)
    world.start(wrong)
    assert world.failure().type == "TypeError"
    assert world.failure().message == (
        f"expected workflow 'wrong' to yield tasks, but it yielded {type(value).__name__}"
    )


def test_a_workflow_nobody_registered_fails_and_says_what_is():
    world = World(waiting)
    world.start("nowhere")
    assert world.failure().type == "WorkflowNotRegisteredError"
    assert world.failure().message == ("expected a registered workflow, but 'nowhere' is not one of: waiting")


def test_an_activity_nobody_registered_fails_its_call_and_says_what_is():
    def calling(ctx, _value):
        yield ctx.call_activity("nowhere")

    world = World(calling, somewhere=lambda ctx: None)
    world.start(calling)
    appended = []
    pool = ActivityPool(world.registry, appended.append, 1)
    pool.run(world.call(), 0, is_isolated=False)
    world.send(avro.decode_command(appended[0].value))
    assert "expected a registered activity, but 'nowhere' is not one of: somewhere" in world.failure().message


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


RAISED = [
    (lambda: ValueError("wrong"), "ValueError", "wrong"),
    (lambda: SystemExit(3), "SystemExit", "3"),
    (lambda: asyncio.CancelledError("cancelled"), "CancelledError", "cancelled"),
    (lambda: KeyboardInterrupt("stop"), "KeyboardInterrupt", "stop"),
    (lambda: GeneratorExit("out"), "GeneratorExit", "out"),
    (lambda: StopIteration("stop"), "RuntimeError", "generator raised StopIteration"),
    (lambda: BaseExceptionGroup("many", [ValueError(), SystemExit()]), "BaseExceptionGroup", "many"),
    (Mute, "Mute", "an error whose text can't be had: its __str__ raised RuntimeError"),
    (lambda: ValueError("\ud800 lone"), "ValueError", "? lone"),
]


@pytest.mark.parametrize(
    ("make", "kind", "text"), RAISED, ids=[f"{kind}: {text}"[:30] for _, kind, text in RAISED]
)
def test_whatever_the_code_raises_is_its_runs_failure(make, kind, text):
    def raising(ctx, _value):
        yield ctx.wait_for_external_event("go")
        raise make()

    world = World(raising)
    world.start(raising)
    world.raise_event("go")
    assert world.failure().type == kind
    assert world.failure().message.startswith(text)


def test_a_plain_function_that_raises_fails_its_run():
    def raising(ctx, _value):
        sys.exit("no")

    world = World(raising)
    world.start(raising)
    assert (world.failure().type, world.failure().message) == ("SystemExit", "no")


def test_the_stack_shows_the_authors_code_and_not_the_engines():
    def deep(ctx, _value):
        def inner():
            raise ValueError("wrong")

        yield inner()

    world = World(deep)
    world.start(deep)
    assert "in inner" in world.failure().stack
    assert "engine/core" not in world.failure().stack


def test_a_failures_texts_are_cut_to_their_bounds():
    def endless(level):
        if level == 0:
            raise ValueError("x" * MESSAGE_BYTES_MAX * 2)
        endless(level - 1)

    def raising(ctx, _value):
        endless(200)
        yield

    world = World(raising)
    world.start(raising)
    assert len(world.failure().message.encode()) <= MESSAGE_BYTES_MAX
    assert world.failure().message.endswith("… [cut]")
    assert len(world.failure().stack.encode()) <= STACK_BYTES_MAX


def test_code_that_recurses_without_end_fails_its_run_only():
    def endless(ctx, _value):
        def again():
            return again()

        yield again()

    world = World(endless)
    world.start(endless)
    assert world.failure().type == "RecursionError"


STUBBORN = [SystemExit(1), asyncio.CancelledError(), ValueError("no"), GeneratorExit(), KeyboardInterrupt()]


@pytest.mark.parametrize("error", STUBBORN, ids=lambda each: type(each).__name__)
def test_whatever_a_finally_block_raises_when_a_run_is_ended_hurts_nobody(error):
    def stubborn(ctx, _value):
        try:
            yield ctx.wait_for_external_event("go")
        finally:
            raise error

    world = World(stubborn)
    world.start(stubborn)
    world.terminate()
    assert world.status() == "TERMINATED"


def test_a_workflow_that_will_not_end_is_left_behind():
    def clinging(ctx, _value):
        task = ctx.wait_for_external_event("go")
        for _ in range(2):
            try:
                yield task
            except GeneratorExit:
                continue

    world = World(clinging)
    world.start(clinging)
    world.terminate()
    assert world.status() == "TERMINATED"


def test_a_closed_run_cannot_act_through_a_context_it_has_given_away():
    given = []

    def giving(ctx, _value):
        given.append(ctx)
        yield ctx.wait_for_external_event("go")

    world = World(giving)
    world.start(giving)
    world.raise_event("go")
    acts = [
        lambda ctx: ctx.call_activity("a"),
        lambda ctx: ctx.call_child_workflow("a"),
        lambda ctx: ctx.create_timer(timedelta(0)),
        lambda ctx: ctx.wait_for_external_event("a"),
        lambda ctx: ctx.continue_as_new(None),
        lambda ctx: ctx.set_custom_status("a"),
        lambda ctx: ctx.is_patched("a"),
    ]
    for act in acts:
        with pytest.raises(RuntimeError, match="this run is over"):
            act(given[0])


def test_an_output_that_json_cannot_say_fails_the_run_with_the_reason():
    def wrong(ctx, _value):
        return object()

    world = World(wrong)
    world.start(wrong)
    assert world.failure().type == "TypeError"
    assert world.failure().message.startswith("expected a value that JSON can say, but got object")


def test_a_name_can_be_registered_once():
    registry = Registry()
    registry.add_workflow(waiting, "w")
    with pytest.raises(ValueError, match="expected a new workflow name, but 'w' is registered already"):
        registry.add_workflow(waiting, "w")
    with pytest.raises(ValueError, match="expected workflow name of 1 to 256 bytes"):
        registry.add_workflow(waiting, "w" * 257)
    with pytest.raises(ValueError, match="expected executor to be one of"):
        registry.add_activity(print, "a", "greenlet")


def hello(ctx):
    yield


def nothing(): ...


def much(ctx, one, two): ...


def named(ctx, *, value): ...


def free(ctx, value=None, more=None): ...


@pytest.mark.parametrize("function", [nothing, much, named])
def test_a_function_that_can_t_be_called_so_is_refused_when_it_is_registered(function):
    text = r"expected (workflow|activity) .* to be called with a context, and an input .* but it is \w+\(.*\)"
    with pytest.raises(TypeError, match=text):
        Registry().add_workflow(function, None)
    with pytest.raises(TypeError, match=text):
        Registry().add_activity(function, None, "thread")


@pytest.mark.parametrize("function", [free, print, lambda *_: None, lambda *_, **__: None])
def test_a_function_that_can_be_called_so_in_any_way_is_taken(function):
    Registry().add_workflow(function, "any")


def test_an_activity_that_yields_and_what_is_no_function_are_refused():
    with pytest.raises(TypeError, match="expected activity 'hello' to return its result, but it yields"):
        Registry().add_activity(hello, None, "thread")
    with pytest.raises(TypeError, match="expected a function as workflow, but got int: 3"):
        Registry().add_workflow(3, None)


def test_the_decorators_register_under_the_functions_name_or_the_one_given():
    app = wf.WorkflowRuntime()

    @app.workflow
    def first(ctx): ...

    @app.workflow(name="2nd")
    def second(ctx): ...

    @wf.alternate_name("3rd")
    def third(ctx): ...

    app.register_workflow(third)
    assert sorted(app.registry.workflows) == ["2nd", "3rd", "first"]


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda ctx: ctx.create_timer(5), "a timer's end as a timedelta or datetime, but got 5"),
        (
            lambda ctx: ctx.wait_for_external_event("e", timeout=5),
            "a timer's end as a timedelta or datetime, but got 5",
        ),
        (lambda ctx: ctx.wait_for_external_event(["e"]), r"event name as text, but got \['e'\]"),
        (lambda ctx: ctx.is_patched(5), "patch name as text, but got 5"),
        (lambda ctx: ctx.call_child_workflow("c", instance_id=5), "an instance id as text, but got 5"),
        (lambda ctx: ctx.call_activity(5), "a function or a name, but got int: 5"),
        (
            lambda ctx: ctx.call_activity("a", retry_policy=5),
            "retry_policy as a RetryPolicy or None, but got 5",
        ),
        (
            lambda ctx: ctx.call_child_workflow("c", retry_policy=timedelta(1)),
            "retry_policy as a RetryPolicy or None, but got datetime.timedelta",
        ),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named_with_what_is_expected(act, text):
    def wrong(ctx, _value):
        act(ctx)

    world = World(wrong)
    world.start(wrong)
    assert re.match(f"expected {text}", world.failure().message)
