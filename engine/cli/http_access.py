"""An app reached over HTTP: what commands ask, in the words of a gateway. It remembers nothing."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from engine.cli.access import BulkVerb, Outcome, Page, Round, Sent, Start
from engine.cli.rest import Rest, quoted
from engine.client import WorkflowHistoryEvent, WorkflowState, requests, waiting
from engine.client.deadletters import LetterFilter, Place, parse_place, place_text
from engine.client.errors import no_instance
from engine.client.partitions import PartitionStatus
from engine.client.reading import Filter
from engine.client.requests import Request
from engine.errors import ConfigurationError, FailureDetails, InstanceNotFoundError
from engine.gateway.shapes import (
    REPLAY_MAX,
    BulkDone,
    DeadLetter,
    DeadLetters,
    EventShape,
    FailureShape,
    History,
    Instances,
    Partitions,
    Replayed,
    Summary,
    Told,
)
from engine.gateway.waits import Until
from engine.model.state import Status
from engine.projection.reader import PAGE_ROWS_MAX

API = "/api/v1"
ROUND_INSTANCES = 100
DRY_ROUND_INSTANCES = 1_000
WAIT_S_MAX = 60.0
PAUSE_S = 0.5
# What changes a line of a list.
LISTED_EVENTS = (
    "InstanceStarted",
    "InstanceSuspended",
    "InstanceResumed",
    "InstanceCompleted",
    "InstanceFailed",
    "InstanceTerminated",
    "InstanceContinuedAsNew",
    "InstanceStalled",
    "InstanceUnstalled",
)
_WHAT = {Until.COMPLETED: "ended", Until.STARTED: "started"}


class _Metadata(msgspec.Struct):
    id: str = ""
    extended: dict[str, Any] = {}


class _Detail(Summary, frozen=True, kw_only=True):
    """As `shapes.Detail`, with payloads as they are written."""

    input: msgspec.Raw
    output: msgspec.Raw
    failure: FailureShape | None


class _Waited(msgspec.Struct, frozen=True, kw_only=True):
    is_met: bool
    instance: _Detail | None


class HttpAccess:
    """Implements `Access`."""

    def __init__(self, rest: Rest, app: str) -> None:
        """Raises UnreachableError where there is no gateway, ConfigurationError where it has another app."""
        self._rest = rest
        metadata = rest.get(_Metadata, "/v1.0/metadata")
        if "engineVersion" not in metadata.extended:
            raise rest.unreachable("what answers there is something else, perhaps a Dapr sidecar")
        if app not in ("", metadata.id):
            message = (
                f"expected the gateway at {rest.url} to serve app {app!r}, but it serves {metadata.id!r}; "
                "say by --gateway where the right one is, or drop --app (ENGINE_APP)"
            )
            raise ConfigurationError(message)

    # --- commands ---

    def start(self, start: Start) -> Sent:
        """See the protocol."""
        return self.send(requests.start(start.workflow, start.payload, start.instance_id, start.start_at))

    def send(self, request: Request) -> Sent:
        """See the protocol."""
        told = self._rest.post(Told, f"{API}/commands", request.value)
        return Sent(instance_id=told.instance_id, outcome=Outcome(told.outcome.value))

    # --- one instance ---

    def find(self, instance_id: str) -> WorkflowState | None:
        """See the protocol."""
        try:
            detail = self._rest.get(_Detail, f"{API}/instances/{quoted(instance_id)}")
        except InstanceNotFoundError:
            return None
        state = _detail_of(detail)
        if state.runtime_status is not Status.STALLED:
            return state
        # A list has no room for the reason in full: only history has it.
        stalls = [each for each in self.history(instance_id) if each.event_type == "InstanceStalled"]
        return replace(state, stall_detail=stalls[-1].attributes.get("detail") if stalls else None)

    def history(self, instance_id: str) -> list[WorkflowHistoryEvent]:
        """See the protocol."""
        path = f"{API}/instances/{quoted(instance_id)}/history"
        events: list[WorkflowHistoryEvent] = []
        after: int | None = 0
        while after is not None:
            try:
                page = self._rest.get(History, path, {"after": after, "limit": PAGE_ROWS_MAX})
            except InstanceNotFoundError as problem:
                raise no_instance(instance_id) from problem
            events += map(_event_of, page.events)
            after = page.next
        return events

    def wait(self, instance_id: str, until: Until, timeout_s: float) -> WorkflowState:
        """See the protocol."""
        path = f"{API}/instances/{quoted(instance_id)}/wait"
        deadline = time.monotonic() + timeout_s
        while True:
            wait_s = min(WAIT_S_MAX, max(0.0, deadline - time.monotonic()))
            query = {"until": until.value, "timeout_seconds": f"{wait_s:.3f}"}
            waited = self._rest.get(_Waited, path, query, wait_s=wait_s)
            state = None if waited.instance is None else _detail_of(waited.instance)
            if waited.is_met and state is not None:
                return state
            if time.monotonic() >= deadline:
                raise TimeoutError(waiting.too_late(instance_id, _WHAT[until], timeout_s, state))

    def follow(self, instance_id: str) -> Iterator[WorkflowHistoryEvent]:
        """See the protocol. A stream that ends is begun again where it was."""
        path = f"{API}/instances/{quoted(instance_id)}/events"
        last_id = ""
        while True:
            for event in self._rest.stream(path, last_id=last_id):
                if event is not None:
                    last_id = event.id
                    yield _event_of(msgspec.json.decode(event.data, type=EventShape))
            time.sleep(PAUSE_S)

    # --- many ---

    def instances(self, wanted: Filter, limit: int, after: str | None) -> Page:
        """See the protocol."""
        states: list[WorkflowState] = []
        while True:
            rows = min(PAGE_ROWS_MAX, limit - len(states))
            query = _query_of(wanted) | {"limit": rows, "after": after}
            page = self._rest.get(Instances, f"{API}/instances", query)
            states += map(_state_of, page.instances)
            after = page.next
            if after is None or len(states) >= limit:
                return Page(states=states, next=after)

    def changes(self) -> Iterator[None]:
        """See the protocol."""
        while True:
            for _ in self._rest.stream(f"{API}/events", {"type": LISTED_EVENTS}):
                yield None
            time.sleep(PAUSE_S)

    def bulk(self, verb: BulkVerb, wanted: Filter, *, is_dry_run: bool) -> Iterator[Round]:
        """See the protocol."""
        after, has_more = "", True
        limit = DRY_ROUND_INSTANCES if is_dry_run else ROUND_INSTANCES
        meant = {name: value for name, value in _query_of(wanted).items() if value}
        while has_more:
            body = {"filter": meant, "dry_run": is_dry_run, "limit": limit, "after": after}
            done = self._rest.post(BulkDone, f"{API}/bulk/{verb}", msgspec.json.encode(body))
            yield Round(names=done.instance_ids, done=done.accepted, refused=done.refused)
            has_more = done.more
            after = done.instance_ids[-1] if done.instance_ids else after

    # --- for operators ---

    def dead_letters(self, wanted: LetterFilter, limit: int) -> DeadLetters:
        """See the protocol."""
        query = {"reason": wanted.reason, "prefix": wanted.prefix, "limit": min(limit, REPLAY_MAX)}
        return self._rest.get(DeadLetters, f"{API}/deadletters", query)

    def dead_letter(self, place: Place) -> DeadLetter:
        """See the protocol."""
        return self._rest.get(DeadLetter, f"{API}/deadletters/{place_text(place)}")

    def replayable(self, wanted: LetterFilter) -> list[Place]:
        """See the protocol."""
        found: list[Place] = []
        after, has_more = None, True
        while has_more:
            done = self._replay(wanted, is_dry_run=True, after=after)
            found += [parse_place(each) for each in done.places]
            after, has_more = done.places[-1] if done.places else None, done.more
        return found

    def replay(self, places: Sequence[Place], size: int) -> Iterator[Round]:
        """See the protocol."""
        for start in range(0, len(places), size):
            some = places[start : start + size]
            done = self._replay(LetterFilter(places=frozenset(some)), is_dry_run=False, after=None)
            yield Round(names=[place_text(place) for place in some], done=done.replayed)

    def _replay(self, wanted: LetterFilter, *, is_dry_run: bool, after: str | None) -> Replayed:
        body = {
            "filter": {
                "reason": wanted.reason,
                "prefix": wanted.prefix,
                "places": [place_text(place) for place in sorted(wanted.places)],
            },
            "dry_run": is_dry_run,
            "limit": REPLAY_MAX,
            "after": after,
        }
        return self._rest.post(Replayed, f"{API}/deadletters/replay", msgspec.json.encode(body))

    def partitions(self) -> list[PartitionStatus]:
        """See the protocol."""
        return self._rest.get(Partitions, f"{API}/partitions").partitions

    def close(self) -> None:
        """See the protocol."""


# --- from the gateway's forms ---


def _state_of(shape: Summary) -> WorkflowState:
    """An instance, without payloads."""
    return WorkflowState(
        instance_id=shape.instance_id,
        run_id=shape.run_id,
        name=shape.workflow,
        runtime_status=shape.status,
        created_at=_time_of(shape.created_at),
        last_updated_at=_time_of(shape.last_updated_at),
        serialized_custom_status=shape.custom_status,
        stall_reason=shape.stall_reason,
    )


def _detail_of(shape: _Detail) -> WorkflowState:
    """An instance with its payloads."""
    failure = shape.failure
    return replace(
        _state_of(shape),
        serialized_input=_text_of(shape.input),
        serialized_output=_text_of(shape.output),
        failure_details=None
        if failure is None
        else FailureDetails(failure.message, failure.error_type, failure.stack_trace),
    )


def _text_of(payload: msgspec.Raw) -> str | None:
    """JSON as it is written. That there is none and that there is null is the same in a gateway's words."""
    text = bytes(payload).decode()
    return None if text == "null" else text


def _event_of(shape: EventShape) -> WorkflowHistoryEvent:
    fields = msgspec.structs.asdict(shape) | {"timestamp": _time_of(shape.timestamp)}
    return WorkflowHistoryEvent(**fields)


def _time_of(text: str) -> datetime:
    """As clients show it: UTC without a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=None)


def _query_of(wanted: Filter) -> dict[str, Any]:
    """A filter as a query, and as the filter of a bulk command."""
    return {
        "workflow": wanted.name,
        "status": sorted(status.value for status in wanted.statuses),
        "prefix": wanted.prefix,
        "parent": wanted.parent,
        "created_from": _rfc3339(wanted.created_from),
        "created_before": _rfc3339(wanted.created_before),
    }


def _rfc3339(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
