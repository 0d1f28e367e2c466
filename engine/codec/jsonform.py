"""The plain JSON form of the public commands, for people with a shell; `commands.schema.json` describes it.

A text that two readers could understand differently is refused: double keys, unknown fields, NaN. Payloads
are any JSON value, carried as they were written but for the white space: no number passes through a double.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec

from engine.codec import validation
from engine.codec.schemas import CURRENT
from engine.codec.undecodable import UndecodableError
from engine.codec.validation import invalid
from engine.model.commands import PUBLIC_COMMANDS, PublicCommand, StartInstance
from engine.model.effects import Reason
from engine.model.failure import Payload

CONTENT_TYPE = "application/json"
DEPTH_MAX = 64
HALF = "a text holds half a character, one of \\ud800 to \\udfff without its other half"
# Some editors and shells begin a text with it; JSON has none, but who reads may let it be.
BOM = b"\xef\xbb\xbf"
RFC_3339 = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

_RFC_3339 = re.compile(RFC_3339)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {kind.__name__: kind for kind in PUBLIC_COMMANDS}
_PAYLOAD = "payload"
_EXPECTED = {"string": "a string", "long": "a whole number", "boolean": "true or false"}
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any_value = msgspec.json.Decoder()


class _Field(msgspec.Struct, frozen=True):
    kind: str
    is_required: bool
    is_nullable: bool


def _fields_of(kind: str) -> dict[str, _Field]:
    fields = {}
    for field in CURRENT[kind].source["fields"]:
        is_nullable = isinstance(field["type"], list)
        plain = field["type"][1] if is_nullable else field["type"]
        name = _PAYLOAD if isinstance(plain, dict) else plain
        fields[field["name"]] = _Field(name, "default" not in field, is_nullable)
    return fields


_FIELDS = {kind: _fields_of(kind) for kind in _KINDS}


def is_json(value: bytes, content_type: str | None) -> bool:
    """Whether a record is JSON: by its content type, or by how it begins."""
    # As JSON has it, white space may come first; no record in Avro begins so.
    first = value.lstrip(b" \t\r\n") if value[:1].isspace() else value
    if first.startswith((b"{", BOM)):
        return True
    return content_type is not None and content_type.partition(";")[0].strip().lower() == CONTENT_TYPE


def json_fault(error: Exception) -> str:
    """What is wrong with a text that is no JSON, without the paths and remedies of the parsers."""
    text = str(error)
    if text.startswith(("Number out of range", "Exceeds the limit")):
        return "a number is out of range: a double holds up to 1.8e308; send it as a string"
    if "utf-16 surrogate" in text:
        return HALF
    return text.partition(" - at `")[0]


def decode(value: bytes) -> PublicCommand:
    """The command that the JSON text `value` holds. Its values have the right types, but aren't validated."""
    value = value.removeprefix(BOM)
    parsed = _parse(value)
    raw = _raw_fields.decode(value)
    name = parsed.pop("type", None)
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _unknown_type(name)
    _take_start_at(kind.__name__, parsed)
    fields = _FIELDS[kind.__name__]
    unknown = [key for key in parsed if key not in fields]
    if unknown:
        names = [*fields, *(["start_at"] if kind is StartInstance else [])]
        expected = f"expected only the fields {', '.join(names)}"
        raise invalid(_shown(unknown[0]), f"{expected}, but {kind.__name__} has no such field")
    for key, field in fields.items():
        if field.is_required and key not in parsed:
            raise invalid(key, f"expected {kind.__name__} to have this field, but it is missing")
    arguments = {key: _value_of(key, fields[key], item, raw) for key, item in parsed.items()}
    return cast("PublicCommand", kind(**arguments))


def _unknown_type(name: object) -> UndecodableError:
    if isinstance(name, str) and name in CURRENT:
        return validation.not_allowed(name)
    return invalid("type", f"expected one of {', '.join(_KINDS)}, but got {_shown(name)}")


def _shown(value: object) -> str:
    return f"{value!a:.100}"


# --- text ---


def _parse(value: bytes) -> dict[str, Any]:
    """The object that `value` is, read strictly."""
    try:
        parsed = json.loads(value.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        _refuse_what_others_refuse(value)
    except RecursionError:
        raise _malformed(f"expected at most {DEPTH_MAX} levels, but it nests deeper") from None
    except (ValueError, msgspec.MsgspecError) as error:
        raise _malformed(f"expected JSON, but {json_fault(error)}") from None
    if not isinstance(parsed, dict):
        raise _malformed(f"expected a JSON object, but got {_shown(parsed)}")
    _check_depth(parsed)
    return parsed


def _refuse_what_others_refuse(value: bytes) -> None:
    """The standard parser lets pass numbers beyond all doubles, and halves of characters."""
    try:
        _any_value.decode(value)
    except msgspec.DecodeError as error:
        if "truncated" not in str(error):
            raise
        # So it says of a half at the end of a text.
        raise ValueError(HALF) from None


def _malformed(detail: str) -> UndecodableError:
    return UndecodableError(Reason.MALFORMED, detail)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        doubled = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        message = f"the key {_shown(doubled)} occurs twice"
        raise ValueError(message)
    return made


def _refuse_constant(name: str) -> object:
    message = f"{name} is none"
    raise ValueError(message)


def _check_depth(parsed: object) -> None:
    level = [parsed]
    for _ in range(DEPTH_MAX):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise _malformed(f"expected at most {DEPTH_MAX} levels, but it nests deeper")


def _children(value: object) -> list[object]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict | list)]


# --- fields ---


def _value_of(key: str, field: _Field, value: object, raw: dict[str, msgspec.Raw]) -> object:
    if value is None and field.is_nullable:
        return None
    if field.kind == _PAYLOAD:
        return Payload(bytes(msgspec.json.format(raw[key], indent=-1)))
    if field.kind == "long" and isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number: 1e3 and 1000.0 are whole
    expected = {"string": str, "long": int, "boolean": bool}[field.kind]
    if type(value) is not expected:
        raise invalid(key, f"expected {_EXPECTED[field.kind]}, but got {_shown(value)}")
    return value


def _take_start_at(kind: str, parsed: dict[str, Any]) -> None:
    """Turns `start_at`, which people write, into `start_at_ms`."""
    if kind != StartInstance.__name__ or "start_at" not in parsed:
        return
    text = parsed.pop("start_at")
    if "start_at_ms" in parsed:
        raise invalid("start_at", "expected either start_at or start_at_ms, but both are there")
    parsed["start_at_ms"] = None if text is None else _milliseconds_of(text)


def _milliseconds_of(text: object) -> int:
    expected = "expected an RFC 3339 time such as 2030-01-31T09:00:00Z"
    if not isinstance(text, str) or _RFC_3339.fullmatch(text) is None:
        raise invalid("start_at", f"{expected}, but got {_shown(text)}")
    try:
        moment = msgspec.convert(text.upper(), datetime)
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    except (msgspec.ValidationError, OverflowError):
        raise invalid("start_at", f"{expected}, but there is no such time as {text}") from None
