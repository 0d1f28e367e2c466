"""The table of (state, command) to decision: every command in every state that matters to it."""

import pytest

from engine.core.apply import apply
from engine.core.decide import Early, Purge, Seat, decide
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.failure import ParentLink, RetryPolicy, failure_of
from engine.model.state import stub_of

NOW_MS = 1_000
DUE_MS = 2_000
CALL, CHILD_CALL = b"c" * 16, b"d" * 16
BOOM = failure_of("ValueError", "boom")
HARD = failure_of("ValueError", "boom", retryable=False)
PARENT = ParentLink(instance_id="p", run_id="pr", scheduled=2, call_id=CALL)
RETRY = RetryPolicy(attempts_max=3, first_interval_ms=1_000)
SENT_BACK = ev.ActivityAttemptFailed(scheduled=2, attempt=1, failure=BOOM, retry_at_ms=DUE_MS)

LIVE = {
    "running": (),
    "suspended": (ev.InstanceSuspended(),),
    "stalled": (ev.InstanceStalled(reason="NonDeterminism", detail=""),),
    "calling": (ev.ActivityScheduled(name="a", call_id=CALL),),
    "calling with retries": (ev.ActivityScheduled(name="a", call_id=CALL, retry=RETRY),),
    "waiting to retry": (ev.ActivityScheduled(name="a", call_id=CALL, retry=RETRY), SENT_BACK),
    "in attempt 2": (
        ev.ActivityScheduled(name="a", call_id=CALL, retry=RETRY),
        SENT_BACK,
        ev.ActivityRetried(scheduled=2, attempt=2),
    ),
    "sleeping": (ev.TimerCreated(due_at_ms=DUE_MS),),
    "with a child": (ev.ChildScheduled(instance_id="c", workflow="w", call_id=CHILD_CALL),),
    "with a child to retry": (
        ev.ChildScheduled(instance_id="c", workflow="w", call_id=CHILD_CALL, retry=RETRY),
        ev.ChildAttemptFailed(scheduled=2, attempt=1, failure=BOOM, retry_at_ms=DUE_MS),
    ),
}
OVER = {
    "completed": (ev.InstanceCompleted(),),
    "failed": (ev.InstanceFailed(failure=BOOM),),
    "terminated": (ev.InstanceTerminated(),),
}


def seat_of(*events, parent=None, start_at_ms=None, as_stub=False):
    state = None
    started = ev.InstanceStarted(workflow="w", parent=parent, start_at_ms=start_at_ms)
    for sequence, event in enumerate((started, *events), 1):
        recorded = ev.Recorded(
            run_id="r", sequence=sequence, recorded_at_ms=NOW_MS, inbox_offset=sequence, event=event
        )
        state = apply(state, "i", recorded)
    if as_stub:
        return Seat(instance_id="i", stub=stub_of(state))
    return Seat(instance_id="i", state=state)


def seat_named(name):
    if name == "absent":
        return Seat(instance_id="i")
    if name == "pending":
        return seat_of(start_at_ms=DUE_MS)
    if name == "a running child":
        return seat_of(parent=PARENT)
    if name == "a completed child's stub":
        return seat_of(ev.InstanceCompleted(), parent=PARENT, as_stub=True)
    if name.endswith("'s stub"):
        return seat_of(*OVER[name.removesuffix("'s stub")], as_stub=True)
    return seat_of(*(LIVE | OVER)[name])


ALL_LIVE = ["pending", "a running child", *LIVE]
ALL_OVER = [*OVER, *(f"{name}'s stub" for name in OVER)]

START = cm.StartInstance(instance_id="i", workflow="w")
START_CHILD = cm.StartChild(instance_id="i", workflow="w", parent=PARENT, depth=1)
TERMINATE = cm.TerminateInstance(instance_id="i")
SUSPEND = cm.SuspendInstance(instance_id="i", reason="why")
RESUME = cm.ResumeInstance(instance_id="i", reason="why")
PURGE = cm.PurgeInstance(instance_id="i")
FORCE = cm.PurgeInstance(instance_id="i", force=True)
RAISE = cm.RaiseEvent(instance_id="i", name="go")
REFUSE = cm.RefuseRecord(instance_id="i", reason="Malformed", detail="bytes", key=None, value=b"x")
TERMINATE_CHILD = cm.TerminateChild(instance_id="i", parent_instance_id="p", parent_run_id="pr")
PURGE_CHILD = cm.PurgeChild(instance_id="i", parent_instance_id="p", parent_run_id="pr")


