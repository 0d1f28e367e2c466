"""User values to payloads and back: JSON, shaped by type annotations where a function has them.

What JSON can't say is refused, NaN and the infinities too: they must not turn into null unseen. A payload
whose content type isn't JSON reaches the code as bytes.
"""

import dataclasses
import enum
import functools
import inspect
import math
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from engine.core import limits
from engine.model.failure import Payload

JSON_TYPES = frozenset({"", "application/json"})

# Only where it stands in a text can a number have become one.
_NULL = b"null"

_encoder = msgspec.json.Encoder(enc_hook=lambda value: _plain(value))
_decoder = msgspec.json.Decoder()


def encode_value(value: object, whose: str) -> Payload | None:
    """`value` as a payload, None as no payload. Raises TypeError or ValueError for what JSON can't say."""
    if value is None:
        return None
    if isinstance(value, Payload):
        limits.check_payload(value.data, whose)
        return value
    try:
        data = _encoder.encode(value)
    except RecursionError:
        message = (
            f"expected a value for {whose} that JSON can say, but it nests too deeply or contains itself"
        )
        raise ValueError(message) from None
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        message = (
            f"expected a value for {whose} that JSON can say, but its text holds half a character, {half!r}"
        )
        raise ValueError(message) from None
    if _NULL in data:
        _refuse_non_finite(msgspec.to_builtins(value, enc_hook=_plain), whose)
    limits.check_payload(data, whose)
    return Payload(data)


def _refuse_non_finite(value: Any, whose: str) -> None:
    """Raises ValueError for what the encoder writes as null though it is a number."""
    if isinstance(value, float) and not math.isfinite(value):
        message = f"expected a value for {whose} that JSON can say, but it holds {value}; send None or a text"
        raise ValueError(message)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for inner in value:
        _refuse_non_finite(inner, whose)


def decode_value(payload: Payload | None, kind: Any = None) -> Any:
    """The value that `payload` holds, as `kind` where that is a type with a shape of its own."""
    if payload is None:
        return None
    if payload.content_type not in JSON_TYPES:
        return payload.data
    if not payload.data:
        return None  # as Dapr reads an empty string
    value = _decoder.decode(payload.data)
    if kind is None:
        return value
    return _filled(msgspec.convert(value, kind, strict=False, dec_hook=_shape))


def _filled(value: Any) -> Any:
    """`value` with the defaults of its dataclasses as attributes of their own.

    msgspec leaves them to the class when it decodes, and then leaves them out when it encodes: a workflow
    that hands its input on would lose them.
    """
    if dataclasses.is_dataclass(value):
        attributes = getattr(value, "__dict__", None)
        for field in dataclasses.fields(value):
            inner = _filled(getattr(value, field.name, None))
            if attributes is not None and hasattr(value, field.name):
                attributes.setdefault(field.name, inner)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _filled(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            _filled(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            _filled(inner)
    return value


def _plain(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if hasattr(value, "__dict__") and type(value).__name__ == "SimpleNamespace":
        return vars(value)
    message = f"expected a value that JSON can say, but got {type(value).__name__}: {value!r:.100}"
    raise TypeError(message)


def _shape(kind: type, value: object) -> object:
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        message = f"expected a type that JSON can fill, but the annotation says {kind!r}"
        raise TypeError(message)
    return validate(value)


def _has_shape(kind: object) -> bool:
    """Whether plain JSON values would not do: only then is an annotation worth the conversion."""
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or hasattr(kind, "model_validate"):
        return True
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct | enum.Enum):
        return True
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return True
    return any(_has_shape(argument) for argument in typing.get_args(kind))


@functools.cache
def signature_of(function: Callable[..., object]) -> tuple[bool, object, object]:
    """(takes an input, the shape of its input or None, the shape of its result or None)."""
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        # Annotations that can't be resolved here (local classes, TYPE_CHECKING imports) say nothing.
        hints = {}
    parameters = list(inspect.signature(function).parameters.values())
    takes_input = len(parameters) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)
    input_kind = hints.get(parameters[1].name) if len(parameters) > 1 else None
    result_kind = hints.get("return")
    return (
        takes_input,
        _usable(input_kind),
        _usable(result_kind),
    )


def _usable(kind: object) -> object:
    if not _has_shape(kind):
        return None
    try:
        msgspec.json.Decoder(kind, dec_hook=_shape)
    except TypeError:
        # `Order | dict` and the like can't be told apart; then plain JSON values are what the author meant.
        return None
    return kind
