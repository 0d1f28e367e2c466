"""What a turn asks of the world. Effects are derived; only a commit or an activity makes them felt."""

from enum import StrEnum

import msgspec

from engine.model.commands import ChannelMessage
from engine.model.failure import Payload
from engine.model.state import RunStub


class Reason(StrEnum):
    """Why a command was refused."""

    INSTANCE_NOT_FOUND = "InstanceNotFound"
    INSTANCE_ALREADY_EXISTS = "InstanceAlreadyExists"
    INSTANCE_FINISHED = "InstanceFinished"
    INSTANCE_NOT_FINISHED = "InstanceNotFinished"
    EVENTS_LIMIT = "EventsLimitExceeded"
    DEFERRED_LIMIT = "DeferredInputsLimitExceeded"
    UNKNOWN_CALL = "UnknownCall"
    SUPERSEDED = "Superseded"
    MALFORMED = "Malformed"
    UNKNOWN_SCHEMA = "UnknownSchema"
    TOO_LARGE = "TooLarge"
    INVALID_VALUE = "InvalidValue"
    NOT_ALLOWED = "NotAllowed"
    WORKER_CRASHED = "WorkerCrashed"


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A command that changes nothing, and why."""

    reason: Reason
    detail: str = ""


class RunActivity(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Hand this attempt to a worker, now."""

    instance_id: str
    run_id: str
    workflow: str
    scheduled: int
    call_id: bytes
    name: str
    input: Payload | None
    attempt: int


class ArmTimer(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Append a `FireTimer` for event `timer` when it is due."""

    instance_id: str
    run_id: str
    timer: int
    due_at_ms: int


class SendMessage(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Bring this to another instance, after the commit."""

    message: ChannelMessage


class PurgeRun(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Write a tombstone over every event of this run.

    Its `key_sum` covers what was on record before this turn.
    """

    run: RunStub


class RunEnded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The run is over; someone may be waiting for it to be committed."""

    instance_id: str
    run_id: str


class Warn(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Somebody should look at this run.

    May be asked for at every turn; once for each `topic` of a run is enough.
    """

    instance_id: str
    run_id: str
    topic: str
    text: str


Effect = RunActivity | ArmTimer | SendMessage | PurgeRun | RunEnded | Warn
