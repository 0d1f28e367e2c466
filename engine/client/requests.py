"""A user's call to the command that is published: names and values checked here, before anything is sent."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from engine.codec.avro import encode_command, validate_command
from engine.core.registry import name_of
from engine.core.values import encode_value
from engine.errors import InvalidCommandError
from engine.model.commands import (
    PublicCommand,
    PurgeInstance,
    RaiseEvent,
    ResumeInstance,
    StartInstance,
    SuspendInstance,
    TerminateInstance,
)

# A year: longer than anybody waits, and shorter than what a thread can wait.
TIMEOUT_S_MAX = 366 * 24 * 3600

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Workflow = Callable[..., Any] | str


class Request(msgspec.Struct, frozen=True):
    """A command ready to be published."""

    instance_id: str
    key: bytes
    value: bytes


def start(
    workflow: Workflow, payload: Any, instance_id: str | None, start_at: datetime | timedelta | None
) -> Request:
    """Asks for a run; without an id it gets a random one."""
    return _checked(
        StartInstance(
            instance_id=secrets.token_hex(16) if instance_id is None else instance_id,
            workflow=name_of(workflow),
            input=encode_value(payload, "the workflow's input"),
            start_at_ms=None if start_at is None else milliseconds_of(start_at),
        )
    )


def raise_event(instance_id: str, event_name: str, data: Any) -> Request:
    """Brings an event."""
    payload = encode_value(data, f"event {event_name!r}")
    return _checked(RaiseEvent(instance_id=instance_id, name=event_name, data=payload))


def terminate(instance_id: str, output: Any, *, recursive: bool) -> Request:
    """Ends a run."""
    payload = encode_value(output, "the output of a terminated workflow")
    return _checked(TerminateInstance(instance_id=instance_id, output=payload, recursive=recursive))


def suspend(instance_id: str, reason: str | None) -> Request:
    """Holds a run."""
    return _checked(SuspendInstance(instance_id=instance_id, reason=reason))


def resume(instance_id: str, reason: str | None) -> Request:
    """Lets it go on."""
    return _checked(ResumeInstance(instance_id=instance_id, reason=reason))


def purge(instance_id: str, *, recursive: bool, force: bool) -> Request:
    """Removes an instance."""
    return _checked(PurgeInstance(instance_id=instance_id, recursive=recursive, force=force))


def of_command(command: PublicCommand) -> Request:
    """A command as it was given."""
    return _checked(command)


def check_timeout(timeout_in_seconds: float) -> float:
    """Raises InvalidCommandError for what no wait can last."""
    # NaN fails this comparison too.
    if not 0 <= timeout_in_seconds <= TIMEOUT_S_MAX:
        message = f"expected timeout_in_seconds from 0 to {TIMEOUT_S_MAX:,}, but got {timeout_in_seconds!r}"
        raise InvalidCommandError(message)
    return timeout_in_seconds


def _checked(command: PublicCommand) -> Request:
    validate_command(command)
    return Request(command.instance_id, command.instance_id.encode(), encode_command(command))


def milliseconds_of(at: datetime | timedelta) -> int:
    """A time, UTC where it has no zone, or a time from now, as the engine has it."""
    if isinstance(at, timedelta):
        at = datetime.now(UTC) + at
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // timedelta(milliseconds=1)
