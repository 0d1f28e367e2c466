"""What the read model answers with, as values. Times are UTC milliseconds; nothing here reads anything."""

import msgspec

from engine.errors import FailureDetails
from engine.model import events as ev
from engine.model.failure import Failure, Payload
from engine.model.state import Status


class InstanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as a list shows it: its newest run, without payloads."""

    instance_id: str
    run_id: str
    workflow: str
    status: Status
    created_at_ms: int
    updated_at_ms: int
    events: int
    partition: int
    parent_instance_id: str | None
    custom_status: str | None
    stall_reason: str | None
    # Whether a newer engine wrote on; then it is shown as it was last understood.
    is_unreadable: bool


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One instance with its payloads."""

    row: InstanceRow
    input: Payload | None
    output: Payload | None
    failure: FailureDetails | None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances are meant: those that all given conditions hold for."""

    workflow: str | None = None
    statuses: tuple[Status, ...] = ()
    created_from_ms: int | None = None
    created_before_ms: int | None = None
    prefix: str = ""
    parent: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a list, and where it goes on; None at its end."""

    rows: tuple[InstanceRow, ...]
    next_after: str | None


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances of a workflow have a status."""

    workflow: str
    status: Status
    instances: int


def instance_of(row: InstanceRow, first: ev.Event, last: ev.Event) -> Instance:
    """An instance with the payloads of its first event, and of its last where that is its outcome."""
    return Instance(
        row=row,
        input=first.input if isinstance(first, ev.InstanceStarted) else None,
        output=last.output if isinstance(last, ev.InstanceCompleted | ev.InstanceTerminated) else None,
        failure=_details_of(last.failure) if isinstance(last, ev.InstanceFailed) else None,
    )


def _details_of(failure: Failure) -> FailureDetails:
    return FailureDetails(failure.message, failure.type, failure.stack or None)
