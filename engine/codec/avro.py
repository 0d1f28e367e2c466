"""Structs to Avro's single-object encoding and back. Bad bytes raise UndecodableError, and nothing else.

Each record is encoded once and carried as bytes from there on. The current schemas have generated encoders
and decoders; what an earlier release wrote goes through fastavro's schema resolution, so that old histories
stay readable.
"""

import io
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

import fastavro
import msgspec

from engine.codec import jsonform, validation
from engine.codec.generate import attribute_of, decoder_of, encoder_of
from engine.codec.schemas import CURRENT, HEADER_BYTES, KINDS, MAGIC, OLDER, Json
from engine.codec.undecodable import UndecodableError
from engine.core import limits
from engine.errors import LimitExceededError
from engine.model.checkpoint import Checkpoint, InMark, OutMark, PurgeProgress, SourceMark
from engine.model.commands import COMMANDS, PUBLIC_COMMANDS, Command, PublicCommand
from engine.model.effects import Reason
from engine.model.events import EVENTS, TERMINAL_EVENTS, Recorded
from engine.model.failure import Failure, ParentLink, Payload, RetryPolicy
from engine.model.reply import Reply

__all__ = [
    "HISTORY_RECORD_BYTES_MAX",
    "INBOX_RECORD_BYTES_MAX",
    "UndecodableError",
    "decode_checkpoint",
    "decode_command",
    "decode_event",
    "decode_public_command",
    "decode_reply",
    "encode_checkpoint",
    "encode_command",
    "encode_event",
    "encode_reply",
    "kind_of",
    "terminal_fingerprints",
    "validate_command",
]

# A refused record travels inside a RefuseRecord, and a deferred one inside an InputDeferred: each layer may
# be larger than the one it wraps, or the engine could not read what it wrote itself.
ENVELOPE_BYTES = 16 * 1024
INBOX_RECORD_BYTES_MAX = limits.RECORD_BYTES_MAX + ENVELOPE_BYTES
HISTORY_RECORD_BYTES_MAX = INBOX_RECORD_BYTES_MAX + ENVELOPE_BYTES

RECORDED_FIELDS = ("run_id", "sequence", "recorded_at_ms", "inbox_offset")
EVENT_HEADER = ("instance_id", *RECORDED_FIELDS)
_NESTED = (Payload, Failure, RetryPolicy, ParentLink, SourceMark, OutMark, InMark, PurgeProgress)
_MALFORMED = (IndexError, ValueError, struct.error)

Encoder = Callable[..., bytes]
Decoder = Callable[[bytes], Any]


# --- tables, made once ---


def _names(kind: type) -> dict[str, object]:
    return {cls.__name__: cls for cls in (*_NESTED, kind, Recorded)}


def _fields_of(kind: type) -> dict[str, str]:
    """Schema name -> attribute, of the struct's own fields."""
    schema = CURRENT[kind.__name__].source
    own = schema["fields"][len(EVENT_HEADER) if kind in EVENTS else 0 :]
    return {field["name"]: attribute_of(kind.__name__, field["name"]) for field in own}


def _encoder(kind: type) -> Encoder:
    schema = CURRENT[kind.__name__]
    own = _fields_of(kind)
    if kind not in EVENTS:
        return encoder_of(schema.source, schema.header, "c", {name: f"c.{own[name]}" for name in own})
    sources = {name: f"e.{own[name]}" for name in own} | {name: f"r.{name}" for name in RECORDED_FIELDS}
    sources["instance_id"] = "instance_id"
    return encoder_of(schema.source, schema.header, "instance_id, r, e", sources)


def _decoder(kind: type) -> Decoder:
    own = ", ".join(f"{attribute}={{{name}}}" for name, attribute in _fields_of(kind).items())
    result = f"{kind.__name__}({own})"
    if kind in EVENTS:
        marks = ", ".join(f"{name}={{{name}}}" for name in RECORDED_FIELDS)
        result = f"{{instance_id}}, Recorded({marks}, event={result})"
    return decoder_of(CURRENT[kind.__name__].source, HEADER_BYTES, result, _names(kind))


