"""Every golden history, replayed on every run of the tests: once recorded, an instance can go on for ever."""

import msgspec
import pytest

from engine.codec import avro
from engine.core.apply import apply
from engine.core.decide import Seat
from engine.core.registry import Registry
from engine.core.turn import Moment, replay, take_turn, unstall
from engine.errors import NonDeterminismError
from engine.model import commands as cm
from engine.model import events as ev
from engine.model.failure import Payload, failure_of
from tests.core.driver import fold
from tests.replay import golden
from tests.replay.scenarios import SCENARIOS
from tests.replay.workflows import app

RUNS = golden.read_all()
every_run = pytest.mark.parametrize("run", RUNS, ids=[run.name for run in RUNS])


def test_every_scenario_has_its_golden_histories():
    files = sorted(file.stem for file in golden.DIRECTORY.glob("*.json"))
    assert files == sorted(SCENARIOS), "run: python -m tests.replay.record"


def test_the_golden_histories_hold_every_event_but_those_of_a_stall():
    held = {type(recorded.event) for run in RUNS for recorded in run.history}
    stalls = {ev.InstanceStalled, ev.InstanceUnstalled, ev.InputDeferred}
    assert sorted(kind.__name__ for kind in set(ev.EVENTS) - held - stalls) == []


@every_run
def test_the_state_after_every_event_is_the_one_recorded(run):
    state = None
    for recorded, expected in zip(run.history, run.states, strict=True):
        state = apply(state, run.instance_id, recorded)
        actual = golden.plain(state)
        assert golden.holds(actual, expected), (actual, expected)
        assert list(actual["activities"]) == list(expected["activities"])


@every_run
def test_the_code_does_again_what_is_on_record(run):
    execution = replay(app.registry, run.instance_id, run.history)
    assert execution.proposals.next_action() is None
    assert not execution.is_replaying
    execution.close()


@every_run
def test_a_replay_may_end_after_every_turn(run):
    for number, recorded in enumerate(run.history[1:], 1):
        if recorded.inbox_offset != run.history[number - 1].inbox_offset:
            replay(app.registry, run.instance_id, run.history[:number]).close()


@every_run
def test_every_event_comes_back_from_its_bytes(run):
    for recorded in run.history:
        assert avro.decode_event(avro.encode_event(run.instance_id, recorded)) == (run.instance_id, recorded)


# --- damaged histories ---

STRICT = ["a_chain", "a_compensation_after_retries", "some_timers", "a_patch", "children", "a_failure"]
strict_runs = pytest.mark.parametrize(
    "run", [run for run in RUNS if run.feature in STRICT], ids=lambda run: run.name
)


def refused(instance_id, history):
    """Whether apply or replay will have none of it."""
    try:
        fold(instance_id, history)
        replay(app.registry, instance_id, history).close()
    except (AssertionError, KeyError, NonDeterminismError):
        return True
    return False


def renumbered(history):
    return [msgspec.structs.replace(each, sequence=number) for number, each in enumerate(history, 1)]


@every_run
def test_a_history_with_a_hole_is_refused(run):
    for number in range(len(run.history) - 1):
        assert refused(run.instance_id, run.history[:number] + run.history[number + 1 :])


@every_run
def test_a_history_out_of_order_is_refused(run):
    for number in range(len(run.history) - 1):
        swapped = [*run.history]
        swapped[number], swapped[number + 1] = swapped[number + 1], swapped[number]
        assert refused(run.instance_id, swapped)


@strict_runs
def test_a_hole_is_noticed_even_where_the_numbers_were_mended(run):
    for number, recorded in enumerate(run.history):
        # The code learns of an attempt only by its outcome, so only the state can miss these.
        if type(recorded.event) not in (
            ev.ActivityAttemptFailed,
            ev.ActivityRetried,
            ev.ChildAttemptFailed,
            ev.ChildRetried,
        ):
            assert refused(run.instance_id, renumbered(run.history[:number] + run.history[number + 1 :]))


def test_events_in_another_order_are_noticed_even_where_the_numbers_were_mended():
    run = next(run for run in RUNS if run.feature == "a_chain")
    for number in range(len(run.history) - 1):
        swapped = [*run.history]
        swapped[number], swapped[number + 1] = swapped[number + 1], swapped[number]
        assert refused(run.instance_id, renumbered(swapped))


