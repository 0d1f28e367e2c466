"""when_all and when_any: in whatever order their tasks end, and nested."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine as wf
from engine.core import limits
from engine.core.tasks import Task
from engine.errors import LimitExceededError
from tests.core.driver import World

outcomes = st.lists(st.booleans(), min_size=1, max_size=12)


def settle(task, number, *, good):
    if good:
        task.complete(number)
    else:
        task.fail(ValueError(number))


@given(outcomes, st.data())
def test_when_all_ends_with_its_last_task_and_raises_the_first_failure(goods, data):
    tasks = [Task() for _ in goods]
    order = data.draw(st.permutations(range(len(goods))))
    already = data.draw(st.integers(0, len(goods)))
    for number in order[:already]:
        settle(tasks[number], number, good=goods[number])
    both = wf.when_all(tasks)
    for number in order[already:]:
        assert not both.is_complete
        settle(tasks[number], number, good=goods[number])
    assert both.is_complete
    assert both.pending_tasks == 0
    failed = [number for number in order if not goods[number]]
    if not failed:
        assert both.get_result() == list(range(len(goods)))
        return
    # Of those that had failed before, the first in the order given counts: their own isn't known any more.
    before = [number for number in range(len(goods)) if number in order[:already] and not goods[number]]
    assert both.get_exception().args == ((before or failed)[0],)


@given(outcomes, st.data())
def test_when_any_ends_with_its_first_task_and_stays_with_it(goods, data):
    tasks = [Task() for _ in goods]
    first = wf.when_any(tasks)
    order = data.draw(st.permutations(range(len(goods))))
    for number in order:
        settle(tasks[number], number, good=goods[number])
        assert first.get_result() is tasks[order[0]]
    assert first.get_result() == tasks[order[0]]


@given(outcomes)
def test_a_nest_ends_when_what_it_is_made_of_does(goods):
    tasks = [Task() for _ in goods]
    outer = wf.when_all([wf.when_any([task, Task()]) for task in tasks])
    for number, task in enumerate(tasks):
        assert not outer.is_complete
        settle(task, number, good=goods[number])
    assert outer.get_result() == tasks


def test_when_all_of_nothing_completes_at_once_with_an_empty_list():
    assert wf.when_all([]).get_result() == []


def test_when_any_of_nothing_is_refused():
    with pytest.raises(ValueError, match="expected at least one task, but got none"):
        wf.when_any([])


def test_a_task_given_twice_is_refused():
    task = Task()
    for combine in (wf.when_all, wf.when_any):
        with pytest.raises(ValueError, match="expected each task once"):
            combine([task, task])


def test_what_is_no_task_is_refused_by_name():
    with pytest.raises(TypeError, match="expected tasks, but got str: 'charge'"):
        wf.when_all(["charge"])


def test_a_generator_of_tasks_will_do():
    tasks = [Task(), Task()]
    both = wf.when_all(task for task in tasks)
    for task in tasks:
        task.complete(1)
    assert both.get_result() == [1, 1]


def test_a_nest_at_its_limit_settles_and_one_deeper_is_refused():
    innermost = nest = Task()
    for _ in range(limits.NESTED_TASKS_MAX):
        nest = wf.when_all([nest])
    with pytest.raises(LimitExceededError, match="at most 64, but it is 65; nest less deeply"):
        wf.when_any([nest])
    innermost.complete(1)
    assert nest.is_complete


def test_a_task_that_is_not_over_has_neither_result_nor_error():
    task = Task()
    with pytest.raises(ValueError, match="not completed yet"):
        task.get_result()
    task.complete(1)
    with pytest.raises(ValueError, match="not failed"):
        task.get_exception()


def all_of_three(ctx, _value):
    tasks = [ctx.call_activity(name) for name in ("a", "b", "c")]
    try:
        return (yield wf.when_all(tasks))
    except wf.TaskFailedError as error:
        return f"{error.details.message} {[task.is_failed for task in tasks]}"


def test_a_fan_out_returns_its_results_in_the_order_asked_for():
    world = World(all_of_three)
    world.start(all_of_three)
    for name in ("c", "a", "b"):
        world.complete(name.upper(), name=name)
    assert world.output() == ["A", "B", "C"]


def test_a_fan_out_waits_for_all_and_then_raises_the_first_failure():
    world = World(all_of_three)
    world.start(all_of_three)
    world.fail("b was first", name="b")
    assert world.status() == "RUNNING"
    world.fail("a was second", name="a")
    assert world.status() == "RUNNING"
    world.complete(name="c")
    assert world.output() == "b was first [True, True, False]"


def first_of_two(ctx, _value):
    first, second = ctx.call_activity("a"), ctx.call_activity("b")
    winner = yield wf.when_any([first, second])
    yield ctx.wait_for_external_event("go")
    return [winner == first, winner == second, first.is_complete, second.is_complete]


def test_the_loser_of_when_any_goes_on_and_its_late_result_is_kept():
    world = World(first_of_two)
    world.start(first_of_two)
    world.complete(name="b")
    world.complete(name="a")
    world.raise_event("go")
    assert world.output() == [False, True, True, True]


def test_the_loser_of_when_any_may_fail_and_nobody_is_hurt():
    world = World(first_of_two)
    world.start(first_of_two)
    world.complete(name="b")
    world.fail(name="a")
    world.raise_event("go")
    assert world.status() == "COMPLETED"


def winner_fails(ctx, _value):
    winner = yield wf.when_any([ctx.call_activity("a"), ctx.create_timer(timedelta(hours=1))])
    return winner.is_failed


def test_a_failed_task_wins_as_well():
    world = World(winner_fails)
    world.start(winner_fails)
    world.fail()
    assert world.output() is True


def shared(ctx, _value):
    task = ctx.call_activity("a")
    both = wf.when_all([task, ctx.call_activity("b")])
    yield wf.when_any([task, both])
    done = yield both
    again = yield both
    return [done, again, both.get_completed_tasks()]


def test_a_task_may_be_shared_and_yielded_again():
    world = World(shared)
    world.start(shared)
    world.complete(1, name="a")
    world.complete(2, name="b")
    assert world.output() == [[1, 2], [1, 2], 2]