def complete(attempt=1, call_id=CALL, scheduled=2):
    return cm.CompleteActivity(
        instance_id="i", run_id="r", scheduled=scheduled, call_id=call_id, attempt=attempt
    )


def fail(attempt=1, failure=BOOM, call_id=CALL):
    return cm.FailActivity(
        instance_id="i", run_id="r", scheduled=2, call_id=call_id, attempt=attempt, failure=failure
    )


def complete_child(call_id=CHILD_CALL):
    return cm.CompleteChild(instance_id="i", run_id="r", scheduled=2, call_id=call_id, attempt=1)


def fail_child(attempt=1, failure=BOOM):
    return cm.FailChild(
        instance_id="i", run_id="r", scheduled=2, call_id=CHILD_CALL, attempt=attempt, failure=failure
    )


def fire(timer=2, due_at_ms=DUE_MS, run_id="r"):
    return cm.FireTimer(instance_id="i", run_id=run_id, timer=timer, due_at_ms=due_at_ms)


def expire(due_at_ms=NOW_MS, run_id="r"):
    return cm.ExpireInstance(instance_id="i", run_id=run_id, due_at_ms=due_at_ms)


NOT_FOUND, FINISHED = ef.Reason.INSTANCE_NOT_FOUND, ef.Reason.INSTANCE_FINISHED
EXISTS, NOT_FINISHED = ef.Reason.INSTANCE_ALREADY_EXISTS, ef.Reason.INSTANCE_NOT_FINISHED
UNKNOWN, SUPERSEDED = ef.Reason.UNKNOWN_CALL, ef.Reason.SUPERSEDED
STARTED = ev.InstanceStarted(workflow="w")
CHILD_STARTED = ev.InstanceStarted(workflow="w", parent=PARENT, depth=1)
TERMINATED = ev.InstanceTerminated()

TABLE = [
    *[(name, START, STARTED) for name in ("absent", *ALL_OVER)],
    *[(name, START, EXISTS) for name in ALL_LIVE],
    *[(name, START_CHILD, CHILD_STARTED) for name in ("absent", *ALL_OVER)],
    *[(name, START_CHILD, EXISTS) for name in ALL_LIVE],
    *[(name, TERMINATE, TERMINATED) for name in ALL_LIVE],
    *[(name, SUSPEND, ev.InstanceSuspended(reason="why")) for name in ALL_LIVE],
    *[(name, RESUME, ev.InstanceResumed(reason="why")) for name in ALL_LIVE],
    *[(name, RAISE, ev.EventRaised(name="go")) for name in ALL_LIVE],
    *[("absent", command, NOT_FOUND) for command in (TERMINATE, SUSPEND, RESUME, RAISE, PURGE, FORCE)],
    *[(name, command, FINISHED) for name in ALL_OVER for command in (TERMINATE, SUSPEND, RESUME, RAISE)],
    *[(name, PURGE, Purge(recursive=True, force=False)) for name in ALL_OVER],
    *[(name, PURGE, NOT_FINISHED) for name in ALL_LIVE],
    *[(name, FORCE, Purge(recursive=True, force=True)) for name in (*ALL_LIVE, *ALL_OVER)],
    *[(name, REFUSE, ef.Reason.MALFORMED) for name in ("absent", *ALL_LIVE, *ALL_OVER)],
    *[(name, complete(), UNKNOWN) for name in ("absent", "running", "sleeping", "with a child", *ALL_OVER)],
    *[(name, fail(), UNKNOWN) for name in ("absent", "running", "sleeping", "with a child", *ALL_OVER)],
    ("calling", complete(), ev.ActivityCompleted(scheduled=2, attempt=1)),
    ("calling", complete(call_id=b"x" * 16), UNKNOWN),
    ("calling", complete(scheduled=3), UNKNOWN),
    ("calling", fail(), ev.ActivityFailed(scheduled=2, attempt=1, failure=BOOM)),
    ("calling", fail(call_id=b"x" * 16), UNKNOWN),
    ("calling with retries", fail(), SENT_BACK),
    ("calling with retries", fail(failure=HARD), ev.ActivityFailed(scheduled=2, attempt=1, failure=HARD)),
    ("waiting to retry", fail(), SUPERSEDED),
    ("waiting to retry", complete(), ev.ActivityCompleted(scheduled=2, attempt=1)),
    ("waiting to retry", fire(), Early(DUE_MS)),
    ("in attempt 2", fail(attempt=1), SUPERSEDED),
    ("in attempt 2", complete(attempt=1), ev.ActivityCompleted(scheduled=2, attempt=1)),
    ("in attempt 2", fire(), SUPERSEDED),
    ("sleeping", fire(), Early(DUE_MS)),
    ("sleeping", fire(due_at_ms=DUE_MS - 1), SUPERSEDED),
    ("sleeping", fire(timer=3), SUPERSEDED),
    ("sleeping", fire(run_id="older"), SUPERSEDED),
    ("pending", fire(timer=1), Early(DUE_MS)),
    *[(name, fire(), SUPERSEDED) for name in ("absent", "running", *ALL_OVER)],
    *[(name, expire(), Purge(recursive=False, force=False)) for name in ALL_OVER],
    *[(name, expire(due_at_ms=DUE_MS), Early(DUE_MS)) for name in ALL_OVER],
    *[(name, expire(run_id="older"), SUPERSEDED) for name in ALL_OVER],
    *[(name, expire(), SUPERSEDED) for name in ("absent", *ALL_LIVE)],
    ("with a child", complete_child(), ev.ChildCompleted(scheduled=2, attempt=1)),
    ("with a child", complete_child(CALL), UNKNOWN),
    ("with a child", fail_child(), ev.ChildFailed(scheduled=2, attempt=1, failure=BOOM)),
    ("with a child to retry", fail_child(), SUPERSEDED),
    ("with a child to retry", complete_child(), ev.ChildCompleted(scheduled=2, attempt=1)),
    ("with a child to retry", fire(), Early(DUE_MS)),
    *[
        (name, command, UNKNOWN)
        for name in ("absent", "running", "calling", *ALL_OVER)
        for command in (complete_child(), fail_child(), TERMINATE_CHILD, PURGE_CHILD)
    ],
    ("a running child", TERMINATE_CHILD, TERMINATED),
    ("a running child", PURGE_CHILD, NOT_FINISHED),
    ("a completed child's stub", PURGE_CHILD, Purge(recursive=True, force=False)),
    ("a completed child's stub", TERMINATE_CHILD, UNKNOWN),
]


