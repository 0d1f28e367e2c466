"""Which values of a public command can be accepted: the same for clients, Avro records and the JSON form."""

from collections.abc import Callable

from engine.codec.undecodable import UndecodableError
from engine.core import limits
from engine.model.commands import (
    Command,
    PurgeInstance,
    RaiseEvent,
    ResumeInstance,
    StartInstance,
    SuspendInstance,
    TerminateInstance,
)
from engine.model.effects import Reason
from engine.model.failure import Payload

# Doubles, and so other people's JSON, hold whole numbers only up to here.
TIME_MS_MAX = 2**53 - 1


def validate_command(command: Command) -> None:
    """Raises UndecodableError where outsiders may not send `command`, or a value of it can't be accepted."""
    validate = _VALIDATORS.get(type(command))
    if validate is None:
        raise not_allowed(type(command).__name__)
    _check_instance_id(command.instance_id)
    validate(command)


def not_allowed(kind: str) -> UndecodableError:
    """Outsiders may not send `kind`."""
    allowed = ", ".join(sorted(public.__name__ for public in _VALIDATORS))
    return UndecodableError(Reason.NOT_ALLOWED, f"expected one of {allowed}, but got {kind}")


def invalid(field: str, why: str) -> UndecodableError:
    """The value of `field` can't be accepted; `why` is worded "expected …, but …"."""
    return UndecodableError(Reason.INVALID_VALUE, f"{field}: {why}")


def _too_large(field: str, size: int, bytes_max: int) -> UndecodableError:
    detail = f"{field}: expected at most {bytes_max:,} bytes, but it has {size:,}"
    return UndecodableError(Reason.TOO_LARGE, detail)


# --- instance ---


def _check_start(command: StartInstance) -> None:
    _check_name("workflow", "a workflow name", command.workflow)
    _check_payload("input", command.input)
    at = command.start_at_ms
    if at is None:
        return
    _check_type("start_at_ms", at, int, "a whole number")
    if not 0 <= at <= TIME_MS_MAX:
        raise invalid("start_at_ms", f"expected UTC milliseconds from 0 to {TIME_MS_MAX}, but got {at}")


def _check_terminate(command: TerminateInstance) -> None:
    _check_type("recursive", command.recursive, bool, "true or false")
    _check_payload("output", command.output)


def _check_reason(command: SuspendInstance | ResumeInstance) -> None:
    reason = command.reason
    if reason is None:
        return
    _check_type("reason", reason, str, "a string")
    size = _size_of("reason", reason)
    if size > limits.REASON_BYTES_MAX:
        raise _too_large("reason", size, limits.REASON_BYTES_MAX)


def _check_purge(command: PurgeInstance) -> None:
    _check_type("recursive", command.recursive, bool, "true or false")
    _check_type("force", command.force, bool, "true or false")


# --- event ---


def _check_raise(command: RaiseEvent) -> None:
    _check_name("name", "an event name", command.name)
    _check_payload("data", command.data)


# --- values ---


def _check_type(field: str, value: object, kind: type, expected: str) -> None:
    # True is an int to Python, but not to a reader of the record.
    if type(value) is not kind:
        raise invalid(field, f"expected {expected}, but got {type(value).__name__}")


def _check_instance_id(instance_id: str) -> None:
    _check_type("instance_id", instance_id, str, "a string")
    why = limits.invalid_instance_id(instance_id)
    if why is not None:
        raise invalid("instance_id", why)


def _check_name(field: str, what: str, name: str) -> None:
    _check_type(field, name, str, "a string")
    why = limits.invalid_name(what, name)
    if why is not None:
        raise invalid(field, why)


def _size_of(field: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise invalid(field, f"expected text that UTF-8 can say, but got {text!r:.100}") from None


def _check_payload(field: str, payload: Payload | None) -> None:
    if payload is None:
        return
    _check_type(field, payload, Payload, "a payload")
    _check_type(f"{field}.data", payload.data, bytes, "bytes")
    if len(payload.data) > limits.PAYLOAD_BYTES_MAX:
        raise _too_large(field, len(payload.data), limits.PAYLOAD_BYTES_MAX)
    content_type = payload.content_type
    if content_type == "":
        return
    _check_type(f"{field}.content_type", content_type, str, "a string")
    why = limits.invalid_name("a content type", content_type)
    if why is not None:
        raise invalid(f"{field}.content_type", why)


_VALIDATORS: dict[type, Callable[..., None]] = {
    StartInstance: _check_start,
    TerminateInstance: _check_terminate,
    SuspendInstance: _check_reason,
    ResumeInstance: _check_reason,
    PurgeInstance: _check_purge,
    RaiseEvent: _check_raise,
}
