"""What goes beyond Dapr: lists, counts, histories, waits, streams, and commands for many at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Annotated

from msgspec import Meta

from engine.client import requests
from engine.client.requests import Request
from engine.codec.avro import decode_public_command
from engine.gateway import waits
from engine.gateway.answers import Accepted, Answer, Refused, is_missing
from engine.gateway.forms import known_id, not_found, outcome_of
from engine.gateway.http import (
    Body,
    Call,
    ErrorBody,
    Parameter,
    Problem,
    Reply,
    Response,
    Route,
    lag_headers,
    operation,
    routes_of,
)
from engine.gateway.service import Service
from engine.gateway.shapes import (
    Bulk,
    BulkDone,
    BulkFilter,
    Children,
    ChildShape,
    Counts,
    CountShape,
    Detail,
    History,
    Instances,
    Outcome,
    Time,
    Told,
    Waited,
    detail_of,
    event_shape_of,
    filter_of,
    summary_of,
)
from engine.gateway.streams import EVENT_STREAM, Streams, parse_event_id
from engine.model.events import EVENTS
from engine.model.state import FINISHED_STATUSES, Status
from engine.projection import Instance, InstanceRow, Order
from engine.projection.reader import PAGE_ROWS_MAX

WAIT_S_MAX = 300.0
BULK_AT_ONCE = 64
_EVENT_TYPES = frozenset(event.__name__ for event in EVENTS)
HISTORY_EVENTS_MAX = 10_000

Rows = Annotated[int, Meta(ge=1, le=PAGE_ROWS_MAX)]
Events = Annotated[int, Meta(ge=1, le=HISTORY_EVENTS_MAX)]
Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=WAIT_S_MAX)]

_INSTANCE = Parameter(name="instance", where="path", prose="The id of the instance.")
_FILTERS = (
    Parameter(name="workflow", prose="Only those of this workflow."),
    Parameter(
        name="status", prose="Only those of this status, or of one of these.", kind=list[Status], is_many=True
    ),
    Parameter(name="created_from", prose="Only those whose run began then or later (RFC 3339).", kind=Time),
    Parameter(name="created_before", prose="Only those whose run began before (RFC 3339).", kind=Time),
    Parameter(name="prefix", prose="Only those whose id begins like this.", default=""),
    Parameter(name="parent", prose="Only the children of this instance."),
)
_INVALID = Response(status=400, prose="The request can't be understood.", kind=ErrorBody)
_MISSING = Response(status=404, prose="There is no such instance.", kind=ErrorBody)
_LATER = Response(status=503, prose="The log or the read model can't be read now.", kind=ErrorBody)
_OF_ONE = (_INVALID, _MISSING, _LATER)
_STREAM = Response(status=200, prose="A stream.", content_type=EVENT_STREAM)
_BULK_DONE = (
    Response(status=200, prose="What it came to.", kind=BulkDone),
    _INVALID,
    Response(status=413, prose="It is too large.", kind=ErrorBody),
    _LATER,
)
_BULK = Body(prose="Which, and whether in earnest.", kind=Bulk, is_required=True)
_ORDER = Parameter(name="order", prose="How it is sorted.", kind=Order, default=Order.NEWEST_FIRST)
_ROWS = Parameter(name="limit", prose="How many at most.", kind=Rows, default=100)
_AFTER = Parameter(name="after", prose="The `next` of the page before.")
_BEHIND = Parameter(name="after", prose="Only those behind this number.", kind=Number, default=0)
_EVENTS = Parameter(name="limit", prose="How many at most.", kind=Events, default=1_000)
_SECONDS = Parameter(name="timeout_seconds", prose="How long to wait.", kind=Seconds, default=30.0)
_UNTIL = Parameter(name="until", prose="What to wait for.", kind=waits.Until, default=waits.Until.COMPLETED)
_TYPES = Parameter(
    name="type", prose="Only those of this type, or of one of these.", kind=list[str], is_many=True
)
_LAST_EVENT = Parameter(
    name="last-event-id", where="header", prose="Goes on behind this event, as browsers do by themselves."
)


class Api:
    """The handlers."""

    def __init__(self, service: Service, streams: Streams) -> None:
        self._service = service
        self._streams = streams

    def routes(self) -> list[Route]:
        """All of them."""
        return routes_of(self, prefix="/api/v1", tag="Beyond Dapr")

    # --- commands ---

    @operation(
        "POST",
        "/commands",
        Response(status=200, prose="It was accepted.", kind=Told),
        Response(status=202, prose="It is on record, and undecided as yet.", kind=Told),
        _INVALID,
        _MISSING,
        Response(status=409, prose="It was refused; or its key was cut off.", kind=ErrorBody),
        Response(status=413, prose="It is too large.", kind=ErrorBody),
        _LATER,
        body=Body(prose="The command, as it may stand in the topic: JSON or Avro.", is_required=True),
        is_command=True,
    )
    async def send_command(self, call: Call) -> Reply:
        """Send any command that `commands` takes, and say what became of it."""
        content_type = call.headers.get("content-type")
        request = requests.of_command(decode_public_command(call.body, content_type))
        answer = await self._service.send(request)
        if isinstance(answer, Refused):
            if is_missing(answer):
                raise not_found(request.instance_id)
            message = f"{answer.reason}: {answer.detail}" if answer.detail else answer.reason
            raise Problem(409, "ERR_COMMAND_REFUSED", message, is_decided=True)
        if isinstance(answer, Accepted):
            return Reply(status=200, body=Told(instance_id=request.instance_id, outcome=Outcome.ACCEPTED))
        told = Told(instance_id=request.instance_id, outcome=Outcome.UNDECIDED)
        return Reply(status=202, body=told, headers=outcome_of(answer))

    # --- questions ---

    @operation(
        "GET",
        "/instances",
        Response(status=200, prose="A page.", kind=Instances),
        _INVALID,
        _LATER,
        parameters=(*_FILTERS, _ORDER, _ROWS, _AFTER),
    )
    async def list_instances(self, call: Call) -> Reply:
        """Instances, the newest first; or by id: then each is listed exactly once, whatever happens."""
        wanted = filter_of(
            BulkFilter(
                workflow=call["workflow"],
                status=call["status"] or [],
                created_from=call["created_from"],
                created_before=call["created_before"],
                prefix=call["prefix"],
                parent=call["parent"],
            )
        )
        page = await self._service.read(
            lambda reader: reader.page(wanted, order=call["order"], after=call["after"], limit=call["limit"])
        )
        found = Instances(instances=[summary_of(row) for row in page.rows], next=page.next_after)
        return self._reply(found)

    @operation("GET", "/counts", Response(status=200, prose="The counts.", kind=Counts), _LATER)
    async def count_instances(self, call: Call) -> Reply:
        """How many instances there are, by workflow and status."""
        counts = await self._service.read(lambda reader: reader.counts())
        return self._reply(
            Counts([CountShape(workflow=c.workflow, status=c.status, instances=c.instances) for c in counts])
        )

    @operation(
        "GET",
        "/instances/{instance}",
        Response(status=200, prose="The instance.", kind=Detail),
        *_OF_ONE,
        parameters=(_INSTANCE,),
    )
    async def get_instance(self, call: Call) -> Reply:
        """One instance with its input and its outcome."""
        return self._reply(detail_of(await self._existing(call)))

    @operation(
        "GET",
        "/instances/{instance}/history",
        Response(status=200, prose="Events.", kind=History),
        *_OF_ONE,
        parameters=(_INSTANCE, _BEHIND, _EVENTS),
    )
    async def get_history(self, call: Call) -> Reply:
        """The events of its newest run, payloads decoded."""
        instance_id, after, limit = known_id(call), call["after"], call["limit"]
        events = await self._service.history(instance_id, after, limit + 1)
        if not events:
            await self._existing(call)
        goes_on = len(events) > limit
        shown = [event_shape_of(event) for event in events[:limit]]
        return self._reply(History(events=shown, next=shown[-1].event_id if goes_on else None))

    @operation(
        "GET",
        "/instances/{instance}/children",
        Response(status=200, prose="The children.", kind=Children),
        *_OF_ONE,
        parameters=(_INSTANCE,),
    )
    async def get_children(self, call: Call) -> Reply:
        """The child workflows that its newest run asked for."""
        instance = await self._existing(call)
        found = await self._service.read(lambda reader: reader.children(instance.row.instance_id))
        return self._reply(Children([ChildShape(instance_id=each, workflow=name) for each, name in found]))

    async def _existing(self, call: Call) -> Instance:
        instance_id = known_id(call)
        instance = await self._service.find(instance_id)
        if instance is None:
            raise not_found(instance_id)
        return instance

    def _reply(self, body: object) -> Reply:
        return Reply(status=200, body=body, headers=lag_headers(self._service.lag))

    # --- waits and streams ---

    @operation(
        "GET",
        "/instances/{instance}/wait",
        Response(status=200, prose="The instance then.", kind=Waited),
        _INVALID,
        _LATER,
        parameters=(_INSTANCE, _UNTIL, _SECONDS),
    )
    async def wait_for_instance(self, call: Call) -> Reply:
        """Answers when the instance has an outcome, or has started; or when the time is over."""
        instance_id, until = known_id(call), call["until"]
        instance = await waits.wait(self._service, instance_id, until.is_met, call["timeout_seconds"])
        is_met = until.is_met(instance)
        return self._reply(Waited(is_met=is_met, instance=None if instance is None else detail_of(instance)))

    @operation(
        "GET", "/instances/{instance}/events", _STREAM, _INVALID, _LATER, parameters=(_INSTANCE, _LAST_EVENT)
    )
    async def stream_instance(self, call: Call) -> Reply:
        """Every event of an instance: those on record, and then as they come (server-sent events)."""
        after = parse_event_id(call["last-event-id"])
        return self._streams.reply(_told_of_one(self._service, known_id(call), after), is_resumable=True)

    @operation("GET", "/events", _STREAM, _INVALID, _LATER, parameters=(_TYPES,))
    async def stream_all(self, call: Call) -> Reply:
        """Every event of every instance, from now on (server-sent events).

        What comes while nobody listens is not told later: read it from the instances' histories.
        """
        types = frozenset(call["type"] or ())
        unknown = sorted(types - _EVENT_TYPES)
        if unknown:
            message = f"expected types of events such as InstanceStarted, but got {', '.join(unknown)!r:.100}"
            raise Problem(400, "ERR_INVALID_REQUEST", message)
        return self._streams.reply(waits.all_events(self._service, types), is_resumable=False)

    # --- many at once ---

    @operation("POST", "/bulk/terminate", *_BULK_DONE, body=_BULK, is_command=True)
    async def bulk_terminate(self, call: Call) -> Reply:
        """End the instances that a filter means, unless they are over."""
        return await self._for_all(
            call,
            lambda row: row.status not in FINISHED_STATUSES,
            lambda instance_id: requests.terminate(instance_id, None, recursive=True),
        )

    @operation("POST", "/bulk/purge", *_BULK_DONE, body=_BULK, is_command=True)
    async def bulk_purge(self, call: Call) -> Reply:
        """Remove the finished instances that a filter means."""
        return await self._for_all(
            call,
            lambda row: row.status in FINISHED_STATUSES,
            lambda instance_id: requests.purge(instance_id, recursive=True, force=False),
        )

    async def _for_all(
        self, call: Call, is_meant: Callable[[InstanceRow], bool], request_of: Callable[[str], Request]
    ) -> Reply:
        bulk = call.decode(Bulk)
        wanted = filter_of(bulk.filter)
        found = await self._service.read(
            lambda reader: list(islice(filter(is_meant, reader.pages(wanted, bulk.after)), bulk.limit + 1))
        )
        meant = [row.instance_id for row in found[: bulk.limit]]
        answers: list[Answer] = []
        if not bulk.dry_run:
            answers = await self._send_all([request_of(instance_id) for instance_id in meant])
        refused = sum(isinstance(answer, Refused) for answer in answers)
        accepted = sum(isinstance(answer, Accepted) for answer in answers)
        done = BulkDone(
            dry_run=bulk.dry_run,
            matched=len(meant),
            accepted=accepted,
            refused=refused,
            undecided=len(answers) - accepted - refused,
            more=len(found) > bulk.limit,
            instance_ids=meant,
        )
        return self._reply(done)

    async def _send_all(self, commands: list[Request]) -> list[Answer]:
        # Bounded: a worker's other commands must not wait behind ten thousand of these.
        gate = asyncio.Semaphore(BULK_AT_ONCE)

        async def send(command: Request) -> Answer:
            async with gate:
                return await self._service.send(command)

        return list(await asyncio.gather(*(send(command) for command in commands)))


async def _told_of_one(
    service: Service, instance_id: str, after: tuple[str, int] | None
) -> AsyncIterator[waits.Happened]:
    async for recorded in waits.events(service, instance_id, after):
        yield waits.Happened(instance_id, recorded)
