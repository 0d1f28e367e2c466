"""Dapr's workflow API over HTTP: its paths, statuses, bodies and error codes, to the letter.

Where Dapr answers a caller's mistake with 500, so does this. What a finished instance is sent is taken and
has no effect, as in Dapr; the header `engine-outcome` says so.
"""

from typing import Any

from engine.client import requests
from engine.client.requests import Request
from engine.gateway.answers import Refused, is_late, is_missing
from engine.gateway.forms import (
    ID,
    Done,
    Failing,
    Started,
    State,
    check_ignored,
    check_new_id,
    instance_id_of_key,
    known_id,
    not_found,
    outcome_of,
    payload_of,
    state_of,
)
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

VERSIONS = ("v1.0", "v1.0-beta1", "v1.0-alpha1")

_COMPONENT = Parameter(name="component", where="path", prose="Any name; `dapr` by convention.")
_WORKFLOW = Parameter(name="workflow", where="path", prose="The name of the workflow.")
_INSTANCE = Parameter(name="instance", where="path", prose="The id of the instance.")
_EVENT = Parameter(name="event", where="path", prose="The name of the event.")
_INSTANCE_QUERY = Parameter(name="instanceID", prose="The id it gets. By default a random one.")
_APP = Parameter(name="appID", prose="The app; the one that this gateway serves.")
_ERRORS = (
    Response(status=400, prose="The request can't be understood.", kind=ErrorBody),
    Response(status=404, prose="There is no such instance.", kind=ErrorBody),
    Response(status=500, prose="It was refused, or failed; the message says why.", kind=ErrorBody),
)
_COMMAND_ERRORS = (*_ERRORS, Response(status=413, prose="It is too large.", kind=ErrorBody))
_DONE = Response(status=202, prose="Done; or taken in, where `engine-outcome` says `undecided`.", kind=Done)
_VERB: dict[str, Any] = {
    "parameters": (_COMPONENT, _INSTANCE, _APP),
    "body": Body(prose="Empty, or any JSON: it is not looked at."),
    "is_command": True,
}


