"""Who may ask, and how much at once: looked at before anything of a request is believed.

Without a token only this machine may ask, and of this machine no web page: a browser would carry out what any
page on the net says, by a form or by a name that resolves to 127.0.0.1.
"""

import asyncio
import hmac
import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import ConfigurationError
from engine.gateway.http import BODY_BYTES_MAX, HEADER_BYTES_MAX, Problem, encode

DRAINED_BYTES_MAX = 8 * BODY_BYTES_MAX
DRAIN_S = 2.0
# Between two pieces of a body.
PIECE_S = 20.0
TOKEN_HEADER = b"dapr-api-token"
# They say nothing, and those who poll them have no token: Dapr leaves them open too.
OPEN_PATHS = frozenset({"/v1.0/healthz", "/v1.0/healthz/outbound"})
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Policy:
    """What a gateway allows."""

    def __init__(self, host: str, token: str) -> None:
        """Raises ConfigurationError for an address that others can reach, without a token."""
        if not token and not _is_local(host):
            message = (
                f"expected a token for an address that others can reach, but --http-host is {host!r} and "
                "there is none; set ENGINE_API_TOKEN (or DAPR_API_TOKEN), or use 127.0.0.1"
            )
            raise ConfigurationError(message)
        self._token = token.encode()
        self._hosts = _LOCAL_NAMES | {host}

    def check(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises Problem for who may not ask."""
        given: dict[bytes, bytes] = dict(headers)
        if self._token:
            # Constant in time: how long a refusal takes says nothing of the token.
            is_right = hmac.compare_digest(given.get(TOKEN_HEADER, b""), self._token)
            if not is_right and path not in OPEN_PATHS:
                message = "expected the header dapr-api-token to hold this gateway's token"
                raise Problem(401, "ERR_UNAUTHORIZED", message)
            return
        self._check_name("Host", _host_of(b"//" + given.get(b"host", b"localhost")))
        if b"origin" in given:
            self._check_name("Origin", _host_of(given[b"origin"]))

    def _check_name(self, header: str, name: str | None) -> None:
        if name not in self._hosts:
            message = (
                f"expected the header {header} to name this machine, but it names {name!r:.100}; a gateway "
                "that is asked by other names, or from web pages, needs a token (ENGINE_API_TOKEN)"
            )
            raise Problem(403, "ERR_FORBIDDEN", message)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_of(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("latin-1")).hostname
    except ValueError:
        return None


class Guard:
    """ASGI middleware: the policy, and the bounds of headers and bodies."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Bounded(receive)
        try:
            _check_head(scope)
            self._policy.check(scope["path"], scope["headers"])
            await self._app(scope, body.receive, send)
        except Problem as problem:
            await body.drain()
            await _send(send, problem)


class _Bounded:
    """A body that ends with an error where it is too large, whether or not it said so before."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0
        self._has_more = True

    async def receive(self) -> Message:
        message = await self._next_in_time()
        if self._size > BODY_BYTES_MAX:
            await self.drain()
            raise _too_large(self._size)
        return message

    async def drain(self) -> None:
        """Reads on, within bounds: who is still sending would be cut off, and never see the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._has_more and self._size <= DRAINED_BYTES_MAX:
                    await self._next()

    async def _next_in_time(self) -> Message:
        if not self._has_more:
            # What is waited for now is the caller's going away.
            return await self._next()
        try:
            async with asyncio.timeout(PIECE_S):
                return await self._next()
        except TimeoutError:
            message = f"expected more of the body in {PIECE_S:.0f} s, but it stays at {self._size:,} bytes"
            raise Problem(408, "ERR_REQUEST_TIMEOUT", message) from None

    async def _next(self) -> Message:
        message = await self._receive()
        self._has_more = message["type"] == "http.request" and message.get("more_body", False)
        self._size += len(message.get("body", b""))
        return message


def _check_head(scope: Scope) -> None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in headers)
    if size > HEADER_BYTES_MAX:
        message = f"expected a path and headers of at most {HEADER_BYTES_MAX:,} bytes, but they have {size:,}"
        raise Problem(431, "ERR_HEADERS_TOO_LARGE", message)
    given = dict(headers)
    if b"content-length" in given and b"transfer-encoding" in given:
        # A proxy before us may believe the other one, and see another request in what follows.
        message = "expected Content-Length or Transfer-Encoding, but got both"
        raise Problem(400, "ERR_INVALID_REQUEST", message)
    length = given.get(b"content-length", b"0")
    if length.isdigit() and int(length) > BODY_BYTES_MAX:
        raise _too_large(int(length))


def _too_large(size: int) -> Problem:
    message = f"expected a body of at most {BODY_BYTES_MAX:,} bytes, but it has {size:,} or more"
    return Problem(413, "ERR_REQUEST_TOO_LARGE", message)


async def _send(send: Send, problem: Problem) -> None:
    body = encode(problem.body())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    # What is left of the body is not read: the connection is of no use any more.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
