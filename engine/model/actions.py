"""What workflow code yields: wishes, each of which one event will record."""

import msgspec

from engine.model.failure import Failure, Payload, RetryPolicy


class CompleteInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The workflow function returned."""

    output: Payload | None


class FailInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The workflow function raised."""

    failure: Failure


class ContinueAsNew(msgspec.Struct, frozen=True, kw_only=True):
    """Start over with a new input, and with these unconsumed events."""

    input: Payload | None
    saved_events: tuple[tuple[str, Payload | None], ...] = ()


class SetCustomStatus(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Show this status."""

    status: str | None


class ApplyPatch(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Remember that this run took the patched branch."""

    name: str


class CallActivity(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Run an activity."""

    name: str
    input: Payload | None
    retry: RetryPolicy | None
    app_id: str | None = None


class CreateTimer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Wake me at this time."""

    due_at_ms: int
    event_name: str | None = None


class CancelTimer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The timer of event `timer` is not needed any more."""

    timer: int


class CallChild(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Run a child workflow."""

    workflow: str
    input: Payload | None
    instance_id: str | None
    retry: RetryPolicy | None


Action = (
    CompleteInstance
    | FailInstance
    | ContinueAsNew
    | SetCustomStatus
    | ApplyPatch
    | CallActivity
    | CreateTimer
    | CancelTimer
    | CallChild
)