ALTERATIONS = [
    ("a_chain", ev.ActivityScheduled, {"name": "undo"}),
    ("a_chain", ev.ActivityCompleted, {"scheduled": 99}),
    ("a_chain", ev.InstanceStarted, {"workflow": "fan_out"}),
    ("a_chain", ev.InstanceStarted, {"start_at_ms": 1}),
    ("a_fan_out", ev.InstanceStarted, {"input": Payload(b"5")}),
    ("some_timers", ev.TimerFired, {"timer": 99}),
    ("some_timers", ev.TimerCreated, {"event_name": "approve"}),
    ("a_timeout_and_an_event_in_time", ev.EventRaised, {"name": "other"}),
    ("a_timeout_and_an_event_in_time", ev.TimerCreated, {"event_name": "other"}),
    ("a_timeout_and_an_event_in_time", ev.TimerCancelled, {"timer": 99}),
    ("children", ev.ChildScheduled, {"workflow": "other"}),
    ("a_patch", ev.PatchApplied, {"name": "other"}),
    ("continuations", ev.EventRaised, {"name": "other"}),
]


@pytest.mark.parametrize(
    ("feature", "kind", "fields"),
    ALTERATIONS,
    ids=[f"{f}-{k.__name__}-{next(iter(d))}" for f, k, d in ALTERATIONS],
)
def test_an_altered_event_is_noticed(feature, kind, fields):
    run = next(run for run in RUNS if run.feature == feature)
    numbers = [number for number, each in enumerate(run.history) if type(each.event) is kind]
    altered = [*run.history]
    last = altered[numbers[-1]]
    altered[numbers[-1]] = msgspec.structs.replace(last, event=msgspec.structs.replace(last.event, **fields))
    assert refused(run.instance_id, altered)


def test_a_result_turned_into_a_failure_is_noticed():
    run = next(run for run in RUNS if run.feature == "a_chain")
    for number, recorded in enumerate(run.history):
        if type(recorded.event) is ev.ActivityCompleted:
            altered = [*run.history]
            event = ev.ActivityFailed(
                scheduled=recorded.event.scheduled, attempt=1, failure=failure_of("E", "e")
            )
            altered[number] = msgspec.structs.replace(recorded, event=event)
            assert refused(run.instance_id, altered)


# --- changed code ---


def changed_chain(ctx, value):
    for _ in range(3):
        value = yield ctx.call_activity("multiply", input=value)
    return value


def resumed_seat(run, registry):
    seat = Seat(instance_id=run.instance_id, state=fold(run.instance_id, run.history))
    try:
        seat.execution = replay(registry, run.instance_id, run.history)
    except NonDeterminismError as error:
        seat.replay_error = str(error)
    return seat


def test_changed_code_stalls_a_golden_run_and_the_old_code_brings_it_on():
    run = next(run for run in RUNS if run.feature == "a_run_that_is_still_going")
    changed = Registry()
    changed.add_workflow(changed_chain, "chain")
    seat = resumed_seat(run, changed)
    call = seat.state.activities[run.history[-1].sequence].event
    command = cm.CompleteActivity(
        instance_id=run.instance_id,
        run_id=run.history[0].run_id,
        scheduled=run.history[-1].sequence,
        call_id=call.call_id,
        attempt=1,
        result=Payload(b"3"),
    )
    record = avro.encode_command(command)
    moment = Moment(offset=99, timestamp_ms=run.history[-1].recorded_at_ms, new_run_id="", record=record)
    turn = take_turn(seat, command, moment, changed)
    stalled, deferred = (each.event for each in turn.recorded)
    assert (stalled.reason, deferred) == ("NonDeterminism", ev.InputDeferred(record=record))
    assert "history has ActivityScheduled('add_one') as event 2" in stalled.detail
    assert "the code asks for CallActivity('multiply')" in stalled.detail

    history = [*run.history, *turn.recorded]
    later = golden.Run("later", run.instance_id, history, [])
    seat = resumed_seat(later, app.registry)
    assert seat.replay_error is None
    history += unstall(seat, moment, app.registry).recorded
    turn = take_turn(seat, avro.decode_command(deferred.record), moment, app.registry)
    assert [type(each.event).__name__ for each in turn.recorded] == ["ActivityCompleted", "ActivityScheduled"]
    assert turn.recorded[1].event.input == Payload(b"3")
    replay(app.registry, run.instance_id, [*history, *turn.recorded]).close()
