"""Values of every kind for the codec's tests, and the same values as fastavro wants them."""

import io
import types
import typing
from collections.abc import Callable
from typing import Any

import fastavro
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.codec import avro
from engine.codec.schemas import CURRENT
from engine.model.checkpoint import Checkpoint
from engine.model.commands import COMMANDS
from engine.model.events import EVENTS, Recorded
from engine.model.reply import Reply
from tests.codec.derive import RENAMED

KINDS: tuple[type, ...] = (*COMMANDS, *EVENTS, Checkpoint, Reply)
LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 20_000)
# One character of each length in UTF-8, and those that keys and JSON give a meaning.
TEXTS = st.text(st.sampled_from('aZ09|~-./:\\"\0\n\x7fÄ€\uffff\U0001f600'), max_size=40)
PRIMITIVES: dict[object, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: LONGS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    bytes: st.binary(max_size=40),
}
QUICK = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def names_of(kind: type) -> tuple[str, ...]:
    """The fields of a struct."""
    return tuple(field.name for field in msgspec.structs.fields(kind))


def values_of(hint: object) -> st.SearchStrategy[Any]:
    """Values of a field so annotated."""
    if hint in PRIMITIVES:
        return PRIMITIVES[hint]
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return st.none() | values_of(arguments[0])
    if typing.get_origin(hint) is tuple:
        return st.lists(values_of(arguments[0]), max_size=4).map(tuple)
    assert isinstance(hint, type)
    hints = typing.get_type_hints(hint)
    return st.builds(hint, **{field: values_of(hints[field]) for field in names_of(hint)})


def records_of(kind: type) -> st.SearchStrategy[Any]:
    """What the codec encodes for `kind`: the struct itself, or (instance id, Recorded) for an event."""
    if kind not in EVENTS:
        return values_of(kind)
    marks = {"sequence": LONGS, "recorded_at_ms": LONGS, "inbox_offset": LONGS}
    return st.tuples(TEXTS, st.builds(Recorded, run_id=TEXTS, event=values_of(kind), **marks))


def plain(value: object) -> Any:
    """A record as fastavro reads and writes it: its schema's field names, dicts and lists."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Recorded):
        header = {"instance_id": value[0]} | {
            name: getattr(value[1], name) for name in Recorded.__struct_fields__
        }
        return {**{k: v for k, v in header.items() if k != "event"}, **plain(value[1].event)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    name = type(value).__name__
    return {RENAMED.get((name, key), key): plain(getattr(value, key)) for key in value.__struct_fields__}


def encode(value: Any) -> bytes:
    """The bytes that the engine writes for what `records_of` gave."""
    if isinstance(value, tuple):
        return avro.encode_event(*value)
    encoders: dict[type, Callable[[Any], bytes]] = {
        Checkpoint: avro.encode_checkpoint,
        Reply: avro.encode_reply,
    }
    return encoders.get(type(value), avro.encode_command)(value)


def decoder_of(kind: type) -> Callable[[bytes], Any]:
    """The engine's way back from such bytes."""
    if kind in EVENTS:
        return avro.decode_event
    decoders: dict[type, Callable[[bytes], Any]] = {
        Checkpoint: avro.decode_checkpoint,
        Reply: avro.decode_reply,
    }
    return decoders.get(kind, avro.decode_command)


def by_fastavro(kind: str, value: object) -> bytes:
    """The bytes that fastavro writes for `value`."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, CURRENT[kind].parsed, plain(value))
    return CURRENT[kind].header + stream.getvalue()


def some_of(strategy: st.SearchStrategy[Any]) -> list[Any]:
    """A few values of `strategy`, the same in every run."""
    found: list[Any] = []

    @settings(QUICK, max_examples=4)
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found