def resolving_decoder(writer: Json, kind: type) -> Decoder:
    """Reads what was written with the parsed schema `writer` into the `kind` of today."""
    reader, own = CURRENT[kind.__name__].parsed, _fields_of(kind)

    def decode(value: bytes) -> object:
        stream = io.BytesIO(value)
        stream.seek(HEADER_BYTES)
        try:
            record = cast("dict[str, Any]", fastavro.schemaless_reader(stream, writer, reader))
        except Exception as error:
            # fastavro raises whatever its parts raise. None of it may get past here: the owner would stop.
            message = f"fastavro says {type(error).__name__}: {error}"
            raise ValueError(message) from error
        if stream.tell() != len(value):
            message = f"expected {stream.tell()} bytes, but got {len(value)}"
            raise ValueError(message)
        made: Any = msgspec.convert({own[name]: record[name] for name in own}, kind, builtin_types=(bytes,))
        if kind not in EVENTS:
            return made
        return record["instance_id"], Recorded(**{name: record[name] for name in RECORDED_FIELDS}, event=made)

    return decode


def _decoders(kinds: tuple[type, ...]) -> dict[bytes, Decoder]:
    by_name = {kind.__name__: kind for kind in kinds}
    current = {CURRENT[name].header: _decoder(kind) for name, kind in by_name.items()}
    older = {header: schema for header, schema in OLDER.items() if schema.kind in by_name}
    return current | {
        h: resolving_decoder(schema.parsed, by_name[schema.kind]) for h, schema in older.items()
    }


_COMMAND_ENCODERS: Mapping[type, Encoder] = {kind: _encoder(kind) for kind in COMMANDS}
_EVENT_ENCODERS: Mapping[type, Encoder] = {kind: _encoder(kind) for kind in EVENTS}
_encode_checkpoint = _encoder(Checkpoint)
_encode_reply = _encoder(Reply)
_PUBLIC_DECODERS = _decoders(PUBLIC_COMMANDS)
_COMMAND_DECODERS = _decoders(COMMANDS)
_EVENT_DECODERS = _decoders(EVENTS)
_CHECKPOINT_DECODERS = _decoders((Checkpoint,))
_REPLY_DECODERS = _decoders((Reply,))

# What the values of terminal events begin with, so that a reader can tell them without decoding.
terminal_fingerprints: frozenset[bytes] = frozenset(
    header for header, kind in KINDS.items() if kind in {event.__name__ for event in TERMINAL_EVENTS}
)


# --- the API ---


def kind_of(value: bytes) -> str | None:
    """The name of the record that `value` begins like, None where no release ever wrote such."""
    return KINDS.get(value[:HEADER_BYTES])


def encode_command(command: Command) -> bytes:
    """`command` as a record of the inbox."""
    value = _COMMAND_ENCODERS[type(command)](command)
    if len(value) > INBOX_RECORD_BYTES_MAX:
        raise _over_limit(type(command), value, INBOX_RECORD_BYTES_MAX)
    return value


def encode_event(instance_id: str, recorded: Recorded) -> bytes:
    """`recorded` as a record of the history of `instance_id`."""
    event = recorded.event
    value = _EVENT_ENCODERS[type(event)](instance_id, recorded, event)
    if len(value) > HISTORY_RECORD_BYTES_MAX:
        raise _over_limit(type(event), value, HISTORY_RECORD_BYTES_MAX)
    return value


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """`checkpoint` as the last record of a commit."""
    value = _encode_checkpoint(checkpoint)
    if len(value) > HISTORY_RECORD_BYTES_MAX:
        raise _over_limit(Checkpoint, value, HISTORY_RECORD_BYTES_MAX)
    return value


def encode_reply(reply: Reply) -> bytes:
    """`reply` as a record of the replies. All that is in it is bounded already."""
    return _encode_reply(reply)


def decode_command(value: bytes) -> Command:
    """The command that a record of the inbox holds."""
    if len(value) > INBOX_RECORD_BYTES_MAX:
        raise _too_large(value, INBOX_RECORD_BYTES_MAX)
    decoder = _COMMAND_DECODERS.get(value[:HEADER_BYTES])
    if decoder is None:
        raise _unknown(value, "a command")
    try:
        return cast("Command", decoder(value))
    except _MALFORMED as error:
        raise _malformed(value, error) from error


