"""What the inbox holds: requests from outside, and what the engine tells itself. A command may be refused."""

import msgspec

from engine.model.failure import Failure, ParentLink, Payload

# --- instance: anyone who may use the app sends these through `commands` ---


class StartInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Asks for a new run of `workflow`, at once or not before `start_at_ms`."""

    instance_id: str
    workflow: str
    input: Payload | None = None
    start_at_ms: int | None = None


class TerminateInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Ends a run where it stands, with `output`; its children too when recursive."""

    instance_id: str
    output: Payload | None = None
    recursive: bool = True


class SuspendInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Lets no workflow code run until resumed; what arrives meanwhile is recorded."""

    instance_id: str
    reason: str | None = None


class ResumeInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Ends a suspension."""

    instance_id: str
    reason: str | None = None


class PurgeInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Removes a finished instance and its history; a running one only by force."""

    instance_id: str
    recursive: bool = True
    force: bool = False


# --- activity ---


class CompleteActivity(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An attempt succeeded."""

    instance_id: str
    run_id: str
    scheduled: int
    call_id: bytes
    attempt: int
    result: Payload | None = None


class FailActivity(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An attempt failed."""

    instance_id: str
    run_id: str
    scheduled: int
    call_id: bytes
    attempt: int
    failure: Failure


# --- timer ---


class FireTimer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A due time has come: of a timer, a retry, or a scheduled start. `timer` is the event that armed it."""

    instance_id: str
    run_id: str
    timer: int
    due_at_ms: int


# --- retention ---


class ExpireInstance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A finished run was kept for as long as the policy said: it goes with its history, its children not."""

    instance_id: str
    run_id: str
    due_at_ms: int


# --- child: between instances, by channels ---


class StartChild(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A parent asks for a child run."""

    instance_id: str
    workflow: str
    parent: ParentLink
    depth: int
    input: Payload | None = None


class CompleteChild(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A child tells its parent that it completed."""

    instance_id: str
    run_id: str
    scheduled: int
    call_id: bytes
    attempt: int
    result: Payload | None = None


class FailChild(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A child tells its parent that it failed, was terminated, or could not be started."""

    instance_id: str
    run_id: str
    scheduled: int
    call_id: bytes
    attempt: int
    failure: Failure


class TerminateChild(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A recursive terminate on its way down. Reaches only a child of that very parent run."""

    instance_id: str
    parent_instance_id: str
    parent_run_id: str
    output: Payload | None = None


class PurgeChild(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A recursive purge on its way down. Reaches only a child of that very parent run."""

    instance_id: str
    parent_instance_id: str
    parent_run_id: str
    force: bool = False


# --- event ---


class RaiseEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Brings an external event to an instance."""

    instance_id: str
    name: str
    data: Payload | None = None


class RefuseRecord(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A record of `commands` that can't be accepted, on its way to an exact dead letter."""

    instance_id: str
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None


PublicCommand = (
    StartInstance | TerminateInstance | SuspendInstance | ResumeInstance | PurgeInstance | RaiseEvent
)
ActivityResult = CompleteActivity | FailActivity
ChildResult = CompleteChild | FailChild
ChannelMessage = StartChild | CompleteChild | FailChild | TerminateChild | PurgeChild
Command = PublicCommand | ActivityResult | FireTimer | ExpireInstance | ChannelMessage | RefuseRecord

PUBLIC_COMMANDS: tuple[type, ...] = (
    StartInstance,
    TerminateInstance,
    SuspendInstance,
    ResumeInstance,
    PurgeInstance,
    RaiseEvent,
)
ENGINE_COMMANDS: tuple[type, ...] = (
    CompleteActivity,
    FailActivity,
    FireTimer,
    ExpireInstance,
    StartChild,
    CompleteChild,
    FailChild,
    TerminateChild,
    PurgeChild,
    RefuseRecord,
)
COMMANDS: tuple[type, ...] = PUBLIC_COMMANDS + ENGINE_COMMANDS