def test_the_table_has_every_command():
    assert {type(command) for _, command, _ in TABLE} == set(cm.COMMANDS)


@pytest.mark.parametrize(
    ("name", "command", "expected"),
    TABLE,
    ids=[f"{type(command).__name__}-{name}-{number}" for number, (name, command, _) in enumerate(TABLE)],
)
def test_a_command_in_a_state_is_decided_as_the_table_says(name, command, expected):
    decision = decide(seat_named(name), command, NOW_MS)
    if isinstance(expected, ef.Reason):
        assert isinstance(decision, ef.Rejected)
        assert decision.reason is expected
    else:
        assert decision == expected


@pytest.mark.parametrize(
    ("name", "command", "expected"),
    [
        ("sleeping", fire(), ev.TimerFired(timer=2)),
        ("pending", fire(timer=1), ev.TimerFired(timer=1)),
        ("waiting to retry", fire(), ev.ActivityRetried(scheduled=2, attempt=2)),
        ("with a child to retry", fire(), ev.ChildRetried(scheduled=2, attempt=2)),
    ],
)
def test_a_due_time_counts_from_its_very_millisecond(name, command, expected):
    assert decide(seat_named(name), command, DUE_MS - 1) == Early(DUE_MS)
    assert decide(seat_named(name), command, DUE_MS) == expected


def test_a_start_time_that_is_past_is_no_start_time():
    seat = Seat(instance_id="i")
    for start_at_ms, kept in ((NOW_MS - 1, None), (NOW_MS, None), (NOW_MS + 1, NOW_MS + 1)):
        command = cm.StartInstance(instance_id="i", workflow="w", start_at_ms=start_at_ms)
        assert decide(seat, command, NOW_MS) == ev.InstanceStarted(workflow="w", start_at_ms=kept)


def test_only_a_child_of_that_very_parent_run_is_terminated_or_purged():
    other = cm.TerminateChild(instance_id="i", parent_instance_id="p", parent_run_id="another")
    assert decide(seat_of(parent=PARENT), other, NOW_MS).reason is UNKNOWN
    purge = cm.PurgeChild(instance_id="i", parent_instance_id="p", parent_run_id="another", force=True)
    assert decide(seat_of(parent=PARENT), purge, NOW_MS).reason is UNKNOWN


def test_the_refusals_say_what_the_sdks_look_for():
    texts = {
        "absent": (RAISE, "no such instance exists"),
        "running": (PURGE, "orchestration has not yet completed"),
        "sleeping": (START, "an active workflow with ID 'i' already exists"),
    }
    for name, (command, text) in texts.items():
        assert text in decide(seat_named(name), command, NOW_MS).detail
