"""What a route is: declared once, read by the server that serves it and by the OpenAPI that describes it."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, TypeVar, get_args

import msgspec

from engine.client.errors import UnreachableError
from engine.codec.undecodable import UndecodableError
from engine.errors import InvalidCommandError, LimitExceededError, PublicError
from engine.model.effects import Reason

T = TypeVar("T")

BODY_BYTES_MAX = 1024 * 1024
HEADER_BYTES_MAX = 16 * 1024
KEY_LENGTH_MAX = 255

IDEMPOTENCY_KEY = "idempotency-key"
# What became of a command: accepted, refused with its reason, or undecided in time.
OUTCOME = "engine-outcome"
UNDECIDED = "undecided"
# By how many offsets of history the read model was behind.
LAG = "engine-projection-lag"


class ErrorBody(msgspec.Struct, frozen=True, rename="camel"):
    """Dapr's form of an error."""

    error_code: str
    message: str


class Problem(Exception):
    """A request that is answered with an error.

    `is_decided`: a command was refused by its owner, and will be whenever its answer is asked for again.
    """

    def __init__(self, status: int, code: str, message: str, *, is_decided: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.is_decided = is_decided

    def body(self) -> ErrorBody:
        """As it is told."""
        return ErrorBody(self.code, str(self))


def problem_of(error: PublicError) -> Problem:
    """An engine's error as HTTP has it."""
    if isinstance(error, UnreachableError):
        return Problem(503, "ERR_UNAVAILABLE", str(error))
    if isinstance(error, UndecodableError):
        if error.reason is Reason.TOO_LARGE:
            return Problem(413, "ERR_REQUEST_TOO_LARGE", error.detail)
        return Problem(400, "ERR_INVALID_REQUEST", error.detail)
    if isinstance(error, LimitExceededError):
        return Problem(413, "ERR_REQUEST_TOO_LARGE", str(error))
    if isinstance(error, InvalidCommandError):
        return Problem(400, "ERR_INVALID_REQUEST", str(error))
    return Problem(500, "ERR_INTERNAL", str(error))


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A value in the path, the query or a header. `kind` both reads and describes it."""

    name: str
    prose: str
    where: str = "query"
    kind: Any = str
    default: Any = None
    is_many: bool = False

    @property
    def is_required(self) -> bool:
        """Whether it must be there."""
        return self.where == "path"


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a request carries. Without a `kind`: bytes of any sort."""

    prose: str
    kind: Any = None
    is_required: bool = False


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A way in which a request may be answered."""

    status: int
    prose: str
    kind: Any = None
    content_type: str = "application/json"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. With a `stream` it has no body of its own."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}
    stream: AsyncIterator[bytes] | None = None

    @classmethod
    def of(cls, problem: Problem) -> "Reply":
        """An error as an answer."""
        return cls(status=problem.status, body=problem.body())

    def encoded(self) -> bytes:
        """The body as JSON; empty without one."""
        return b"" if self.body is None else encode(self.body)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request, its parameters read."""

    values: dict[str, Any]
    body: bytes
    headers: Mapping[str, str]
    # The same for the same request; the key is what its sender says of it.
    key: str | None = None

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def decode(self, kind: type[T]) -> T:
        """The body as a value. Raises Problem."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(error) from None


Handler = Callable[[Call], Awaitable[Reply]]
Recover = Callable[[Call], Awaitable[Reply | None]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `is_command`: it changes something, and may be sent with an Idempotency-Key."""

    method: str
    path: str
    name: str
    prose: str
    tag: str
    handle: Handler
    responses: tuple[Response, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    is_command: bool = False
    # What may have come of a command whose answer was lost.
    recover: Recover | None = None
    # What Dapr's metrics call it; nothing for what they don't count.
    dapr_operation: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What is declared of a route beside its handler. `recover` names a method of the same API."""

    method: str
    path: str
    responses: tuple[Response, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    is_command: bool = False
    recover: str = ""
    dapr_operation: str = ""


_DECLARED = "__operation__"


def operation(
    method: str, path: str, *responses: Response, **fields: Any
) -> Callable[[Callable[[Any, Call], Awaitable[Reply]]], Callable[[Any, Call], Awaitable[Reply]]]:
    """Decorator: declares a method of an API to be a route. Its docstring describes it."""
    declared = Operation(method=method, path=path, responses=responses, **fields)

    def mark(handler: Callable[[Any, Call], Awaitable[Reply]]) -> Callable[[Any, Call], Awaitable[Reply]]:
        setattr(handler, _DECLARED, declared)
        return handler

    return mark


def routes_of(api: object, *, prefix: str, tag: str, suffix: str = "") -> list[Route]:
    """The routes that an API declares, in their order. `suffix` tells the names of versions apart."""
    routes: list[Route] = []
    for name, function in vars(type(api)).items():
        declared: Operation | None = getattr(function, _DECLARED, None)
        if declared is None:
            continue
        fields = msgspec.structs.asdict(declared)
        fields["path"] = prefix + declared.path
        fields["recover"] = getattr(api, declared.recover) if declared.recover else None
        prose = " ".join((function.__doc__ or "").split())
        routes.append(Route(**fields, name=name + suffix, prose=prose, tag=tag, handle=getattr(api, name)))
    return routes


def malformed(error: Exception) -> Problem:
    """A body that is not the JSON it must be, in Dapr's words."""
    return Problem(400, "ERR_MALFORMED_REQUEST", f"failed deserializing HTTP body: {error}")


def encode(body: Any) -> bytes:
    """A value as JSON."""
    return msgspec.json.encode(body)


def read_parameter(parameter: Parameter, found: list[str]) -> Any:
    """The value of a parameter, from the texts that were given for it. Raises Problem."""
    if not found:
        return parameter.default
    try:
        return msgspec.convert(found if parameter.is_many else found[-1], parameter.kind, strict=False)
    except msgspec.ValidationError as error:
        expected = _choices(parameter.kind) or str(error)
        message = f"{parameter.name}: {expected}, but got {', '.join(found)!r:.100}"
        raise Problem(400, "ERR_INVALID_REQUEST", message) from None


def _choices(kind: Any) -> str:
    """What may be chosen, where a parameter is a choice."""
    for each in (kind, *get_args(kind)):
        if isinstance(each, type) and issubclass(each, Enum):
            return f"expected one of {', '.join(str(choice.value) for choice in each)}"
    return ""


def lag_headers(lag: int | None) -> dict[str, str]:
    """What is said of a read model that is so far behind; nothing where that is not known."""
    return {} if lag is None else {LAG: str(lag)}


def read_key(given: str | None) -> str | None:
    """The Idempotency-Key of a request. Raises Problem."""
    if given is None:
        return None
    if not 1 <= len(given) <= KEY_LENGTH_MAX or not given.isprintable():
        expected = f"expected an Idempotency-Key of 1 to {KEY_LENGTH_MAX} printable characters"
        message = f"{expected}, but got {given!r:.80}"
        raise Problem(400, "ERR_INVALID_REQUEST", message)
    return given


def digest_of(method: str, target: bytes, body: bytes) -> bytes:
    """Tells a request from another with the same key."""
    return hashlib.blake2b(b"\0".join((method.encode(), target, body)), digest_size=16).digest()
