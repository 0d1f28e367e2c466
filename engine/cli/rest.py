"""Requests to one gateway, by the standard library alone. Goes by no proxy, and follows nobody elsewhere.

Each request has a connection of its own: a command asks for one or two things, and streams last.
"""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from engine.client.errors import UnreachableError
from engine.errors import ConfigurationError, InstanceNotFoundError, InvalidCommandError, PublicError

T = TypeVar("T")

CONNECT_S = 5.0
# Streams say every 15 s that they live; bulk commands are answered within this.
ANSWER_S = 60.0
REMEDY = (
    "start 'engine gateway' or 'engine dev', say by --gateway where it is, or do without one: --via kafka, "
    "or --via dir for the log of 'engine dev'"
)
_MISSING = frozenset({"ERR_INSTANCE_ID_NOT_FOUND", "ERR_DEAD_LETTER_NOT_FOUND"})


class RefusedError(PublicError):
    """What was asked for was refused; nothing was changed."""


class ServerSentEvent(msgspec.Struct, frozen=True):
    """An event of a stream: its id, and what it carries."""

    id: str
    data: bytes


class Rest:
    """One gateway. One thread uses it."""

    def __init__(self, url: str, token: str) -> None:
        """Raises ConfigurationError for what is no address. Connects to nothing."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            message = f"expected a gateway's address such as http://127.0.0.1:3500, but got {url!r:.200}"
            raise ConfigurationError(message)
        self.url = url.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port
        self._is_safe = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/")
        self._headers = {"dapr-api-token": token} if token else {}

    def get(
        self, kind: type[T], path: str, query: Mapping[str, Any] | None = None, *, wait_s: float = 0
    ) -> T:
        """What a question is answered. See `_checked` for what it raises."""
        with self._request("GET", path, query, wait_s=wait_s) as response:
            return self._decoded(kind, self._checked(response))

    def post(self, kind: type[T], path: str, body: bytes) -> T:
        """What a command is answered."""
        with self._request("POST", path, body=body) as response:
            return self._decoded(kind, self._checked(response))

    def stream(
        self, path: str, query: Mapping[str, Any] | None = None, last_id: str = ""
    ) -> Iterator[ServerSentEvent | None]:
        """Server-sent events, and None for each sign of life, until the gateway ends the stream."""
        headers = {"last-event-id": last_id} if last_id else {}
        with self._request("GET", path, query, headers=headers) as response:
            if response.status != 200:
                self._checked(response)
            event_id = ""
            for line in self._lines(response):
                if line.startswith(b"id: "):
                    event_id = line[4:].decode()
                elif line.startswith(b"data: "):
                    yield ServerSentEvent(event_id, line[6:])
                elif line.startswith(b":"):
                    yield None

    def unreachable(self, why: object) -> UnreachableError:
        """What is raised where there is no gateway."""
        return UnreachableError(f"expected a gateway at {self.url}, but {why}; {REMEDY}")

    def _lines(self, response: HTTPResponse) -> Iterator[bytes]:
        try:
            for line in response:
                yield line.rstrip(b"\r\n")
        except (OSError, HTTPException) as problem:
            raise self.unreachable(f"its stream broke off: {_why(problem)}") from problem

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0,
    ) -> Iterator[HTTPResponse]:
        given = [(name, value) for name, value in (query or {}).items() if value not in (None, "", [])]
        target = f"{self._prefix}{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")
        with closing(self._connection()) as connection:
            try:
                connection.connect()
                assert connection.sock is not None, "it is connected"
                connection.sock.settimeout(ANSWER_S + wait_s)
                connection.request(method, target, body, {**self._headers, **(headers or {})})
                response = connection.getresponse()
            except (OSError, HTTPException) as problem:
                raise self.unreachable(_why(problem)) from problem
            yield response

    def _connection(self) -> HTTPConnection:
        if self._is_safe:
            context = ssl.create_default_context()
            return HTTPSConnection(self._host, self._port, timeout=CONNECT_S, context=context)
        return HTTPConnection(self._host, self._port, timeout=CONNECT_S)

    def _checked(self, response: HTTPResponse) -> bytes:
        """The body of a good answer; of any other, what it says is raised."""
        try:
            body = response.read()
        except (OSError, HTTPException) as problem:
            raise self.unreachable(_why(problem)) from problem
        if response.status < 300:
            return body
        code, message = _error_of(body)
        if response.status == 404 and code in _MISSING:
            raise InstanceNotFoundError(message)
        if response.status in (401, 403):
            remedy = "set ENGINE_API_TOKEN (or DAPR_API_TOKEN), or --token-file"
            raise ConfigurationError(f"the gateway at {self.url} refused: {message}; {remedy}")
        if not code or response.status == 404:
            raise self.unreachable(f"what answers there, by {response.status}, is something else")
        if response.status in (400, 413, 431):
            raise InvalidCommandError(message)
        if response.status == 503:
            raise UnreachableError(message)
        raise RefusedError(message)

    def _decoded(self, kind: type[T], body: bytes) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as problem:
            raise self.unreachable(f"what it answered is not understood: {problem}") from problem


def quoted(text: str) -> str:
    """A text as a part of a path. Raises InvalidCommandError for what no path can hold."""
    if "/" in text:
        message = f"expected an id without '/', but got {text!r}: no instance has such an id"
        raise InvalidCommandError(message)
    return quote(text, safe="")


def _error_of(body: bytes) -> tuple[str, str]:
    """The code and the message of an error in Dapr's form; "" where it is in none."""
    try:
        found = json.loads(body)
        return str(found["errorCode"]), str(found["message"])
    except (ValueError, KeyError, TypeError):
        return "", ""


def _why(problem: Exception) -> str:
    if isinstance(problem, ConnectionRefusedError):
        return "nothing answers there"
    return str(problem) or type(problem).__name__
