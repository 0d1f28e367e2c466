"""Derives each schema's shape from its struct. The tests hold the files to it; as a script it writes them.

    python -m tests.codec.derive            adds what structs have gained to schemas/, and keeps every `doc`
    python -m tests.codec.derive --release  also puts the current schemas on record in schemas/released.json

Schema files stay the source of truth: a new field comes out with an empty `doc`, which a test refuses.
"""

import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from engine.model.checkpoint import Checkpoint
from engine.model.commands import ENGINE_COMMANDS, PUBLIC_COMMANDS
from engine.model.events import EVENTS
from engine.model.reply import Reply

ROOT = Path(__file__).parents[2] / "schemas"
NAMESPACE = "engine.v1"
HEADER: dict[str, str] = {
    "instance_id": "string",
    "run_id": "string",
    "sequence": "long",
    "recorded_at_ms": "long",
    "inbox_offset": "long",
}
# The header of an event already has an `instance_id`, the parent's.
RENAMED = {("ChildScheduled", "instance_id"): "child_instance_id"}
PRIMITIVES: dict[object, str] = {str: "string", int: "long", bool: "boolean", float: "double", bytes: "bytes"}
Json = Any


def files() -> dict[type, Path]:
    """Where the schema of each struct lies."""
    places = dict.fromkeys(PUBLIC_COMMANDS, ROOT / "commands")
    places |= dict.fromkeys(ENGINE_COMMANDS, ROOT / "internal")
    places |= dict.fromkeys(EVENTS, ROOT / "events")
    return {kind: folder / f"{kind.__name__}.avsc" for kind, folder in places.items()} | {
        Checkpoint: ROOT / "checkpoint.avsc",
        Reply: ROOT / "reply.avsc",
    }


def schema_of(kind: type) -> Json:
    """The shape that the schema of `kind` must have, without docs."""
    schema = _record(kind, set())
    if kind in EVENTS:
        schema["fields"] = [{"name": n, "type": t} for n, t in HEADER.items()] + schema["fields"]
    return {"type": "record", "name": kind.__name__, "namespace": NAMESPACE, "fields": schema["fields"]}


def _record(kind: type, known: set[type]) -> Json:
    hints = typing.get_type_hints(kind)
    fields = [_field(kind, field, hints[field.name], known) for field in msgspec.structs.fields(kind)]
    return {"type": "record", "name": kind.__name__, "fields": fields}


def _field(kind: type, field: msgspec.structs.FieldInfo, hint: object, known: set[type]) -> Json:
    name = RENAMED.get((kind.__name__, field.name), field.name)
    made: Json = {"name": name, "type": _type(hint, known)}
    if isinstance(made["type"], list):
        made["default"] = None
    elif field.default is not msgspec.NODEFAULT:
        made["default"] = _default(field.default)
    return made


def _default(value: object) -> Json:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return list(value) if isinstance(value, tuple) else value


def _type(hint: object, known: set[type]) -> Json:
    if hint in PRIMITIVES:
        return PRIMITIVES[hint]
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        assert len(arguments) == 2, f"no unions but nullable ones: {hint}"
        assert arguments[1] is types.NoneType, f"no unions but nullable ones: {hint}"
        return ["null", _type(arguments[0], known)]
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _type(arguments[0], known)}
    assert isinstance(hint, type), hint
    if hint in known:
        return hint.__name__
    known.add(hint)
    return _record(hint, known)


def without_docs(schema: Json) -> Json:
    """`schema` without its docs, at every depth."""
    if isinstance(schema, dict):
        return {key: without_docs(value) for key, value in schema.items() if key != "doc"}
    return [without_docs(item) for item in schema] if isinstance(schema, list) else schema


def docs_of(schema: Json) -> dict[str, str]:
    """The docs of records and fields, by `Record` and `Record.field`."""
    if isinstance(schema, list):
        return {key: doc for item in schema for key, doc in docs_of(item).items()}
    if not isinstance(schema, dict):
        return {}
    if schema["type"] == "array":
        return docs_of(schema["items"])
    found = {schema["name"]: schema.get("doc", "")}
    for field in schema["fields"]:
        found[f"{schema['name']}.{field['name']}"] = field.get("doc", "")
        found |= docs_of(field["type"])
    return found


def with_docs(schema: Json, docs: dict[str, str]) -> Json:
    """`schema` with docs put where readers look first: behind the name."""
    if isinstance(schema, list):
        return [with_docs(item, docs) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema["type"] == "array":
        return schema | {"items": with_docs(schema["items"], docs)}
    name = schema["name"]
    fields = [
        {
            "name": field["name"],
            "doc": docs.get(f"{name}.{field['name']}", ""),
            **{key: with_docs(value, docs) if key == "type" else value for key, value in field.items()},
        }
        for field in schema["fields"]
    ]
    return {**{k: v for k, v in schema.items() if k != "fields"}, "doc": docs.get(name, ""), "fields": fields}


def fingerprint_of(schema: Json) -> str:
    """The CRC-64-AVRO of `schema` in hex, in the order in which the bytes stand in a record."""
    return fingerprint(to_parsing_canonical_form(parse_schema(schema, _write_hint=False)), "CRC-64-AVRO")


def release() -> None:
    """Puts every current schema on record. Nothing is ever taken off it."""
    path = ROOT / "released.json"
    released = json.loads(path.read_text()) if path.exists() else {}
    for file in files().values():
        schema = without_docs(json.loads(file.read_text()))
        released[fingerprint_of(schema)] = schema
    lines = [f"{json.dumps(key)}: {json.dumps(schema)}" for key, schema in released.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def write(docs: dict[str, str]) -> None:
    """Writes every schema file, with the docs it has, those of its struct, or `docs`."""
    for kind, path in files().items():
        known = docs_of(json.loads(path.read_text())) if path.exists() else {}
        known = {key: doc for key, doc in known.items() if doc}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(with_docs(schema_of(kind), docs | known), indent=2, ensure_ascii=False) + "\n"
        )


if __name__ == "__main__":
    write({})
    if "--release" in sys.argv:
        release()
