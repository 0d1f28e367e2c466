"""What each action becomes, what follows from each event, and what a new owner sets going again.

Tables, no flow.
"""

from collections.abc import Callable
from typing import Any

from engine.model import actions as ac
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.failure import Failure, ParentLink, Payload, failure_of
from engine.model.ids import call_id_of, child_instance_id_of
from engine.model.state import InstanceState


def _record_call(state: InstanceState, action: Any) -> ev.Event:
    data = action.input.data if action.input is not None else b""
    call_id = call_id_of(state.run_id, state.sequence + 1, "activity", action.name, data, action.app_id or "")
    return ev.ActivityScheduled(
        name=action.name, call_id=call_id, input=action.input, retry=action.retry, app_id=action.app_id
    )


def _record_child(state: InstanceState, action: Any) -> ev.Event:
    data = action.input.data if action.input is not None else b""
    sequence = state.sequence + 1
    return ev.ChildScheduled(
        instance_id=action.instance_id or child_instance_id_of(state.instance_id, state.run_id, sequence),
        workflow=action.workflow,
        call_id=call_id_of(state.run_id, sequence, "child", action.workflow, data, ""),
        input=action.input,
        retry=action.retry,
    )


RECORDERS: dict[type, Callable[[InstanceState, Any], ev.Event]] = {
    ac.CompleteInstance: lambda _, action: ev.InstanceCompleted(output=action.output),
    ac.FailInstance: lambda _, action: ev.InstanceFailed(failure=action.failure),
    ac.SetCustomStatus: lambda _, action: ev.CustomStatusSet(status=action.status),
    ac.ApplyPatch: lambda _, action: ev.PatchApplied(name=action.name),
    ac.CallActivity: _record_call,
    ac.CreateTimer: lambda _, action: ev.TimerCreated(
        due_at_ms=action.due_at_ms, event_name=action.event_name
    ),
    ac.CancelTimer: lambda _, action: ev.TimerCancelled(timer=action.timer),
    ac.CallChild: _record_child,
}


def _run_activity(
    state: InstanceState, scheduled: int, event: ev.ActivityScheduled, attempt: int
) -> ef.RunActivity:
    return ef.RunActivity(
        instance_id=state.instance_id,
        run_id=state.run_id,
        workflow=state.workflow,
        scheduled=scheduled,
        call_id=event.call_id,
        name=event.name,
        input=event.input,
        attempt=attempt,
    )


def arm(state: InstanceState, timer: int, due_at_ms: int) -> ef.ArmTimer:
    """The effect that brings event `timer` its firing."""
    return ef.ArmTimer(instance_id=state.instance_id, run_id=state.run_id, timer=timer, due_at_ms=due_at_ms)


def _start_child(state: InstanceState, scheduled: int) -> ef.SendMessage:
    pending = state.children[scheduled]
    link = ParentLink(
        instance_id=state.instance_id,
        run_id=state.run_id,
        scheduled=scheduled,
        call_id=pending.event.call_id,
        attempt=pending.attempt,
    )
    message = cm.StartChild(
        instance_id=pending.event.instance_id,
        workflow=pending.event.workflow,
        parent=link,
        depth=state.depth + 1,
        input=pending.event.input,
    )
    return ef.SendMessage(message=message)


def terminate_child(state: InstanceState, child_id: str, output: Payload | None) -> cm.TerminateChild:
    """A recursive terminate, one step down."""
    return cm.TerminateChild(
        instance_id=child_id, parent_instance_id=state.instance_id, parent_run_id=state.run_id, output=output
    )


def fail_child(parent: ParentLink, failure: Failure) -> cm.FailChild:
    """What a parent is told of a child that did not complete."""
    return cm.FailChild(
        instance_id=parent.instance_id,
        run_id=parent.run_id,
        scheduled=parent.scheduled,
        call_id=parent.call_id,
        attempt=parent.attempt,
        failure=failure,
    )


def _ended(state: InstanceState, recorded: ev.Recorded) -> list[ef.Effect]:
    effects: list[ef.Effect] = [ef.RunEnded(instance_id=state.instance_id, run_id=state.run_id)]
    event, parent = recorded.event, state.parent
    if parent is None or type(event) is ev.InstanceContinuedAsNew:
        return effects
    message: cm.ChannelMessage
    if type(event) is ev.InstanceCompleted:
        message = cm.CompleteChild(
            instance_id=parent.instance_id,
            run_id=parent.run_id,
            scheduled=parent.scheduled,
            call_id=parent.call_id,
            attempt=parent.attempt,
            result=event.output,
        )
    elif type(event) is ev.InstanceFailed:
        message = fail_child(parent, event.failure)
    else:
        text = f"child workflow '{state.instance_id}' was terminated"
        message = fail_child(parent, failure_of("WorkflowTerminated", text, retryable=False))
    return [*effects, ef.SendMessage(message=message)]


def _armed_start(state: InstanceState, recorded: ev.Recorded) -> list[ef.Effect]:
    return [arm(state, 1, due_at_ms) for due_at_ms in state.timers.values()]


def _stalled(state: InstanceState, recorded: ev.Recorded) -> list[ef.Effect]:
    event = recorded.event
    assert type(event) is ev.InstanceStalled
    text = f"instance {state.instance_id!r} is stalled: {event.reason}: {event.detail}"
    topic = f"stall {recorded.sequence}"
    return [ef.Warn(instance_id=state.instance_id, run_id=state.run_id, topic=topic, text=text)]


FOLLOW: dict[type, Callable[[InstanceState, Any], list[ef.Effect]]] = {
    ev.InstanceStarted: _armed_start,
    ev.InstanceCompleted: _ended,
    ev.InstanceFailed: _ended,
    ev.InstanceTerminated: _ended,
    ev.InstanceContinuedAsNew: _ended,
    ev.InstanceStalled: _stalled,
    ev.ActivityScheduled: lambda s, r: [_run_activity(s, r.sequence, r.event, 1)],
    ev.ActivityAttemptFailed: lambda s, r: [arm(s, r.event.scheduled, r.event.retry_at_ms)],
    ev.ActivityRetried: lambda s, r: [
        _run_activity(s, r.event.scheduled, s.activities[r.event.scheduled].event, r.event.attempt)
    ],
    ev.TimerCreated: lambda s, r: [arm(s, r.sequence, r.event.due_at_ms)],
    ev.ChildScheduled: lambda s, r: [_start_child(s, r.sequence)],
    ev.ChildAttemptFailed: lambda s, r: [arm(s, r.event.scheduled, r.event.retry_at_ms)],
    ev.ChildRetried: lambda s, r: [_start_child(s, r.event.scheduled)],
}


def open_effects(state: InstanceState) -> list[ef.Effect]:
    """All that a new owner must set going again for this run. The outbox is not among it: it is on record."""
    effects: list[ef.Effect] = []
    for sequence, activity in state.activities.items():
        if activity.retry_at_ms is None:
            effects.append(_run_activity(state, sequence, activity.event, activity.attempt))
        else:
            effects.append(arm(state, sequence, activity.retry_at_ms))
    effects.extend(arm(state, timer, due_at_ms) for timer, due_at_ms in state.timers.items())
    for sequence, child in state.children.items():
        if child.retry_at_ms is not None:
            effects.append(arm(state, sequence, child.retry_at_ms))
    return effects
