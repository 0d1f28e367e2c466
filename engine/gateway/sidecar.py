"""What Dapr's sidecar is asked beside workflows: health, metadata, shutdown. SDKs ask for it first."""

from collections.abc import Callable

import msgspec

from engine import __version__
from engine.gateway.http import (
    Body,
    Call,
    ErrorBody,
    Parameter,
    Problem,
    Reply,
    Response,
    Route,
    operation,
    routes_of,
)
from engine.gateway.service import Service

EXTENDED_MAX = 1_000

_APP = Parameter(name="appid", prose="Healthy only if this is the app that is served.")
_NO_CONTENT = Response(status=204, prose="Yes.")
_NOT_READY = Response(status=500, prose="No.", kind=ErrorBody)
_KEY = Parameter(name="key", where="path", prose="The name.")
_WRITTEN = (
    _NO_CONTENT,
    Response(status=400, prose="The request can't be understood.", kind=ErrorBody),
    Response(status=413, prose="It is too large.", kind=ErrorBody),
)


class ActorRuntime(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As Dapr has it; there are no actors here, but SDKs look for a ready host."""

    runtime_status: str
    host_ready: bool
    active_actors: list[str] = []
    placement: str = ""


class Workflows(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The workers that are known here: those in this process."""

    connected_workers: int


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What this is. The lists are Dapr's; what it has no part in is empty."""

    id: str
    runtime_version: str
    extended: dict[str, str]
    actor_runtime: ActorRuntime
    workflows: Workflows
    enabled_features: list[str] = []
    actors: list[str] = []
    components: list[str] = []
    subscriptions: list[str] = []
    http_endpoints: list[str] = []
    app_connection_properties: dict[str, str] = {}
    scheduler: dict[str, str] = {}


class SidecarApi:
    """The handlers."""

    def __init__(self, service: Service, app_id: str, workers: int, stop: Callable[[], None]) -> None:
        """`workers` run in this process; `stop` ends it, and returns at once."""
        self._service = service
        self._app_id = app_id
        self._workers = workers
        self._stop = stop
        self._extended: dict[str, str] = {"engineVersion": __version__}

    def routes(self) -> list[Route]:
        """All of them."""
        return routes_of(self, prefix="/v1.0", tag="Dapr sidecar")

    @operation("GET", "/healthz", _NO_CONTENT, _NOT_READY, parameters=(_APP,))
    async def health(self, call: Call) -> Reply:
        """Whether everything works."""
        if call["appid"] not in (None, self._app_id):
            raise Problem(500, "ERR_HEALTH_APPID_NOT_MATCH", "dapr app-id does not match")
        if not self._service.is_ready:
            raise Problem(500, "ERR_HEALTH_NOT_READY", "dapr is not ready")
        return Reply(status=204)

    @operation("GET", "/healthz/outbound", _NO_CONTENT, _NOT_READY)
    async def health_outbound(self, call: Call) -> Reply:
        """Whether the log can be reached."""
        if not self._service.is_connected:
            raise Problem(500, "ERR_OUTBOUND_HEALTH_NOT_READY", "dapr outbound is not ready")
        return Reply(status=204)

    @operation("GET", "/metadata", Response(status=200, prose="It.", kind=Metadata))
    async def get_metadata(self, call: Call) -> Reply:
        """What this is."""
        body = Metadata(
            id=self._app_id,
            runtime_version=__version__,
            extended=self._extended,
            actor_runtime=ActorRuntime(runtime_status="RUNNING", host_ready=True),
            workflows=Workflows(connected_workers=self._workers),
        )
        return Reply(status=200, body=body)

    @operation(
        "PUT", "/metadata/{key}", *_WRITTEN, parameters=(_KEY,), body=Body(prose="The value, as text.")
    )
    async def put_metadata(self, call: Call) -> Reply:
        """Adds to what the metadata says, until this process ends."""
        if len(self._extended) >= EXTENDED_MAX and call["key"] not in self._extended:
            raise Problem(400, "ERR_INVALID_REQUEST", f"expected at most {EXTENDED_MAX:,} names of metadata")
        try:
            self._extended[call["key"]] = call.body.decode()
        except UnicodeDecodeError:
            raise Problem(400, "ERR_INVALID_REQUEST", "expected text in UTF-8") from None
        return Reply(status=204)

    @operation("POST", "/shutdown", _NO_CONTENT)
    async def shutdown(self, call: Call) -> Reply:
        """Ends this process in order."""
        self._stop()
        return Reply(status=204)
