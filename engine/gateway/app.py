"""The routes as an ASGI app: parameters read, errors in Dapr's form. What a route does it does not know."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse
from starlette.responses import StreamingResponse
from starlette.routing import Route as HttpRoute
from typing_extensions import override

from engine.errors import PublicError
from engine.gateway.guard import Guard, Policy
from engine.gateway.http import (
    IDEMPOTENCY_KEY,
    Call,
    Parameter,
    Problem,
    Reply,
    Response,
    Route,
    digest_of,
    problem_of,
    read_key,
    read_parameter,
)
from engine.gateway.idempotency import Keys
from engine.gateway.measures import ROUTE
from engine.gateway.openapi import openapi

log = logging.getLogger(__name__)

# What stands in a payload is somebody's, and is what it was a moment ago.
_COMMON = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
OPENAPI_PATH = "/openapi.json"
_CODES = {404: "ERR_NOT_FOUND", 405: "ERR_METHOD_NOT_ALLOWED"}


class _Part(Convertor[str]):
    """A part of a path that may be empty: Dapr has an error for each that is."""

    regex = "[^/]*"

    @override
    def convert(self, value: str) -> str:
        """See Starlette."""
        return value

    @override
    def to_string(self, value: str) -> str:
        """See Starlette."""
        return value


register_url_convertor("part", _Part())


def described(routes: Sequence[Route]) -> list[Route]:
    """The routes, and one that describes them all, itself too."""
    table = list(routes)
    table.append(_openapi_route(table))
    return table


def build_app(table: Sequence[Route], keys: Keys, policy: Policy) -> Starlette:
    """The app that serves the routes."""
    served = [HttpRoute(_pattern(route), _endpoint(route, keys), methods=[route.method]) for route in table]
    app = Starlette(
        routes=served,
        middleware=[Middleware(Guard, policy=policy)],
        exception_handlers={HTTPException: _answer_http, Exception: _answer_bug},
    )
    # A path is what it says: nobody is sent elsewhere.
    app.router.redirect_slashes = False
    return app


def _openapi_route(table: Sequence[Route]) -> Route:
    async def handle(call: Call) -> Reply:
        return Reply(status=200, body=openapi(table))

    return Route(
        method="GET",
        path=OPENAPI_PATH,
        name="get_openapi",
        prose="This description.",
        tag="Beyond Dapr",
        handle=handle,
        responses=(Response(status=200, prose="It.", kind=dict[str, Any]),),
    )


def _pattern(route: Route) -> str:
    return route.path.replace("}", ":part}")


def _endpoint(route: Route, keys: Keys) -> Callable[[Request], Awaitable[HttpResponse]]:
    async def endpoint(request: Request) -> HttpResponse:
        request.scope[ROUTE] = route
        try:
            return _response(await _carry_out(route, keys, request))
        except Problem as problem:
            return _response(Reply.of(problem))
        except ClientDisconnect:
            # Gone in the middle of its body: nothing was done, and nobody is there to be told.
            return HttpResponse(status_code=400)

    return endpoint


async def _carry_out(route: Route, keys: Keys, request: Request) -> Reply:
    body = await request.body()
    key = read_key(request.headers.get(IDEMPOTENCY_KEY)) if route.is_command else None
    values = {each.name: read_parameter(each, _given(each, request)) for each in route.parameters}
    call = Call(values=values, body=body, headers=request.headers, key=key)

    async def act() -> Reply:
        try:
            return await route.handle(call)
        except PublicError as error:
            raise problem_of(error) from error

    if key is None:
        return await act()

    async def recover() -> Reply | None:
        return None if route.recover is None else await route.recover(call)

    target = f"{request.url.path}?{request.url.query}".encode()
    return await keys.once(key, digest_of(route.method, target, body), act, recover)


def _given(parameter: Parameter, request: Request) -> list[str]:
    if parameter.where == "path":
        return [request.path_params[parameter.name]]
    if parameter.where == "header":
        return request.headers.getlist(parameter.name)
    return request.query_params.getlist(parameter.name)


def _response(reply: Reply) -> HttpResponse:
    if reply.stream is not None:
        return StreamingResponse(reply.stream, reply.status, headers=reply.headers)
    media_type = None if reply.body is None else "application/json"
    headers = _COMMON | reply.headers
    return HttpResponse(reply.encoded(), reply.status, headers=headers, media_type=media_type)


async def _answer_http(request: Request, error: Exception) -> HttpResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "ERR_INVALID_REQUEST")
    reply = Reply.of(Problem(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}"))
    response = _response(reply)
    response.headers.update(error.headers or {})
    return response


async def _answer_bug(request: Request, error: Exception) -> HttpResponse:
    log.error("a request failed by a bug of ours: %s %s", request.method, request.url.path, exc_info=error)
    return _response(Reply.of(Problem(500, "ERR_INTERNAL", "the gateway failed; its log says how")))
