"""Which recorded event confirms which proposed action, and how both are named when they disagree."""

from collections.abc import Callable
from typing import Any

from engine.model import actions as ac
from engine.model import events as ev

REMEDY = "restore the code this run began with, or guard the change with ctx.is_patched()"


def _same_activity(action: Any, event: Any) -> bool:
    return type(action) is ac.CallActivity and action.name == event.name


def _same_child(action: Any, event: Any) -> bool:
    if type(action) is not ac.CallChild or action.workflow != event.workflow:
        return False
    return action.instance_id is None or action.instance_id == event.instance_id


def _same_timer(action: Any, event: Any) -> bool:
    return type(action) is ac.CreateTimer and action.event_name == event.event_name


def _same_patch(action: Any, event: Any) -> bool:
    return type(action) is ac.ApplyPatch and action.name == event.name


def _same_cancellation(action: Any, event: Any) -> bool:
    return type(action) is ac.CancelTimer and action.timer == event.timer


def _of(kind: type) -> Callable[[Any, Any], bool]:
    return lambda action, _event: type(action) is kind


MATCHERS: dict[type, Callable[[Any, Any], bool]] = {
    ev.InstanceCompleted: _of(ac.CompleteInstance),
    ev.InstanceFailed: _of(ac.FailInstance),
    ev.InstanceContinuedAsNew: _of(ac.ContinueAsNew),
    ev.CustomStatusSet: _of(ac.SetCustomStatus),
    ev.PatchApplied: _same_patch,
    ev.ActivityScheduled: _same_activity,
    ev.TimerCreated: _same_timer,
    ev.TimerCancelled: _same_cancellation,
    ev.ChildScheduled: _same_child,
}

# Facts that change nothing for the code: it learns of a retried call only by its outcome, and of a stall
# never.
UNOBSERVED = frozenset(
    {
        ev.InstanceStalled,
        ev.InstanceUnstalled,
        ev.InputDeferred,
        ev.ActivityAttemptFailed,
        ev.ActivityRetried,
        ev.ChildAttemptFailed,
        ev.ChildRetried,
    }
)


def describe(value: object) -> str:
    """A short name of an action or event, with what it is about."""
    for attribute in ("name", "workflow", "event_name"):
        about = getattr(value, attribute, None)
        if about is not None:
            return f"{type(value).__name__}({about!r})"
    return type(value).__name__
