"""Structs, schema files and what was ever released agree with each other."""

import io
import json
from itertools import groupby
from typing import Any

import fastavro
import pytest
from fastavro.schema import parse_schema

from engine.codec.schemas import CURRENT, KINDS, MAGIC, header_of
from tests.codec import derive, samples

RELEASED: dict[str, Any] = json.loads((derive.ROOT / "released.json").read_text())
REMEDY = "run: python -m tests.codec.derive"


def _crc_64_avro(data: bytes) -> int:
    """The specification's own few lines."""
    empty = 0xC15D213AA4D7A795
    fingerprint = empty
    for byte in data:
        fingerprint ^= byte
        for _ in range(8):
            fingerprint = (fingerprint >> 1) ^ (empty & -(fingerprint & 1))
    return fingerprint


@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_a_schema_file_says_what_its_struct_says(kind: type) -> None:
    file = json.loads(derive.files()[kind].read_text())

    assert derive.schema_of(kind) == derive.without_docs(file), REMEDY


def test_every_struct_has_one_schema_file_and_every_file_a_struct() -> None:
    on_disk = set(derive.ROOT.rglob("*.avsc"))

    assert on_disk == set(derive.files().values())
    assert set(CURRENT) == {kind.__name__ for kind in samples.KINDS}


@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_every_record_and_field_has_a_doc(kind: type) -> None:
    docs = derive.docs_of(json.loads(derive.files()[kind].read_text()))

    assert [name for name, doc in docs.items() if not doc.strip()] == []


def test_no_two_kinds_share_a_fingerprint() -> None:
    assert len({schema.header for schema in CURRENT.values()}) == len(CURRENT)


def test_the_header_is_the_specifications_fingerprint_in_little_endian() -> None:
    schema = {"type": "record", "name": "engine.v1.A", "fields": [{"name": "b", "type": "long"}]}
    canonical = b'{"name":"engine.v1.A","type":"record","fields":[{"name":"b","type":"long"}]}'

    assert header_of(schema) == MAGIC + _crc_64_avro(canonical).to_bytes(8, "little")
    assert _crc_64_avro(b'"null"') == 0x63DD24E7CC258F8A


def test_every_current_schema_is_on_record() -> None:
    missing = [kind for kind, s in CURRENT.items() if s.header[len(MAGIC) :].hex() not in RELEASED]

    assert missing == [], f"{REMEDY} --release"


def test_what_is_on_record_stands_under_its_own_fingerprint() -> None:
    assert {key: derive.fingerprint_of(schema) for key, schema in RELEASED.items()} == {
        key: key for key in RELEASED
    }


def test_every_released_header_is_known_by_its_kind() -> None:
    assert {MAGIC + bytes.fromhex(key): schema["name"] for key, schema in RELEASED.items()} == KINDS


def _versions() -> list[tuple[str, list[Any]]]:
    ordered = sorted(RELEASED.values(), key=lambda schema: str(schema["name"]))
    return [(name, list(group)) for name, group in groupby(ordered, key=lambda schema: str(schema["name"]))]


def _reads(writer: Any, reader: Any, value: object) -> dict[str, Any]:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parse_schema(writer, named_schemas={}), value)
    stream.seek(0)
    return fastavro.schemaless_reader(  # type: ignore[return-value]
        stream, parse_schema(writer, named_schemas={}), parse_schema(reader, named_schemas={})
    )


@pytest.mark.parametrize(
    ("name", "versions"), _versions(), ids=lambda item: item if isinstance(item, str) else ""
)
def test_every_version_reads_every_other(name: str, versions: list[Any]) -> None:
    kind = next(kind for kind in samples.KINDS if kind.__name__ == name)
    sample = samples.plain(samples.some_of(samples.records_of(kind))[-1])
    pairs = [(writer, reader) for writer in versions for reader in [*versions, CURRENT[name].source]]
    for writer, reader in pairs:
        written = {f["name"] for f in writer["fields"]}
        value = {key: item for key, item in sample.items() if key in written}
        shared = written & {f["name"] for f in reader["fields"]}
        read = _reads(writer, reader, value)
        assert {key: read[key] for key in shared} == {key: value[key] for key in shared}


@pytest.mark.parametrize(
    ("name", "versions"), _versions(), ids=lambda item: item if isinstance(item, str) else ""
)
def test_a_newer_version_only_adds_fields_with_defaults(name: str, versions: list[Any]) -> None:
    current = {field["name"]: field for field in CURRENT[name].source["fields"]}
    for version in versions:
        old = {field["name"]: field for field in version["fields"]}
        assert [key for key in old if key not in current] == []
        assert [key for key in current if key not in old and "default" not in current[key]] == []
