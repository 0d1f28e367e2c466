"""One turn may not record without a bound, whatever the code asks for; and replays come to the same end."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

import engine as wf
from engine.core import limits
from engine.model import events as ev
from tests.core.driver import World, wait


def patching(ctx, count):
    for number in range(count):
        ctx.is_patched(f"patch {number}")


def showing(ctx, count):
    """Statuses that do not replace each other, for a patch lies between."""
    for number in range(count):
        ctx.set_custom_status("x" * 100)
        ctx.is_patched(f"patch {number}")
        ctx.set_custom_status(str(number))


def test_code_that_asks_for_too_much_between_two_waits_fails_and_says_so() -> None:
    world = World(patching)
    turn = world.start("patching", 100_000)
    assert world.failure().type == "LimitExceededError"
    assert world.failure().message == (
        "expected the number of things asked for between two waits to be at most 20,000, but it is 20,001; "
        "wait for some before more"
    )
    assert len(turn.recorded) == limits.TURN_EVENTS_MAX + 2


def test_statuses_and_patches_count_as_bytes(monkeypatch) -> None:
    monkeypatch.setattr(limits, "TURN_BYTES_MAX", 1_000)
    world = World(showing)
    turn = world.start("showing", 100)
    assert world.failure().message.startswith("expected what is asked for between two waits (bytes) to be at")
    assert len(turn.recorded) < 30


def test_a_status_that_was_taken_back_counts_no_more(monkeypatch) -> None:
    monkeypatch.setattr(limits, "TURN_BYTES_MAX", 150)

    def changing(ctx):
        for number in range(100):
            ctx.set_custom_status(f"{'x' * 100}{number}")
        return "done"

    world = World(changing)
    world.start("changing")
    assert world.output() == "done"


def test_code_that_catches_the_refusal_is_replayed_to_the_same_end(monkeypatch) -> None:
    monkeypatch.setattr(limits, "TURN_EVENTS_MAX", 5)

    def catching(ctx, _value):
        refused = []
        for number in range(8):
            try:
                ctx.is_patched(f"patch {number}")
            except wf.LimitExceededError:
                refused.append(number)
        yield ctx.wait_for_external_event("go")
        yield ctx.call_activity("step")
        return refused

    world = World(catching)
    world.start("catching")
    # The world replays the run at each of these.
    world.raise_event("go")
    world.complete()
    assert world.output() == [5, 6, 7]


def test_a_turn_records_no_more_events_than_a_history_may_have(monkeypatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_EVENTS_MAX", 10)
    world = World(patching, wait())
    turn = world.start("patching", 100)
    assert len(turn.recorded) == 11
    (stalled,) = world.events(ev.InstanceStalled)
    assert stalled.reason == "HistoryLimitExceeded"
    assert "expected at most 10 events" in stalled.detail
    assert "terminate it, and let the workflow use continue_as_new" in stalled.detail
    world.raise_event("more")
    assert type(world.history()[-1]) is ev.InputDeferred

    world.start("waiting", instance_id="neighbour")
    world.raise_event("go", 1, instance_id="neighbour")
    assert world.output("neighbour") == 1
    world.terminate()
    assert world.status() == "TERMINATED"


@pytest.mark.parametrize(("room", "status"), [(10_000, "RUNNING"), (10, "STALLED")])
def test_a_turn_records_no_more_bytes_than_a_history_may_have(room: int, status: str) -> None:
    def waiting_then_showing(ctx, _value):
        yield ctx.wait_for_external_event("go")
        showing(ctx, 3)
        yield ctx.wait_for_external_event("go")

    world = World(waiting_then_showing)
    world.start("waiting_then_showing")
    world.seat().state.history_bytes = limits.HISTORY_BYTES_MAX - room
    turn = world.raise_event("go")
    assert world.status() == status
    assert len(turn.recorded) == (2 if status == "STALLED" else 8)


def test_a_run_at_its_limit_may_still_end(monkeypatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_EVENTS_MAX", 3)

    def ending(ctx, _value):
        ctx.is_patched("patch")
        yield ctx.wait_for_external_event("go")
        return "done"

    world = World(ending)
    world.start("ending")
    world.raise_event("go")
    assert world.output() == "done"


def test_runs_that_continue_at_once_share_the_bound_of_one_turn(monkeypatch) -> None:
    monkeypatch.setattr(limits, "TURN_EVENTS_MAX", 20)

    def going_on(ctx, _value):
        patching(ctx, 8)
        ctx.continue_as_new(None)

    world = World(going_on)
    turn = world.start("going_on")
    assert len(turn.recorded) < 2 * limits.TURN_EVENTS_MAX
    assert world.status() == "PENDING"


def test_code_that_waits_for_ever_more_events_fails_and_says_so() -> None:
    def waiting(ctx, _value):
        while True:
            ctx.wait_for_external_event("x")

    world = World(waiting)
    world.start("waiting")
    assert world.failure().message == (
        "expected the open waits of one run for external events to be at most 10,000, but it is 10,001; "
        "yield some before more"
    )


def test_waits_that_are_over_count_no_more(monkeypatch) -> None:
    monkeypatch.setattr(limits, "OPEN_WAITS_MAX", 2)

    def patient(ctx, _value):
        for _ in range(5):
            yield ctx.wait_for_external_event("x")
            with suppress(TimeoutError):
                yield ctx.wait_for_external_event("y", timeout=timedelta(seconds=1))

    world = World(patient)
    world.start("patient")
    for _ in range(5):
        world.raise_event("x")
        world.advance(seconds=2)
    assert world.status() == "COMPLETED"


def test_code_that_yields_finished_tasks_for_ever_fails_and_says_so() -> None:
    def restless(ctx, _value):
        task = ctx.wait_for_external_event("x")
        while True:
            yield task

    world = World(restless)
    world.start("restless")
    world.raise_event("x")
    assert world.failure().message == (
        "expected the number of finished tasks yielded between two waits to be at most 100,000, but it is "
        "100,001; yield a task that is still to come"
    )
