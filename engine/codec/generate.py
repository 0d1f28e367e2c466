"""Writes, from each schema, plain Python that encodes and decodes its record, and compiles it at import.

The generated encoder takes less than a third of fastavro's time and the decoder about half, for there is no
dictionary in between. Values reach them only as arguments: what is compiled comes from schema files alone.

Rules of the generated decoder: the position only grows, so one comparison at the end finds both what ran over
the end and what was left over; no length is negative; a union or boolean byte is one that the schema has.
"""

import struct
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from engine.codec import varint
from engine.codec.schemas import Json

# Strings that repeat from record to record and are short by their limits. Free text may not enter a cache.
CACHED = frozenset(
    {
        "instance_id",
        "child_instance_id",
        "parent_instance_id",
        "run_id",
        "workflow",
        "name",
        "topic_id",
    }
)
# Schema names that structs don't have, because the header of an event already has an `instance_id`.
RENAMED = {"child_instance_id": ("ChildScheduled", "instance_id")}

Names = Mapping[str, object]


class _Source:
    """Lines of a function in the making, and names for its locals."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._numbers = count()

    def local(self) -> str:
        return f"x{next(self._numbers)}"

    def add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]


def attribute_of(record: str, field: str) -> str:
    """The struct's name for a schema's field."""
    renamed = RENAMED.get(field)
    return renamed[1] if renamed is not None and renamed[0] == record else field


def _compile(name: str, lines: list[str], names: Names) -> Callable[..., Any]:
    scope = dict(names)
    exec(compile("\n".join(lines), f"<generated {name}>", "exec"), scope)  # noqa: S102 -- from our own schema files
    return scope[name]  # type: ignore[return-value]  # the function that the lines define


# --- encoding ---


class EncoderWriter(_Source):
    """Writes the body of an encoder. `parts` collects expressions that yield bytes, up to the next branch."""

    def __init__(self, records: Mapping[str, Json]) -> None:
        super().__init__()
        self._records = dict(records)
        self._parts: list[str] = []

    def flush(self, depth: int) -> None:
        """Puts what was collected into the output, in one step."""
        if self._parts:
            self.add(depth, f"out += ({', '.join(self._parts)},)")
        self._parts = []

    def field(self, depth: int, kind: Json, value: str, name: str) -> None:
        """Encodes the expression `value` as `kind`."""
        if isinstance(kind, list):
            self._nullable(depth, kind[1], value, name)
        elif isinstance(kind, str) and kind in self._records:
            self.record(depth, self._records[kind], value)
        elif isinstance(kind, dict) and kind["type"] == "array":
            self._array(depth, kind["items"], value, name)
        elif isinstance(kind, dict):
            self._records[kind["name"]] = kind
            self.record(depth, kind, value)
        else:
            self._primitive(depth, kind, value, name)

    def record(self, depth: int, schema: Json, value: str) -> None:
        """Encodes the fields of a nested record."""
        for field in schema["fields"]:
            name = field["name"]
            self.field(depth, field["type"], f"{value}.{attribute_of(schema['name'], name)}", name)

    def _nullable(self, depth: int, kind: Json, value: str, name: str) -> None:
        local = self.local()
        self.flush(depth)
        self.add(depth, f"{local} = {value}", f"if {local} is None:", "    out.append(b'\\x00')", "else:")
        self._parts.append("b'\\x02'")
        self.field(depth + 1, kind, local, name)
        self.flush(depth + 1)

    def _array(self, depth: int, items: Json, value: str, name: str) -> None:
        many, item = self.local(), self.local()
        self.flush(depth)
        self.add(depth, f"{many} = {value}", f"if {many}:", f"    out.append(long(len({many})))")
        self.add(depth + 1, f"for {item} in {many}:")
        self.field(depth + 2, items, item, name)
        self.flush(depth + 2)
        self._parts.append("b'\\x00'")

    def _primitive(self, depth: int, kind: str, value: str, name: str) -> None:
        if kind == "string" and name in CACHED:
            self._parts.append(f"id({value})")
        elif kind == "string":
            self._sized(depth, f"{value}.encode()")
        elif kind == "bytes":
            self._sized(depth, value)
        elif kind == "long" and (name.endswith(("_ms", "offset"))):
            self._parts.append(f"long({value})")
        elif kind == "long":
            local = self.local()
            self.add(depth, f"{local} = {value}")
            self._parts.append(f"small[{local}] if 0 <= {local} < {varint.SMALL_LONGS} else long({local})")
        elif kind == "boolean":
            self._parts.append(f"b'\\x01' if {value} else b'\\x00'")
        else:
            assert kind == "double", kind
            self._parts.append(f"double({value})")

    def _sized(self, depth: int, value: str) -> None:
        data, size = self.local(), self.local()
        self.add(depth, f"{data} = {value}", f"{size} = len({data})")
        self._parts += [f"small[{size}] if {size} < {varint.SMALL_LONGS} else long({size})", data]


ENCODER_NAMES: Names = {
    "small": varint.SMALL,
    "long": varint.cached_long,
    "id": varint.cached_id,
    "double": struct.Struct("<d").pack,
    "join": b"".join,
}


Sources = Mapping[str, str]


def encoder_of(schema: Json, header: bytes, parameters: str, sources: Sources) -> Callable[..., bytes]:
    """An encoder of `schema`. `sources` has an expression over `parameters` for each field."""
    writer = EncoderWriter({})
    writer.add(0, f"def encode({parameters}):", f"    out = [{header!r}]")
    for field in schema["fields"]:
        writer.field(1, field["type"], sources[field["name"]], field["name"])
    writer.flush(1)
    writer.add(1, "return join(out)")
    return _compile("encode", writer.lines, ENCODER_NAMES)


# --- decoding ---


class DecoderWriter(_Source):
    """Writes the body of a decoder: `v` is the value, `i` the position in it, `n` the number just read."""

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[str, Json] = {}

    def field(self, depth: int, kind: Json) -> str:
        """Decodes one value and returns the local that holds it."""
        local = self.local()
        self._into(depth, kind, local)
        return local

    def _into(self, depth: int, kind: Json, local: str) -> None:
        if isinstance(kind, list):
            self._nullable(depth, kind[1], local)
        elif isinstance(kind, str) and kind in self._records:
            self._record(depth, self._records[kind], local)
        elif isinstance(kind, dict) and kind["type"] == "array":
            self._array(depth, kind["items"], local)
        elif isinstance(kind, dict):
            self._records[kind["name"]] = kind
            self._record(depth, kind, local)
        else:
            self._primitive(depth, kind, local)

    def _record(self, depth: int, schema: Json, local: str) -> None:
        name = schema["name"]
        values = [(attribute_of(name, f["name"]), self.field(depth, f["type"])) for f in schema["fields"]]
        self.add(depth, f"{local} = {name}({', '.join(f'{key}={value}' for key, value in values)})")

    def _nullable(self, depth: int, kind: Json, local: str) -> None:
        self.add(depth, "n = v[i]", "i += 1", "if n == 2:")
        self._into(depth + 1, kind, local)
        self.add(depth, "elif n == 0:", f"    {local} = None", "else:", "    raise invalid_branch(n)")

    def _array(self, depth: int, items: Json, local: str) -> None:
        self.add(depth, f"{local} = []", f"{local}n, i = count(v, i)", f"while {local}n:")
        self.add(depth + 1, f"for _ in range({local}n):")
        item = self.field(depth + 2, items)
        self.add(depth + 2, f"{local}.append({item})")
        self.add(depth + 1, f"{local}n, i = count(v, i)")
        self.add(depth, f"{local} = tuple({local})")

    def _primitive(self, depth: int, kind: str, local: str) -> None:
        if kind == "double":
            self.add(depth, f"{local}, = double(v, i)", "i += 8")
            return
        self.add(depth, "n = v[i]", "i += 1")
        if kind in ("string", "bytes"):
            self.add(depth, "if n & 0x81:", "    n, i = length(v, i, n)", "j = i + (n >> 1)")
            self.add(depth, f"{local} = v[i:j]{'.decode()' if kind == 'string' else ''}", "i = j")
        elif kind == "long":
            self.add(depth, "if n > 0x7f:", "    n, i = long(v, i, n)", f"{local} = (n >> 1) ^ -(n & 1)")
        else:
            assert kind == "boolean", kind
            self.add(depth, "if n > 1:", "    raise invalid_branch(n)", f"{local} = n == 1")


DECODER_NAMES: Names = {
    "long": varint.decode_long,
    "length": varint.decode_length,
    "count": varint.decode_count,
    "invalid_branch": varint.invalid_branch,
    "double": struct.Struct("<d").unpack_from,
}


def decoder_of(schema: Json, start: int, result: str, names: Names) -> Callable[[bytes], Any]:
    """A decoder of `schema` from position `start`; `result` is an expression over `{fields}`, by schema name.

    It raises IndexError, ValueError or struct.error for bytes that `schema` can't have written, nothing else.
    """
    writer = DecoderWriter()
    writer.add(0, "def decode(v):", f"    i = {start}")
    values = {field["name"]: writer.field(1, field["type"]) for field in schema["fields"]}
    writer.add(1, "if i != len(v):", "    raise ValueError(f'expected {i} bytes, but got {len(v)}')")
    writer.add(1, f"return {result.format(**values)}")
    return _compile("decode", writer.lines, {**DECODER_NAMES, **names})
