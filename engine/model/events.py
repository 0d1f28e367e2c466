"""What history holds: facts, numbered densely from 1 within a run. Nothing here is ever taken back."""

import msgspec

from engine.model.failure import Failure, ParentLink, Payload, RetryPolicy

# --- instance ---


class InstanceStarted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A run exists. With `start_at_ms` it is pending until that timer, number 1, has fired.

    A run that continues another begins its code only when its `saved_events` have been raised again.
    """

    workflow: str
    input: Payload | None = None
    start_at_ms: int | None = None
    parent: ParentLink | None = None
    depth: int = 0
    previous_run_id: str | None = None
    custom_status: str | None = None
    saved_events: int = 0


class InstanceSuspended(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code stands still from here."""

    reason: str | None = None


class InstanceResumed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Workflow code observes what arrived meanwhile, and goes on."""

    reason: str | None = None


class InstanceCompleted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The workflow returned."""

    output: Payload | None = None


class InstanceFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The workflow raised."""

    failure: Failure


class InstanceTerminated(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Somebody ended the run."""

    output: Payload | None = None
    recursive: bool = True


class InstanceContinuedAsNew(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The run ended by starting over as `new_run_id`."""

    new_run_id: str
    input: Payload | None = None


class InstanceStalled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """This run can't go on until somebody mends what `reason` names; its neighbours flow."""

    reason: str
    detail: str


class InstanceUnstalled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The cause of a stall is gone; what was deferred follows."""


class InputDeferred(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An inbox record that came during a stall, as it was."""

    record: bytes


class CustomStatusSet(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The workflow said what it is at."""

    status: str | None = None


class PatchApplied(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """This run took the patched branch of the code, and will on every replay."""

    name: str


# --- activity ---


class ActivityScheduled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The workflow called an activity; this event's number names the call."""

    name: str
    call_id: bytes
    input: Payload | None = None
    retry: RetryPolicy | None = None
    app_id: str | None = None


class ActivityCompleted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The call `scheduled` returned."""

    scheduled: int
    attempt: int
    result: Payload | None = None


class ActivityAttemptFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An attempt failed and the next waits until `retry_at_ms`."""

    scheduled: int
    attempt: int
    failure: Failure
    retry_at_ms: int


class ActivityRetried(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The wait is over and `attempt` begins."""

    scheduled: int
    attempt: int


class ActivityFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The call failed for good."""

    scheduled: int
    attempt: int
    failure: Failure


# --- timer ---


class TimerCreated(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Armed until `due_at_ms`. `event_name` is set where it bounds a wait for that external event."""

    due_at_ms: int
    event_name: str | None = None


class TimerFired(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The timer of event `timer` has fired."""

    timer: int


class TimerCancelled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the timer bounded came in time."""

    timer: int


# --- child ---


class ChildScheduled(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The workflow called a child workflow."""

    instance_id: str
    workflow: str
    call_id: bytes
    input: Payload | None = None
    retry: RetryPolicy | None = None


class ChildCompleted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The child completed."""

    scheduled: int
    attempt: int
    result: Payload | None = None


class ChildAttemptFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The child failed and is started again at `retry_at_ms`."""

    scheduled: int
    attempt: int
    failure: Failure
    retry_at_ms: int


class ChildRetried(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The wait is over and the child is started again."""

    scheduled: int
    attempt: int


class ChildFailed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The child failed for good."""

    scheduled: int
    attempt: int
    failure: Failure


# --- event ---


class EventRaised(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An external event arrived. It waits, first in first out per name, until the code asks for it."""

    name: str
    data: Payload | None = None


Event = (
    InstanceStarted
    | InstanceSuspended
    | InstanceResumed
    | InstanceCompleted
    | InstanceFailed
    | InstanceTerminated
    | InstanceContinuedAsNew
    | InstanceStalled
    | InstanceUnstalled
    | InputDeferred
    | CustomStatusSet
    | PatchApplied
    | ActivityScheduled
    | ActivityCompleted
    | ActivityAttemptFailed
    | ActivityRetried
    | ActivityFailed
    | TimerCreated
    | TimerFired
    | TimerCancelled
    | ChildScheduled
    | ChildCompleted
    | ChildAttemptFailed
    | ChildRetried
    | ChildFailed
    | EventRaised
)

EVENTS: tuple[type, ...] = Event.__args__
TERMINAL_EVENTS: tuple[type, ...] = (
    InstanceCompleted,
    InstanceFailed,
    InstanceTerminated,
    InstanceContinuedAsNew,
)


class Recorded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event with its number, its time, and the inbox record that caused it."""

    run_id: str
    sequence: int
    recorded_at_ms: int
    inbox_offset: int
    event: Event
