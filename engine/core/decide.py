"""A command and a state to the one event it causes, or why it causes none. Never both, never neither."""

from collections.abc import Callable
from typing import Any

import msgspec

from engine.core import limits
from engine.core.retry import retry_at_ms
from engine.model import commands as cm
from engine.model import events as ev
from engine.model.effects import Reason, Rejected
from engine.model.state import InstanceState, PendingActivity, PendingChild, RunStub


class Seat(msgspec.Struct, kw_only=True):
    """Where one instance sits: its live state, or what a finished run left.

    And its execution, if there is one.
    """

    instance_id: str
    state: InstanceState | None = None
    stub: RunStub | None = None
    execution: Any = None
    replay_error: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether there is a run that is not over."""
        return self.state is not None and not self.state.is_finished

    @property
    def is_known(self) -> bool:
        """Whether there is any run at all, over or not."""
        return self.state is not None or self.stub is not None


class Early(msgspec.Struct, frozen=True, gc=False):
    """What is due came before its time by the recorded clock; it comes again, and nothing is recorded."""

    due_at_ms: int


class Purge(msgspec.Struct, frozen=True, gc=False):
    """The instance goes, with its history."""

    recursive: bool
    force: bool


Decision = ev.Event | Rejected | Early | Purge


def decide(seat: Seat, command: cm.Command, now_ms: int) -> Decision:
    """What `command` does to the instance in `seat` at `now_ms`."""
    return _DECIDERS[type(command)](seat, command, now_ms)


# --- instance ---


def _start(seat: Seat, command: Any, now_ms: int) -> Decision:
    if seat.is_live:
        return Rejected(
            Reason.INSTANCE_ALREADY_EXISTS, f"an active workflow with ID '{seat.instance_id}' already exists"
        )
    if type(command) is cm.StartChild:
        return ev.InstanceStarted(
            workflow=command.workflow, input=command.input, parent=command.parent, depth=command.depth
        )
    start_at_ms = command.start_at_ms
    if start_at_ms is not None and start_at_ms <= now_ms:
        start_at_ms = None
    return ev.InstanceStarted(workflow=command.workflow, input=command.input, start_at_ms=start_at_ms)


def _terminate(seat: Seat, command: Any, now_ms: int) -> Decision:
    if not seat.is_live:
        return _not_live(seat)
    return ev.InstanceTerminated(output=command.output, recursive=command.recursive)


def _suspend(seat: Seat, command: Any, now_ms: int) -> Decision:
    return ev.InstanceSuspended(reason=command.reason) if seat.is_live else _not_live(seat)


def _resume(seat: Seat, command: Any, now_ms: int) -> Decision:
    return ev.InstanceResumed(reason=command.reason) if seat.is_live else _not_live(seat)


def _purge(seat: Seat, command: Any, now_ms: int) -> Decision:
    if not seat.is_known:
        return _not_live(seat)
    if seat.is_live and not command.force:
        text = f"orchestration has not yet completed: '{seat.instance_id}' is {_status(seat)}"
        return Rejected(Reason.INSTANCE_NOT_FINISHED, text)
    return Purge(command.recursive, command.force)


# --- activity ---


def _complete_activity(seat: Seat, command: Any, now_ms: int) -> Decision:
    if _pending_activity(seat, command) is None:
        return Rejected(Reason.UNKNOWN_CALL)
    return ev.ActivityCompleted(scheduled=command.scheduled, attempt=command.attempt, result=command.result)


def _fail_activity(seat: Seat, command: Any, now_ms: int) -> Decision:
    pending = _pending_activity(seat, command)
    if pending is None:
        return Rejected(Reason.UNKNOWN_CALL)
    # A late failure of an older attempt says nothing of the attempt that is under way.
    if command.attempt != pending.attempt or pending.retry_at_ms is not None:
        return Rejected(Reason.SUPERSEDED)
    due = retry_at_ms(pending.event.retry, command.failure, pending.attempt, pending.scheduled_at_ms, now_ms)
    fields = {"scheduled": command.scheduled, "attempt": command.attempt, "failure": command.failure}
    if due is None:
        return ev.ActivityFailed(**fields)
    return ev.ActivityAttemptFailed(**fields, retry_at_ms=due)


def _pending_activity(seat: Seat, command: Any) -> PendingActivity | None:
    if not seat.is_live or seat.state is None:
        return None
    pending = seat.state.activities.get(command.scheduled)
    return pending if pending is not None and pending.event.call_id == command.call_id else None


# --- timer ---


def _fire_timer(seat: Seat, command: Any, now_ms: int) -> Decision:
    state = seat.state
    if state is None or state.run_id != command.run_id or not seat.is_live:
        return Rejected(Reason.SUPERSEDED)
    timer, due_at_ms = command.timer, command.due_at_ms
    activity, child = state.activities.get(timer), state.children.get(timer)
    if state.timers.get(timer) == due_at_ms:
        event: ev.Event = ev.TimerFired(timer=timer)
    elif activity is not None and activity.retry_at_ms == due_at_ms:
        event = ev.ActivityRetried(scheduled=timer, attempt=activity.attempt + 1)
    elif child is not None and child.retry_at_ms == due_at_ms:
        event = ev.ChildRetried(scheduled=timer, attempt=child.attempt + 1)
    else:
        return Rejected(Reason.SUPERSEDED)
    return event if now_ms >= due_at_ms else Early(due_at_ms)


# --- retention ---


def _expire(seat: Seat, command: Any, now_ms: int) -> Decision:
    run = seat.state or seat.stub
    # Another run may have taken its place, or somebody else have purged it.
    if run is None or seat.is_live or run.run_id != command.run_id:
        return Rejected(Reason.SUPERSEDED)
    # Children are instances of their own: how long they are kept follows from how and when they ended.
    return Purge(recursive=False, force=False) if now_ms >= command.due_at_ms else Early(command.due_at_ms)


# --- child ---


def _complete_child(seat: Seat, command: Any, now_ms: int) -> Decision:
    if _pending_child(seat, command) is None:
        return Rejected(Reason.UNKNOWN_CALL)
    return ev.ChildCompleted(scheduled=command.scheduled, attempt=command.attempt, result=command.result)


def _fail_child(seat: Seat, command: Any, now_ms: int) -> Decision:
    pending = _pending_child(seat, command)
    if pending is None:
        return Rejected(Reason.UNKNOWN_CALL)
    if command.attempt != pending.attempt or pending.retry_at_ms is not None:
        return Rejected(Reason.SUPERSEDED)
    due = retry_at_ms(pending.event.retry, command.failure, pending.attempt, pending.scheduled_at_ms, now_ms)
    fields = {"scheduled": command.scheduled, "attempt": command.attempt, "failure": command.failure}
    if due is None:
        return ev.ChildFailed(**fields)
    return ev.ChildAttemptFailed(**fields, retry_at_ms=due)


def _pending_child(seat: Seat, command: Any) -> PendingChild | None:
    if not seat.is_live or seat.state is None:
        return None
    pending = seat.state.children.get(command.scheduled)
    return pending if pending is not None and pending.event.call_id == command.call_id else None


def _terminate_child(seat: Seat, command: Any, now_ms: int) -> Decision:
    if not seat.is_live or not _is_child_of(seat, command):
        return Rejected(Reason.UNKNOWN_CALL)
    return ev.InstanceTerminated(output=command.output, recursive=True)


def _purge_child(seat: Seat, command: Any, now_ms: int) -> Decision:
    if not _is_child_of(seat, command):
        return Rejected(Reason.UNKNOWN_CALL)
    if seat.is_live and not command.force:
        text = f"orchestration has not yet completed: child '{seat.instance_id}' outlives its parent's purge"
        return Rejected(Reason.INSTANCE_NOT_FINISHED, text)
    return Purge(recursive=True, force=command.force)


def _is_child_of(seat: Seat, command: Any) -> bool:
    parent: tuple[str | None, str | None] = (None, None)
    if seat.state is not None:
        link = seat.state.parent
        parent = (None, None) if link is None else (link.instance_id, link.run_id)
    elif seat.stub is not None:
        parent = (seat.stub.parent_instance_id, seat.stub.parent_run_id)
    return parent == (command.parent_instance_id, command.parent_run_id)


# --- event ---


def _raise_event(seat: Seat, command: Any, now_ms: int) -> Decision:
    if not seat.is_live or seat.state is None:
        return _not_live(seat)
    mailbox = seat.execution.mailbox if seat.execution is not None else None
    if mailbox is not None and not seat.state.is_suspended and mailbox.is_awaited(command.name):
        mailbox = None
    if mailbox is not None and mailbox.count >= limits.UNCONSUMED_EVENTS_MAX:
        return _too_many(f"{mailbox.count:,} unconsumed events", f"{limits.UNCONSUMED_EVENTS_MAX:,}")
    if mailbox is not None and mailbox.size >= limits.UNCONSUMED_BYTES_MAX:
        return _too_many(f"{mailbox.size:,} bytes of unconsumed events", f"{limits.UNCONSUMED_BYTES_MAX:,}")
    return ev.EventRaised(name=command.name, data=command.data)


def _too_many(actual: str, limit: str) -> Rejected:
    text = (
        f"expected at most {limit}, but the instance has {actual} and this one would be one more; "
        "let the workflow wait for them first"
    )
    return Rejected(Reason.EVENTS_LIMIT, text)


def _refuse(seat: Seat, command: Any, now_ms: int) -> Decision:
    return Rejected(Reason(command.reason), command.detail)


def _not_live(seat: Seat) -> Rejected:
    if seat.is_known:
        return Rejected(Reason.INSTANCE_FINISHED, f"'{seat.instance_id}' is {_status(seat)} already")
    return Rejected(Reason.INSTANCE_NOT_FOUND, f"no such instance exists: '{seat.instance_id}'")


def _status(seat: Seat) -> str:
    if seat.state is not None:
        return seat.state.status
    return seat.stub.phase if seat.stub is not None else "absent"


_DECIDERS: dict[type, Callable[[Seat, Any, int], Decision]] = {
    cm.StartInstance: _start,
    cm.TerminateInstance: _terminate,
    cm.SuspendInstance: _suspend,
    cm.ResumeInstance: _resume,
    cm.PurgeInstance: _purge,
    cm.CompleteActivity: _complete_activity,
    cm.FailActivity: _fail_activity,
    cm.FireTimer: _fire_timer,
    cm.ExpireInstance: _expire,
    cm.StartChild: _start,
    cm.CompleteChild: _complete_child,
    cm.FailChild: _fail_child,
    cm.TerminateChild: _terminate_child,
    cm.PurgeChild: _purge_child,
    cm.RaiseEvent: _raise_event,
    cm.RefuseRecord: _refuse,
}
DECIDED = frozenset(_DECIDERS)
