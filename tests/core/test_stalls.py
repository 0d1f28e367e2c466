"""Stalls: code that disagrees with its history, and histories that are too long. Nothing is lost."""

import pytest

from engine.codec import avro
from engine.core import limits
from engine.core.decide import Seat
from engine.core.turn import Moment, quarantine, replay, take_turn, unstall
from engine.errors import NonDeterminismError
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.failure import ParentLink
from tests.core.driver import World, refusal


def one_way(ctx, _value):
    first = yield ctx.wait_for_external_event("go")
    yield ctx.call_activity("charge")
    return [first, (yield ctx.wait_for_external_event("go"))]


def other_way(ctx, _value):
    first = yield ctx.wait_for_external_event("go")
    yield ctx.call_activity("refund")
    return [first, (yield ctx.wait_for_external_event("go"))]


def started():
    world = World()
    world.registry.add_workflow(one_way, "w")
    world.start("w")
    world.raise_event("go", 1)
    return world


def deploy(world, code):
    """A process with other code takes over."""
    del world.registry.workflows["w"]
    world.registry.add_workflow(code, "w")
    seat = world.seat()
    if seat.execution is not None:
        seat.execution.close()
    seat.execution = None
    try:
        seat.execution = replay(world.registry, "i", world.histories["i"])
    except NonDeterminismError as error:
        seat.replay_error = str(error)


def test_changed_code_stalls_the_run_with_the_reason_and_defers_what_comes():
    world = started()
    deploy(world, other_way)
    turn = world.raise_event("go", 2)
    assert world.status() == "STALLED"
    stalled, deferred = (recorded.event for recorded in turn.recorded)
    assert stalled == ev.InstanceStalled(
        reason="NonDeterminism",
        detail=(
            "history has ActivityScheduled('charge') as event 3, but the code asks for "
            "CallActivity('refund'); restore the code this run began with, or guard the change with "
            "ctx.is_patched()"
        ),
    )
    assert avro.decode_command(deferred.record).name == "go"
    assert [type(each.event) for each in world.complete().recorded] == [ev.InputDeferred]


def test_with_the_code_put_back_a_stalled_run_goes_on_where_it_was():
    world = started()
    deploy(world, other_way)
    world.raise_event("go", 2)
    world.complete(name="charge")
    deploy(world, one_way)
    seat = world.seat()
    moment = Moment(offset=99, timestamp_ms=world.now_ms, new_run_id="", record=b"")
    world._note(unstall(seat, moment, world.registry))
    assert world.status() == "RUNNING"
    for event in world.events(ev.InputDeferred):
        world._note(take_turn(seat, avro.decode_command(event.record), moment, world.registry))
    assert world.output() == [1, 2]


@pytest.mark.parametrize("command", ["suspend", "resume"])
def test_a_stalled_run_keeps_requests_for_later(command):
    world = started()
    deploy(world, other_way)
    turn = getattr(world, command)()
    assert type(turn.recorded[-1].event) is ev.InputDeferred


def test_a_stalled_run_keeps_as_much_as_allowed_and_refuses_more(monkeypatch):
    monkeypatch.setattr(limits, "DEFERRED_INPUTS_MAX", 3)
    world = started()
    deploy(world, other_way)
    for number in range(3):
        assert refusal(world.raise_event("go", number)) is None
    turn = world.raise_event("go", 3)
    assert refusal(turn) is ef.Reason.DEFERRED_LIMIT
    assert turn.rejected.detail == (
        "expected at most 3 inputs deferred by a stall, but there are 3; "
        "end the stall (NonDeterminism) or terminate"
    )


def test_a_run_at_its_limit_of_events_stalls_and_can_be_terminated(monkeypatch):
    monkeypatch.setattr(limits, "HISTORY_EVENTS_MAX", 5)
    world = started()
    world.complete()
    assert len(world.history()) == 4
    world.raise_event("other")
    assert (len(world.history()), world.status()) == (5, "RUNNING")
    world.raise_event("go")
    assert world.status() == "STALLED"
    assert world.events(ev.InstanceStalled) == [
        ev.InstanceStalled(
            reason="HistoryLimitExceeded",
            detail=(
                "expected at most 5 events and 52,428,800 bytes of history, but the run has 5 and 0; "
                "terminate it, and let the workflow use continue_as_new"
            ),
        )
    ]
    world.terminate()
    assert world.status() == "TERMINATED"


@pytest.mark.parametrize(("size", "status"), [(-1, "RUNNING"), (0, "STALLED")])
def test_a_run_at_its_limit_of_bytes_stalls(size, status):
    world = started()
    world.seat().state.history_bytes = limits.HISTORY_BYTES_MAX + size
    world.raise_event("other")
    assert world.status() == status


def test_a_turn_without_an_execution_is_our_bug_and_says_so():
    world = started()
    seat = Seat(instance_id="i", state=world.seat().state)
    moment = Moment(offset=9, timestamp_ms=0, new_run_id="", record=b"")
    command = cm.RaiseEvent(instance_id="i", name="go")
    with pytest.raises(AssertionError, match="expected the live run's execution"):
        take_turn(seat, command, moment, world.registry)


def dangerous(world, command):
    """A record that has ended its worker three times."""
    moment = Moment(offset=9, timestamp_ms=world.now_ms, new_run_id="r", record=avro.encode_command(command))
    turn = quarantine(world.seat(command.instance_id), command, moment, world.registry)
    world._note(turn)
    return turn


def test_a_record_that_kills_its_worker_stalls_its_run_and_is_kept():
    world = started()
    command = cm.RaiseEvent(instance_id="i", name="go")
    stalled, deferred = (recorded.event for recorded in dangerous(world, command).recorded)
    assert stalled.detail == "RaiseEvent ended the worker's process three times; mend the code and restart"
    assert avro.decode_command(deferred.record) == command
    assert world.status() == "STALLED"


def test_a_record_that_kills_its_worker_and_has_no_run_is_refused():
    world = started()
    turn = dangerous(world, cm.RaiseEvent(instance_id="other", name="go"))
    assert refusal(turn) is ef.Reason.WORKER_CRASHED


def test_a_start_that_kills_its_worker_is_a_stalled_run_whose_code_has_not_begun():
    world = started()
    turn = dangerous(world, cm.StartInstance(instance_id="other", workflow="w"))
    assert [type(recorded.event) for recorded in turn.recorded] == [ev.InstanceStarted, ev.InstanceStalled]
    assert world.seat("other").state.status == "STALLED"
    assert [type(effect) for effect in turn.effects] == [ef.ArmTimer, ef.Warn]


def test_a_child_whose_start_kills_its_worker_is_stalled_too_and_its_parent_waits():
    world = started()
    link = ParentLink(instance_id="p", run_id="r", scheduled=2, call_id=b"c" * 16)
    dangerous(world, cm.StartChild(instance_id="c", workflow="w", parent=link, depth=1))
    assert world.seat("c").state.status == "STALLED"
    assert not world.messages
