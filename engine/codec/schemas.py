"""The schemas of all records, current and released, with their fingerprints. Reads files once, at import.

A record begins with `C3 01` and the CRC-64-AVRO of its writer's schema, little-endian (Avro's single-object
encoding): these ten bytes, its header, say what kind it is.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

MAGIC = b"\xc3\x01"
HEADER_BYTES = 10
NAMESPACE = "engine.v1"

Json = Any  # what a schema file holds: nested dicts and lists


class RecordSchema(msgspec.Struct, frozen=True):
    """One version of the schema of one kind. `parsed` is what fastavro reads and writes with."""

    kind: str
    header: bytes
    source: Json
    parsed: Json


def directory() -> Path:
    """Where the schema files are: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parent / "schemas"


def header_of(source: Json) -> bytes:
    """The ten bytes that a record written with this schema begins with."""
    # fastavro prints the fingerprint in little-endian order, which is the order of the bytes in a record.
    canonical = to_parsing_canonical_form(parse_schema(source, _write_hint=False))
    return MAGIC + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def _schema(source: Json) -> RecordSchema:
    # Each file defines all that it names, so nothing may be shared between two of them.
    parsed = parse_schema(source, named_schemas={})
    return RecordSchema(source["name"], header_of(source), source, parsed)


def _load_current(root: Path) -> dict[str, RecordSchema]:
    paths = [*sorted(root.glob("*/*.avsc")), root / "checkpoint.avsc", root / "reply.avsc"]
    found = (_schema(json.loads(path.read_text(encoding="utf-8"))) for path in paths)
    return {schema.kind: schema for schema in found}


def _load_older(root: Path, current: dict[str, RecordSchema]) -> dict[bytes, RecordSchema]:
    known = {schema.header for schema in current.values()}
    released = json.loads((root / "released.json").read_text(encoding="utf-8"))
    sources = {MAGIC + bytes.fromhex(key): source for key, source in released.items()}
    return {header: _schema(source) for header, source in sources.items() if header not in known}


# Written with by this engine, by kind; and what only earlier engines wrote, by header.
CURRENT: dict[str, RecordSchema] = _load_current(directory())
OLDER: dict[bytes, RecordSchema] = _load_older(directory(), CURRENT)
KINDS: dict[bytes, str] = {schema.header: schema.kind for schema in (*CURRENT.values(), *OLDER.values())}
