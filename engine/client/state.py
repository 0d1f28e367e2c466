"""What a client is shown of an instance: values, made from committed history alone."""

import base64
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from engine.client.errors import WorkflowFailedError
from engine.codec.avro import kind_of
from engine.core.values import JSON_TYPES
from engine.errors import FailureDetails
from engine.model.events import InputDeferred, Recorded
from engine.model.failure import Payload
from engine.model.state import FINISHED_STATUSES, Status

WorkflowStatus = Status
"""`PENDING`, `RUNNING`, `SUSPENDED`, `STALLED`, `COMPLETED`, `FAILED`, `TERMINATED`."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- Dapr's times have no zone
_read_json = msgspec.json.Decoder().decode


class WorkflowState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An instance as it was committed when it was read. Dapr's `WorkflowState`.

    Attributes:
        instance_id: The instance.
        run_id: The run that is shown, the newest; `continue_as_new` and a new start begin another.
        name: The workflow.
        runtime_status: Where it stands.
        created_at: When the run began; UTC, without a zone as in Dapr.
        last_updated_at: When its newest event was recorded; UTC, without a zone.
        serialized_input: The input as JSON text; None without one, or when payloads were not asked for.
        serialized_output: The outcome as JSON text; None as for the input.
        serialized_custom_status: What the workflow said it is at.
        failure_details: How it failed, where it did.
        stall_reason: Why it can't go on, while the status is STALLED.
        stall_detail: What exactly is wrong then, and what to do.

    """

    instance_id: str
    run_id: str
    name: str
    runtime_status: WorkflowStatus
    created_at: datetime
    last_updated_at: datetime
    serialized_input: str | None = None
    serialized_output: str | None = None
    serialized_custom_status: str | None = None
    failure_details: FailureDetails | None = None
    stall_reason: str | None = None
    stall_detail: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether there will be no other outcome of this run."""
        return self.runtime_status in FINISHED_STATUSES

    @property
    def output(self) -> Any:
        """The outcome as a Python value."""
        return None if self.serialized_output is None else msgspec.json.decode(self.serialized_output)

    @property
    def input(self) -> Any:
        """The input as a Python value."""
        return None if self.serialized_input is None else msgspec.json.decode(self.serialized_input)

    def raise_if_failed(self) -> None:
        """Does nothing for a run that did not fail.

        Raises:
            WorkflowFailedError: The run failed.

        """
        if self.failure_details is not None:
            message = f"workflow {self.instance_id!r} failed: {self.failure_details.message}"
            raise WorkflowFailedError(message, self.failure_details)

    def to_json(self) -> dict[str, Any]:
        """Everything, as values that JSON has; times are ISO 8601 in UTC."""
        failure = self.failure_details
        return {
            "instance_id": self.instance_id,
            "run_id": self.run_id,
            "name": self.name,
            "runtime_status": self.runtime_status.value,
            "created_at": f"{self.created_at.isoformat(timespec='milliseconds')}Z",
            "last_updated_at": f"{self.last_updated_at.isoformat(timespec='milliseconds')}Z",
            "serialized_input": self.serialized_input,
            "serialized_output": self.serialized_output,
            "serialized_custom_status": self.serialized_custom_status,
            "failure_details": failure_to_json(failure),
            "stall_reason": self.stall_reason,
            "stall_detail": self.stall_detail,
        }


@dataclass(frozen=True, kw_only=True)
class WorkflowHistoryEvent:
    """One fact of an instance's history.

    Attributes:
        event_id: Its number within the run, dense from 1.
        run_id: The run.
        timestamp: When it was recorded; UTC, without a zone.
        event_type: What it is, as in `schemas/`: "ActivityScheduled" and so on.
        attributes: Its own fields, payloads decoded, binary ids in hexadecimal.

    """

    event_id: int
    run_id: str
    timestamp: datetime
    event_type: str
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """The activity, workflow or external event that it is about, where it is about one."""
        found = self.attributes.get("name") or self.attributes.get("workflow")
        return None if found is None else str(found)

    def to_json(self) -> dict[str, Any]:
        """Everything, as values that JSON has."""
        return {
            "event_id": self.event_id,
            "run_id": self.run_id,
            "timestamp": f"{self.timestamp.isoformat(timespec='milliseconds')}Z",
            "event_type": self.event_type,
            "attributes": self.attributes,
        }


def utc(at_ms: int) -> datetime:
    """A time as Dapr shows it: UTC without a zone."""
    # By addition, for each object with a zone would take longer than all of this.
    return _EPOCH + timedelta(0, 0, 0, at_ms)


def text_of(payload: Payload | None) -> str | None:
    """A payload as JSON text. What isn't JSON becomes an object of its content type and base64."""
    if payload is None:
        return None
    if payload.content_type in JSON_TYPES:
        try:
            _read_json(payload.data)
            return payload.data.decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return msgspec.json.encode(plain(payload)).decode()


def failure_to_json(failure: FailureDetails | None) -> dict[str, Any] | None:
    """A failure as values that JSON has."""
    if failure is None:
        return None
    return {
        "message": failure.message,
        "error_type": failure.error_type,
        "stack_trace": failure.stack_trace,
    }


def history_event_of(recorded: Recorded) -> WorkflowHistoryEvent:
    """An event as clients are shown it."""
    event = recorded.event
    if type(event) is InputDeferred:
        attributes = {"command": kind_of(event.record), "bytes": len(event.record)}
    else:
        attributes = plain(event)
    return WorkflowHistoryEvent(
        event_id=recorded.sequence,
        run_id=recorded.run_id,
        timestamp=utc(recorded.recorded_at_ms),
        event_type=type(event).__name__,
        attributes=attributes,
    )


def plain(value: Any) -> Any:
    """`value` in terms of JSON."""
    if isinstance(value, Payload):
        return _plain_payload(value)
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value


def _plain_payload(payload: Payload) -> Any:
    if payload.content_type in JSON_TYPES:
        # Commands carry payloads unread: what calls itself JSON need not be.
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(payload.data)
    return {"content_type": payload.content_type, "base64": base64.b64encode(payload.data).decode()}
