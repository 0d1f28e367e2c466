"""What the API beyond Dapr's takes and gives, as values. The OpenAPI describes these very types."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.client.deadletters import DeadLetterEntry, LetterFilter, parse_place
from engine.client.partitions import PartitionStatus
from engine.client.state import WorkflowHistoryEvent, failure_to_json, plain, text_of
from engine.gateway.forms import rfc3339
from engine.model.failure import Payload
from engine.model.state import Status
from engine.projection import Filter, Instance, InstanceRow

BULK_MAX = 10_000
REPLAY_MAX = 1_000
Time = Annotated[datetime, Meta(tz=True)]


class Outcome(StrEnum):
    """What became of a command that was not refused."""

    ACCEPTED = "accepted"
    UNDECIDED = "undecided"


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """An instance in a list: its newest run, without payloads. Times are RFC 3339 in UTC."""

    instance_id: str
    run_id: str
    workflow: str
    status: Status
    created_at: str
    last_updated_at: str
    events: int
    partition: int
    parent_instance_id: str | None
    custom_status: str | None
    stall_reason: str | None
    is_unreadable: bool


class FailureShape(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow failed."""

    error_type: str
    message: str
    stack_trace: str | None


class Detail(Summary, frozen=True, kw_only=True):
    """An instance with its payloads. One that isn't JSON is an object of its content type and base64."""

    input: Any
    output: Any
    failure: FailureShape | None


class Instances(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list. `next` is the `after` of the following page; null at the end."""

    instances: list[Summary]
    next: str | None


class CountShape(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances of a workflow have a status."""

    workflow: str
    status: Status
    instances: int


class Counts(msgspec.Struct, frozen=True):
    """All counts."""

    counts: list[CountShape]


class EventShape(msgspec.Struct, frozen=True, kw_only=True):
    """A fact of an instance's history; `attributes` are its own, payloads decoded."""

    event_id: int
    run_id: str
    timestamp: str
    event_type: str
    attributes: dict[str, Any]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a history. `next` is the `after` of what follows; null at its end."""

    events: list[EventShape]
    next: int | None


class ChildShape(msgspec.Struct, frozen=True, kw_only=True):
    """A child workflow that an instance asked for."""

    instance_id: str
    workflow: str


class Children(msgspec.Struct, frozen=True):
    """The children of the newest run, in the order in which it asked for them."""

    children: list[ChildShape]


class Waited(msgspec.Struct, frozen=True, kw_only=True):
    """What a wait came to: whether it was met in time, and the instance as it stands then."""

    is_met: bool
    instance: Detail | None


class BulkFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which instances are meant: those that all given conditions hold for. An empty one means all.

    A condition that isn't known is refused: left out, it would mean more instances than its author did.
    """

    workflow: str | None = None
    status: list[Status] = []
    created_from: Time | None = None
    created_before: Time | None = None
    prefix: str = ""
    parent: str | None = None


class Bulk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do to many, by id. Nothing is done unless `dry_run` is said to be false.

    With the last id of an answer as `after` it goes on behind it.
    """

    filter: BulkFilter
    dry_run: bool = True
    limit: Annotated[int, Meta(ge=1, le=BULK_MAX)] = 1_000
    after: str = ""


class BulkDone(msgspec.Struct, frozen=True, kw_only=True):
    """What it came to. `more` says that the limit left some out: then ask again, `after` the last id."""

    dry_run: bool
    matched: int
    accepted: int
    refused: int
    undecided: int
    more: bool
    instance_ids: list[str]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was refused, and why. Bytes that are no UTF-8 are in the field `_hex`.

    Of one that is asked for by itself, `command` is what its value says in Avro.
    """

    place: str
    refused_at: str
    source: str
    reason: str
    detail: str
    is_replayed: bool
    key: str | None
    key_hex: str | None
    value: str | None
    value_hex: str | None
    value_bytes: int
    command: dict[str, Any] | None = None


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """The newest dead letters of those meant, with the beginnings of their values. `total` counts all."""

    dead_letters: list[DeadLetter]
    total: int


class LetterConditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are meant: those that all given conditions hold for. An empty one means all.

    `places` names them one by one, as `partition/offset`.
    """

    reason: str | None = None
    prefix: str = ""
    places: Annotated[list[str], Meta(max_length=REPLAY_MAX)] = []


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to publish once more. Nothing is done unless `dry_run` is said to be false.

    With the last place of an answer as `after` it goes on behind it.
    """

    filter: LetterConditions
    dry_run: bool = True
    limit: Annotated[int, Meta(ge=1, le=REPLAY_MAX)] = 100
    after: str | None = None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What it came to: which are meant and were not replayed before, and how many were now.

    `more` says that the limit left some out: then ask again, `after` the last place.
    """

    dry_run: bool
    places: list[str]
    replayed: int
    more: bool


class Partitions(msgspec.Struct, frozen=True):
    """All partitions of the app."""

    partitions: list[PartitionStatus]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A command was accepted; or it is on record, and undecided as yet."""

    instance_id: str
    outcome: Outcome


# --- from the engine's values ---


def summary_of(row: InstanceRow) -> Summary:
    """A row of a list."""
    return Summary(**_common(row))


def detail_of(instance: Instance) -> Detail:
    """An instance with its payloads."""
    failure = failure_to_json(instance.failure)
    return Detail(
        **_common(instance.row),
        input=_value_of(instance.input),
        output=_value_of(instance.output),
        failure=None if failure is None else FailureShape(**failure),
    )


def event_shape_of(event: WorkflowHistoryEvent) -> EventShape:
    """An event."""
    return EventShape(**event.to_json())


def filter_of(given: BulkFilter) -> Filter:
    """A filter as the read model has it."""
    return Filter(
        workflow=given.workflow,
        statuses=tuple(given.status),
        created_from_ms=_milliseconds_of(given.created_from),
        created_before_ms=_milliseconds_of(given.created_before),
        prefix=given.prefix,
        parent=given.parent,
    )


def dead_letter_of(letter: DeadLetterEntry, value_bytes_max: int | None = None) -> DeadLetter:
    """A dead letter, with only the beginning of its value where it is one of many."""
    return DeadLetter(**letter.to_json(value_bytes_max))


def letter_filter_of(given: LetterConditions) -> LetterFilter:
    """A filter of dead letters. Raises InvalidCommandError for what is no place."""
    return LetterFilter(
        reason=given.reason, prefix=given.prefix, places=frozenset(map(parse_place, given.places))
    )


def _common(row: InstanceRow) -> dict[str, Any]:
    return {
        "instance_id": row.instance_id,
        "run_id": row.run_id,
        "workflow": row.workflow,
        "status": row.status,
        "created_at": rfc3339(row.created_at_ms),
        "last_updated_at": rfc3339(row.updated_at_ms),
        "events": row.events,
        "partition": row.partition,
        "parent_instance_id": row.parent_instance_id,
        "custom_status": row.custom_status,
        "stall_reason": row.stall_reason,
        "is_unreadable": row.is_unreadable,
    }


def _value_of(payload: Payload | None) -> Any:
    """A payload as it goes into JSON: verbatim, so that no number passes through a double."""
    if payload is None or not payload.data:
        return None
    text = text_of(payload)
    return plain(payload) if text is None else msgspec.Raw(text.encode())


def _milliseconds_of(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
