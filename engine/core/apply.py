"""Event to state: the only code that changes a run's state, live, in replay and in restore alike."""

from collections.abc import Callable
from zlib import crc32

from engine.core.lifecycle import next_phase
from engine.model import events as ev
from engine.model.state import InstanceState, PendingActivity, PendingChild, Phase


def apply(state: InstanceState | None, instance_id: str, recorded: ev.Recorded) -> InstanceState:
    """The state after `recorded`, in place. Raises AssertionError where the event can't follow the state."""
    event = recorded.event
    kind = type(event)
    if state is None:
        assert recorded.sequence == 1, (
            f"expected {instance_id} to begin with event 1, but got {recorded.sequence}"
        )
        assert type(event) is ev.InstanceStarted, f"expected InstanceStarted first, but got {kind.__name__}"
        state = _begin(instance_id, recorded, event)
    else:
        assert recorded.run_id == state.run_id, f"expected run {state.run_id}, but got {recorded.run_id}"
        assert recorded.sequence == state.sequence + 1, (
            f"expected event {state.sequence + 1} of {instance_id}, but got {recorded.sequence}"
        )
        if kind in _PHASE_EVENTS or state.phase is not Phase.RUNNING:
            state.phase = next_phase(state.phase, event)
        handler = _APPLIERS.get(kind)
        if handler is not None:
            handler(state, recorded)
    state.sequence = recorded.sequence
    state.last_event_at_ms = recorded.recorded_at_ms
    return state


def account(state: InstanceState, size: int, digest: int) -> None:
    """Adds a written record to the run's size and its part of the checkpoint's sum."""
    state.history_bytes += size
    state.key_sum += digest


def key_digest(key: bytes, value: bytes) -> int:
    """One record's term in an order-free sum.

    Enough to notice that records are missing, not to stop a forger.
    """
    return crc32(value, crc32(key))


def _begin(instance_id: str, recorded: ev.Recorded, event: ev.InstanceStarted) -> InstanceState:
    return InstanceState(
        instance_id=instance_id,
        run_id=recorded.run_id,
        workflow=event.workflow,
        phase=next_phase(None, event),
        created_at_ms=recorded.recorded_at_ms,
        last_event_at_ms=recorded.recorded_at_ms,
        custom_status=event.custom_status,
        parent=event.parent,
        depth=event.depth,
        timers={} if event.start_at_ms is None else {1: event.start_at_ms},
    )


def _suspended(state: InstanceState, recorded: ev.Recorded) -> None:
    state.is_suspended = True


def _resumed(state: InstanceState, recorded: ev.Recorded) -> None:
    state.is_suspended = False


def _ended(state: InstanceState, recorded: ev.Recorded) -> None:
    # A finished run owes nothing and is owed nothing: what still arrives for it is an orphan.
    state.activities, state.timers, state.children = {}, {}, {}
    state.is_suspended, state.stall, state.stall_detail = False, None, None


def _stalled(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.InstanceStalled
    state.stall, state.stall_detail = event.reason, event.detail


def _unstalled(state: InstanceState, recorded: ev.Recorded) -> None:
    state.stall, state.stall_detail, state.deferred = None, None, 0


def _deferred(state: InstanceState, recorded: ev.Recorded) -> None:
    state.deferred += 1


def _status_set(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.CustomStatusSet
    state.custom_status = event.status


def _activity_scheduled(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.ActivityScheduled
    state.activities[recorded.sequence] = PendingActivity(event, recorded.recorded_at_ms)


def _activity_ended(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert isinstance(event, (ev.ActivityCompleted, ev.ActivityFailed))
    del state.activities[event.scheduled]


def _activity_waits(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.ActivityAttemptFailed
    state.activities[event.scheduled].retry_at_ms = event.retry_at_ms


def _activity_retried(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.ActivityRetried
    pending = state.activities[event.scheduled]
    pending.attempt, pending.retry_at_ms = event.attempt, None


def _timer_created(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.TimerCreated
    state.timers[recorded.sequence] = event.due_at_ms


def _timer_over(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert isinstance(event, (ev.TimerFired, ev.TimerCancelled))
    # Missing where the timer fired while the run was suspended, and its wait was satisfied first.
    state.timers.pop(event.timer, None)


def _child_scheduled(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.ChildScheduled
    state.children[recorded.sequence] = PendingChild(event, recorded.recorded_at_ms)
    state.child_ids.append(event.instance_id)


def _child_ended(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert isinstance(event, (ev.ChildCompleted, ev.ChildFailed))
    del state.children[event.scheduled]


def _child_waits(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.ChildAttemptFailed
    state.children[event.scheduled].retry_at_ms = event.retry_at_ms


def _child_retried(state: InstanceState, recorded: ev.Recorded) -> None:
    event = recorded.event
    assert type(event) is ev.ChildRetried
    pending = state.children[event.scheduled]
    pending.attempt, pending.retry_at_ms = event.attempt, None


_APPLIERS: dict[type, Callable[[InstanceState, ev.Recorded], None]] = {
    ev.InstanceSuspended: _suspended,
    ev.InstanceResumed: _resumed,
    ev.InstanceCompleted: _ended,
    ev.InstanceFailed: _ended,
    ev.InstanceTerminated: _ended,
    ev.InstanceContinuedAsNew: _ended,
    ev.InstanceStalled: _stalled,
    ev.InstanceUnstalled: _unstalled,
    ev.InputDeferred: _deferred,
    ev.CustomStatusSet: _status_set,
    ev.ActivityScheduled: _activity_scheduled,
    ev.ActivityCompleted: _activity_ended,
    ev.ActivityAttemptFailed: _activity_waits,
    ev.ActivityRetried: _activity_retried,
    ev.ActivityFailed: _activity_ended,
    ev.TimerCreated: _timer_created,
    ev.TimerFired: _timer_over,
    ev.TimerCancelled: _timer_over,
    ev.ChildScheduled: _child_scheduled,
    ev.ChildCompleted: _child_ended,
    ev.ChildAttemptFailed: _child_waits,
    ev.ChildRetried: _child_retried,
    ev.ChildFailed: _child_ended,
}
# Facts for the execution and the reader alone: the state does not change but for its number and time.
_STATELESS = frozenset({ev.InstanceStarted, ev.PatchApplied, ev.EventRaised})
_PHASE_EVENTS = frozenset(ev.TERMINAL_EVENTS) | {ev.InstanceStarted}
APPLIED = frozenset(_APPLIERS) | _STATELESS