def decode_event(value: bytes) -> tuple[str, Recorded]:
    """The instance and the event that a record of the history holds."""
    if len(value) > HISTORY_RECORD_BYTES_MAX:
        raise _too_large(value, HISTORY_RECORD_BYTES_MAX)
    decoder = _EVENT_DECODERS.get(value[:HEADER_BYTES])
    if decoder is None:
        raise _unknown(value, "an event")
    try:
        return cast("tuple[str, Recorded]", decoder(value))
    except _MALFORMED as error:
        raise _malformed(value, error) from error


def decode_checkpoint(value: bytes) -> Checkpoint:
    """The checkpoint that a record of the history holds."""
    if len(value) > HISTORY_RECORD_BYTES_MAX:
        raise _too_large(value, HISTORY_RECORD_BYTES_MAX)
    decoder = _CHECKPOINT_DECODERS.get(value[:HEADER_BYTES])
    if decoder is None:
        raise _unknown(value, "a checkpoint")
    try:
        return cast("Checkpoint", decoder(value))
    except _MALFORMED as error:
        raise _malformed(value, error) from error


def decode_reply(value: bytes) -> Reply:
    """The reply that a record of the replies holds."""
    decoder = _REPLY_DECODERS.get(value[:HEADER_BYTES])
    if decoder is None:
        raise _unknown(value, "a reply")
    try:
        return cast("Reply", decoder(value))
    except _MALFORMED as error:
        raise _malformed(value, error) from error


def decode_public_command(value: bytes, content_type: str | None) -> PublicCommand:
    """The command that a record of `commands` holds: one that outsiders may send, its values checked.

    It is in Avro or JSON. JSON is what says so by its content type, or begins with a BOM or `{`, white space
    aside.
    """
    if len(value) > limits.RECORD_BYTES_MAX:
        raise _too_large(value, limits.RECORD_BYTES_MAX)
    is_json = jsonform.is_json(value, content_type)
    command = jsonform.decode(value) if is_json else _decode_public_avro(value)
    validation.validate_command(command)
    return command


def validate_command(command: Command) -> None:
    """Raises UndecodableError where outsiders may not send `command`, or a value of it can't be accepted."""
    validation.validate_command(command)


def _decode_public_avro(value: bytes) -> PublicCommand:
    decoder = _PUBLIC_DECODERS.get(value[:HEADER_BYTES])
    if decoder is None:
        kind = kind_of(value)
        if kind is not None:
            raise validation.not_allowed(kind)
        raise _unknown(value, "a command in Avro's single-object encoding, or a JSON object")
    try:
        return cast("PublicCommand", decoder(value))
    except _MALFORMED as error:
        raise _malformed(value, error) from error


# --- refusals ---


def _over_limit(kind: type, value: bytes, bytes_max: int) -> LimitExceededError:
    what = f"the record of {kind.__name__} (bytes)"
    return LimitExceededError(
        what, len(value), bytes_max, "store large values elsewhere and pass a reference"
    )


def _too_large(value: bytes, bytes_max: int) -> UndecodableError:
    return UndecodableError(
        Reason.TOO_LARGE, f"expected a record of at most {bytes_max:,} bytes, but it has {len(value):,}"
    )


def _unknown(value: bytes, expected: str) -> UndecodableError:
    header = value[:HEADER_BYTES]
    kind = KINDS.get(header)
    if kind is not None:
        return UndecodableError(Reason.MALFORMED, f"expected {expected}, but got {kind}")
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        got = f"the bytes {header.hex(' ')}" if header else "nothing"
        return UndecodableError(Reason.MALFORMED, f"expected {expected}, but it begins with {got}")
    fingerprint = header[len(MAGIC) :].hex()
    detail = f"expected a schema that this engine knows, but got {fingerprint}; a newer engine may know it"
    return UndecodableError(Reason.UNKNOWN_SCHEMA, detail)


def _malformed(value: bytes, error: Exception) -> UndecodableError:
    kind = KINDS[value[:HEADER_BYTES]]
    why = "the bytes end early" if isinstance(error, IndexError | struct.error) else str(error)
    return UndecodableError(Reason.MALFORMED, f"expected a whole {kind}, but {why}")