class DaprApi:
    """The handlers."""

    def __init__(self, service: Service, app_id: str) -> None:
        self._service = service
        self._app_id = app_id

    def routes(self) -> list[Route]:
        """All of them, in each of Dapr's versions."""
        return [
            route
            for version in VERSIONS
            for route in routes_of(
                self,
                prefix=f"/{version}/workflows/{{component}}",
                tag=f"Dapr {version}",
                suffix=f"_{version.replace('-', '_').replace('.', '_')}",
            )
        ]

    @operation(
        "POST",
        "/{workflow}/start",
        Response(status=202, prose="Started.", kind=Started),
        *_COMMAND_ERRORS,
        parameters=(_COMPONENT, _WORKFLOW, _INSTANCE_QUERY, _APP),
        body=Body(prose="The input, as the workflow gets it: JSON, or bytes of another content type."),
        is_command=True,
        recover="recover_start",
        dapr_operation="create_workflow",
    )
    async def start(self, call: Call) -> Reply:
        """Start a workflow. Answers when its first turn is committed."""
        workflow = call["workflow"]
        failed = Failing(
            "ERR_START_WORKFLOW", f"error starting workflow '{workflow}': unable to start workflow: "
        )
        self._check(call, failed)
        if not workflow:
            raise Problem(400, "ERR_WORKFLOW_NAME_MISSING", "workflow name is not configured")
        instance_id = call["instanceID"]
        if instance_id is None and call.key is not None:
            instance_id = instance_id_of_key(call.key)
        elif instance_id is not None:
            check_new_id(instance_id)
        request = requests.start(workflow, payload_of(call), instance_id, None)
        with failed.unreachable():
            answer = await self._service.send(request)
        if isinstance(answer, Refused):
            raise failed.by(answer)
        return Reply(status=202, body=Started(request.instance_id), headers=outcome_of(answer))

    async def recover_start(self, call: Call) -> Reply | None:
        """A start without an id has that of its key: if the instance is there, it was started."""
        if call["instanceID"] is not None or call.key is None:
            return None
        instance_id = instance_id_of_key(call.key)
        found = await self._service.find(instance_id)
        return None if found is None else Reply(status=202, body=Started(instance_id))

    @operation(
        "GET",
        "/{instance}",
        Response(status=200, prose="The instance.", kind=State),
        *_ERRORS,
        parameters=(_COMPONENT, _INSTANCE, _APP),
        dapr_operation="get_workflow",
    )
    async def get(self, call: Call) -> Reply:
        """Where an instance stands, with its input and its outcome."""
        instance_id = known_id(call)
        failed = Failing(
            "ERR_GET_WORKFLOW", f"error while getting workflow info on instance '{instance_id}': "
        )
        self._check(call, failed)
        with failed.unreachable():
            instance = await self._service.find(instance_id)
        if instance is None:
            raise not_found(instance_id)
        return Reply(status=200, body=state_of(instance), headers=lag_headers(self._service.lag))

    @operation(
        "POST",
        "/{instance}/raiseEvent/{event}",
        _DONE,
        *_COMMAND_ERRORS,
        parameters=(_COMPONENT, _INSTANCE, _EVENT, _APP),
        body=Body(prose="What the event carries: JSON, or bytes of another content type."),
        is_command=True,
        dapr_operation="add_event",
    )
    async def raise_event(self, call: Call) -> Reply:
        """Bring an event to an instance. It waits there until the workflow asks for it."""
        instance_id = known_id(call)
        failed = Failing("ERR_RAISE_EVENT_WORKFLOW", f"error raising event on workflow '{instance_id}': ")
        self._check(call, failed)
        if not call["event"]:
            raise Problem(400, "ERR_WORKFLOW_EVENT_NAME_MISSING", "missing workflow event name")
        request = requests.raise_event(instance_id, call["event"], payload_of(call))
        return await self._send(request, failed)

    @operation("POST", "/{instance}/pause", _DONE, *_COMMAND_ERRORS, **_VERB)
    async def pause(self, call: Call) -> Reply:
        """Let an instance stand still; what arrives is recorded."""
        instance_id = known_id(call)
        failed = Failing("ERR_PAUSE_WORKFLOW", f"error pausing workflow {instance_id}: ")
        self._check(call, failed)
        check_ignored(call)
        return await self._send(requests.suspend(instance_id, None), failed)

    @operation("POST", "/{instance}/resume", _DONE, *_COMMAND_ERRORS, **_VERB)
    async def resume(self, call: Call) -> Reply:
        """Let it go on."""
        instance_id = known_id(call)
        failed = Failing("ERR_RESUME_WORKFLOW", f"error resuming workflow {instance_id}: ")
        self._check(call, failed)
        check_ignored(call)
        return await self._send(requests.resume(instance_id, None), failed)

    @operation("POST", "/{instance}/terminate", _DONE, *_COMMAND_ERRORS, **_VERB)
    async def terminate(self, call: Call) -> Reply:
        """End it where it stands, its child workflows too."""
        instance_id = known_id(call)
        failed = Failing(
            "ERR_TERMINATE_WORKFLOW", f"error terminating workflow '{instance_id}': ", is_404=True
        )
        self._check(call, failed)
        check_ignored(call)
        return await self._send(requests.terminate(instance_id, None, recursive=True), failed)

    @operation("POST", "/{instance}/purge", _DONE, *_COMMAND_ERRORS, **_VERB, dapr_operation="purge_workflow")
    async def purge(self, call: Call) -> Reply:
        """Remove a finished instance, its finished children and their history."""
        instance_id = known_id(call)
        failed = Failing("ERR_PURGE_WORKFLOW", f"error purging workflow {instance_id}: ", is_404=True)
        self._check(call, failed)
        check_ignored(call)
        return await self._send(requests.purge(instance_id, recursive=True, force=False), failed)

    async def _send(self, request: Request, failed: Failing) -> Reply:
        with failed.unreachable():
            answer = await self._service.send(request)
        if isinstance(answer, Refused):
            if is_missing(answer) and failed.is_404:
                raise not_found(request.instance_id)
            if not is_late(answer):
                raise failed.by(answer)
        return Reply(status=202, body=Done(), headers=outcome_of(answer))

    def _check(self, call: Call, failed: Failing) -> None:
        if not call["component"]:
            raise Problem(400, "ERR_WORKFLOW_COMPONENT_MISSING", "no workflow component was provided")
        app_id = call["appID"]
        if app_id is None:
            return
        if not ID.fullmatch(app_id):
            message = (
                f"workflow app ID '{app_id}' is invalid: only alphanumeric, dash and underscore characters "
                "are allowed"
            )
            raise Problem(400, "ERR_WORKFLOW_APP_ID_INVALID", message)
        if app_id != self._app_id:
            raise failed.because(f"this gateway serves app '{self._app_id}', not '{app_id}'")
