"""The plain JSON form of the public commands, and which values any form may have."""

import contextlib
import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codec import avro
from engine.codec.undecodable import UndecodableError
from engine.codec.validation import TIME_MS_MAX
from engine.core import limits
from engine.model.commands import (
    ENGINE_COMMANDS,
    PUBLIC_COMMANDS,
    FireTimer,
    PurgeInstance,
    RaiseEvent,
    ResumeInstance,
    StartInstance,
    SuspendInstance,
    TerminateInstance,
)
from engine.model.effects import Reason
from engine.model.failure import Payload
from tests.codec import derive, samples

SCHEMA = json.loads((derive.ROOT / "commands.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
START = '{"type": "StartInstance", "instance_id": "a", "workflow": "w"'


def decode(text: str | bytes) -> Any:
    return avro.decode_public_command(text if isinstance(text, bytes) else text.encode(), None)


GOOD: dict[str, Any] = {
    START + "}": StartInstance(instance_id="a", workflow="w"),
    START + ', "input": null, "start_at": null}': StartInstance(instance_id="a", workflow="w"),
    START + ', "input": { "a" : [1, 2.50, "ü", "\\u00e4"] } }': StartInstance(
        instance_id="a", workflow="w", input=Payload('{"a":[1,2.50,"ü","\\u00e4"]}'.encode())
    ),
    START + ', "input": 123456789012345678901234567890.10}': StartInstance(
        instance_id="a", workflow="w", input=Payload(b"123456789012345678901234567890.10")
    ),
    START + ', "start_at_ms": 1000.0}': StartInstance(instance_id="a", workflow="w", start_at_ms=1000),
    START + ', "start_at": "1970-01-01T00:00:01.5Z"}': StartInstance(
        instance_id="a", workflow="w", start_at_ms=1500
    ),
    START + ', "start_at": "1970-01-01t02:00:01.0019+02:00"}': StartInstance(
        instance_id="a", workflow="w", start_at_ms=1001
    ),
    '{"type": "TerminateInstance", "instance_id": "a", "output": "", "recursive": false}': TerminateInstance(
        instance_id="a", output=Payload(b'""'), recursive=False
    ),
    '{"type": "SuspendInstance", "instance_id": "a", "reason": "stock"}': SuspendInstance(
        instance_id="a", reason="stock"
    ),
    '{"type": "ResumeInstance", "instance_id": "a"}': ResumeInstance(instance_id="a"),
    '{"type": "PurgeInstance", "instance_id": "a", "force": true}': PurgeInstance(
        instance_id="a", force=True
    ),
    '{"instance_id": "a", "data": false, "name": "n", "type": "RaiseEvent"}': RaiseEvent(
        instance_id="a", name="n", data=Payload(b"false")
    ),
}

# Refused, with what the text must say. The third: whether the JSON Schema sees it too.
BAD: dict[str, tuple[Reason, str, bool]] = {
    "{": (Reason.MALFORMED, "expected JSON, but", False),
    "{}": (Reason.INVALID_VALUE, "type: expected one of StartInstance", True),
    '{"type": 1}': (Reason.INVALID_VALUE, "type: expected one of", True),
    '{"type": ["StartInstance"]}': (Reason.INVALID_VALUE, "type: expected one of", True),
    '{"type": "Start"}': (Reason.INVALID_VALUE, "but got 'Start'", True),
    '{"type": "FireTimer"}': (Reason.NOT_ALLOWED, "but got FireTimer", True),
    '{"type": "InstanceStarted"}': (Reason.NOT_ALLOWED, "but got InstanceStarted", True),
    '{"type": "StartInstance", "workflow": "w"}': (Reason.INVALID_VALUE, "instance_id: expected", True),
    '{"type": "StartInstance", "instance_id": "a"}': (Reason.INVALID_VALUE, "workflow: expected", True),
    START + ', "inptu": 1}': (Reason.INVALID_VALUE, "'inptu': expected only the fields", True),
    START + ', "startat": 1}': (Reason.INVALID_VALUE, "start_at_ms, start_at, but", True),
    START + ', "data": 1}': (Reason.INVALID_VALUE, "'data': expected only the fields", True),
    START + ', "workflow": "v"}': (Reason.MALFORMED, "the key 'workflow' occurs twice", False),
    START + ', "input": {"a": 1, "a": 2}}': (Reason.MALFORMED, "the key 'a' occurs twice", False),
    START + ', "input": NaN}': (Reason.MALFORMED, "NaN", False),
    START + ', "input": [-Infinity]}': (Reason.MALFORMED, "expected JSON", False),
    START + ', "input": 1e999}': (Reason.MALFORMED, "a number is out of range: a double holds", False),
    START + ', "input": {"a": [-1e999]}}': (Reason.MALFORMED, "send it as a string", False),
    START + ', "input": "\\ud800"}': (Reason.MALFORMED, "expected JSON, but a text holds half a", False),
    START + ', "input": "\\ud800 and more"}': (Reason.MALFORMED, "holds half a character", False),
    START + ', "\\ud800": 1}': (Reason.MALFORMED, "expected JSON", False),
    START + f', "input": {"9" * 5000}}}': (Reason.MALFORMED, "a number is out of range", False),
    START + f', "input": {"[" * 64}{"]" * 64}}}': (Reason.MALFORMED, "at most 64 levels", False),
    START + f', "input": {"[" * 100_000}{"]" * 100_000}}}': (Reason.MALFORMED, "at most 64 levels", False),
    START + "} x": (Reason.MALFORMED, "expected JSON", False),
    START + ', "start_at_ms": true}': (Reason.INVALID_VALUE, "start_at_ms: expected a whole number", True),
    START + ', "start_at_ms": 1.5}': (Reason.INVALID_VALUE, "start_at_ms: expected a whole number", True),
    START + ', "start_at_ms": "1"}': (Reason.INVALID_VALUE, "start_at_ms: expected a whole number", True),
    START + ', "start_at_ms": -1}': (Reason.INVALID_VALUE, "start_at_ms: expected UTC milliseconds", True),
    START + f', "start_at_ms": {2**53}}}': (Reason.INVALID_VALUE, "start_at_ms: expected UTC", True),
    START + f', "start_at_ms": {10**40}}}': (Reason.INVALID_VALUE, "start_at_ms: expected UTC", True),
    START + ', "start_at_ms": 1, "start_at": null}': (Reason.INVALID_VALUE, "but both are there", True),
    START + ', "start_at": 5}': (Reason.INVALID_VALUE, "start_at: expected an RFC 3339 time", True),
    START + ', "start_at": "2030-01-31"}': (
        Reason.INVALID_VALUE,
        "start_at: expected an RFC 3339 time",
        True,
    ),
    START + ', "start_at": "2030-01-31T09:00:00"}': (Reason.INVALID_VALUE, "start_at: expected", True),
    START + ', "start_at": "2030-02-31T09:00:00Z"}': (Reason.INVALID_VALUE, "no such time", False),
    START + ', "start_at": "0001-01-01T00:00:00+12:00"}': (Reason.INVALID_VALUE, "start_at", False),
    START + ', "start_at": "1969-12-31T23:59:59Z"}': (
        Reason.INVALID_VALUE,
        "start_at_ms: expected UTC",
        False,
    ),
    '{"type": "RaiseEvent", "instance_id": "a"}': (Reason.INVALID_VALUE, "name: expected", True),
    '{"type": "RaiseEvent", "instance_id": "a", "name": ""}': (
        Reason.INVALID_VALUE,
        "an event name of 1",
        True,
    ),
    '{"type": "RaiseEvent", "instance_id": "a", "name": null}': (Reason.INVALID_VALUE, "a string", True),
    '{"type": "ResumeInstance", "instance_id": "a/b"}': (Reason.INVALID_VALUE, "without '/'", True),
    '{"type": "ResumeInstance", "instance_id": "~a"}': (Reason.INVALID_VALUE, "does not begin with", True),
    '{"type": "ResumeInstance", "instance_id": ""}': (Reason.INVALID_VALUE, "of 1 to 128 bytes", True),
    '{"type": "ResumeInstance", "instance_id": "\\u0000"}': (Reason.INVALID_VALUE, "control", False),
    '{"type": "ResumeInstance", "instance_id": 7}': (
        Reason.INVALID_VALUE,
        "instance_id: expected a str",
        True,
    ),
    '{"type": "PurgeInstance", "instance_id": "a", "force": 1}': (
        Reason.INVALID_VALUE,
        "true or false",
        True,
    ),
    '{"type": "PurgeInstance", "instance_id": "a", "force": null}': (Reason.INVALID_VALUE, "true or", True),
    f'{{"type": "SuspendInstance", "instance_id": "a", "reason": "{"x" * 4097}"}}': (
        Reason.TOO_LARGE,
        "reason: expected at most 4,096 bytes, but it has 4,097",
        True,
    ),
    START + f', "input": "{"x" * limits.PAYLOAD_BYTES_MAX}"}}': (
        Reason.TOO_LARGE,
        "input: expected at",
        False,
    ),
}


@pytest.mark.parametrize(("text", "expected"), GOOD.items(), ids=range(len(GOOD)))
def test_a_json_command_is_read(text: str, expected: Any) -> None:
    assert decode(text) == expected
    VALIDATOR.validate(json.loads(text))


@pytest.mark.parametrize(("text", "expected"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_json_command_is_refused_by_name(text: str, expected: tuple[Reason, str, bool]) -> None:
    reason, detail, seen_by_schema = expected
    with pytest.raises(UndecodableError) as caught:
        decode(text)

    assert reason == caught.value.reason
    assert detail in caught.value.detail
    assert "expected" in caught.value.detail
    assert ", but " in caught.value.detail
    assert len(caught.value.detail) < 400
    if seen_by_schema:
        assert not VALIDATOR.is_valid(json.loads(text))


def test_bytes_that_are_no_utf_8_are_malformed() -> None:
    for value in (START.encode() + b', "input": "\xff"}', b'{"\xed\xa0\x80": 1}'):
        with pytest.raises(UndecodableError) as caught:
            decode(value)
        assert caught.value.reason == Reason.MALFORMED


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_content_type_makes_it_json_whatever_it_begins_with(content_type: str) -> None:
    command = avro.decode_public_command(b"\n " + START.encode() + b"}", content_type)

    assert command == StartInstance(instance_id="a", workflow="w")
    for value in (b"[]", b"1", b'"a"', b"null", b"", avro.encode_command(command)):
        with pytest.raises(UndecodableError) as caught:
            avro.decode_public_command(value, content_type)
        assert caught.value.reason == Reason.MALFORMED


@pytest.mark.parametrize("space", [b" ", b"\n", b"\r\n\t  "])
def test_json_may_begin_with_white_space(space: bytes) -> None:
    command = avro.decode_public_command(space + START.encode() + b"}", None)
    assert command == StartInstance(instance_id="a", workflow="w")
    with pytest.raises(UndecodableError) as caught:
        avro.decode_public_command(space, None)
    assert caught.value.reason == Reason.MALFORMED


def test_avro_is_read_whatever_its_content_type_else() -> None:
    command = StartInstance(instance_id="a", workflow="w", input=Payload(b"\0", "image/png"))
    for content_type in (None, "", "avro/binary", "application/octet-stream"):
        assert avro.decode_public_command(avro.encode_command(command), content_type) == command


FIELDS = st.sampled_from(
    [
        "type",
        "instance_id",
        "workflow",
        "input",
        "start_at",
        "start_at_ms",
        "output",
        "recursive",
        "reason",
        "force",
        "name",
        "data",
        "other",
    ]
)
ITEMS: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, -1, 1.0, 1.5, 2**53, "", "a", "~", "2030-01-31T09:00:00Z", [], {}, {"a": [1]}]
    + [kind.__name__ for kind in PUBLIC_COMMANDS]
)


@settings(samples.QUICK, max_examples=100)
@given(st.sampled_from(PUBLIC_COMMANDS), st.dictionaries(FIELDS, ITEMS, max_size=4))
def test_what_is_accepted_is_valid_by_the_json_schema_and_the_other_way_round(kind: type, extra: Any) -> None:
    message = {"type": kind.__name__, "instance_id": "a", "workflow": "w", "name": "n"} | extra
    message = {
        k: v for k, v in message.items() if k not in ("workflow", "name") or k in samples.names_of(kind)
    }
    is_accepted = False
    with contextlib.suppress(UndecodableError):
        decode(json.dumps(message))
        is_accepted = True

    # Over these values, JSON Schema can say all that the decoder checks.
    assert VALIDATOR.is_valid(message) == is_accepted


def test_every_public_command_is_in_the_json_schema_with_all_its_fields() -> None:
    for kind in PUBLIC_COMMANDS:
        described = set(SCHEMA["$defs"][kind.__name__]["properties"]) - {"type", "start_at"}
        assert described == set(samples.names_of(kind))
    assert [ref["$ref"] for ref in SCHEMA["oneOf"]] == [
        f"#/$defs/{kind.__name__}" for kind in PUBLIC_COMMANDS
    ]


def test_the_bounds_in_the_json_schema_are_the_engines() -> None:
    defs = SCHEMA["$defs"]

    assert defs["instance_id"]["maxLength"] == limits.INSTANCE_ID_BYTES_MAX
    assert defs["name"]["maxLength"] == limits.NAME_BYTES_MAX
    assert defs["SuspendInstance"]["properties"]["reason"]["maxLength"] == limits.REASON_BYTES_MAX
    assert defs["StartInstance"]["properties"]["start_at_ms"]["maximum"] == TIME_MS_MAX


Invalid = list[tuple[Any, Reason, str]]
TOO_MUCH = Payload(bytes(limits.PAYLOAD_BYTES_MAX + 1))
NOT_IN_AVRO: Invalid = [
    (StartInstance(instance_id="\ud800", workflow="w"), Reason.INVALID_VALUE, "instance_id: expected"),
    (StartInstance(instance_id=7, workflow="w"), Reason.INVALID_VALUE, "a string, but got int"),  # type: ignore[arg-type]
    (StartInstance(instance_id="a", workflow="w", input=b"1"), Reason.INVALID_VALUE, "a payload, but"),  # type: ignore[arg-type]
    (StartInstance(instance_id="a", workflow="w", start_at_ms=True), Reason.INVALID_VALUE, "but got bool"),
    (SuspendInstance(instance_id="a", reason="\ud800"), Reason.INVALID_VALUE, "text that UTF-8 can say"),
]
INVALID_IN_AVRO: Invalid = [
    (FireTimer(instance_id="a", run_id="r", timer=1, due_at_ms=1), Reason.NOT_ALLOWED, "but got FireTimer"),
    (
        StartInstance(instance_id="a", workflow="w\n"),
        Reason.INVALID_VALUE,
        "workflow: expected a workflow name",
    ),
    (StartInstance(instance_id="a", workflow="w", start_at_ms=-1), Reason.INVALID_VALUE, "start_at_ms"),
    (StartInstance(instance_id="a", workflow="w", start_at_ms=2**53), Reason.INVALID_VALUE, "start_at_ms"),
    (
        RaiseEvent(instance_id="a", name="n", data=Payload(b"", "x" * 257)),
        Reason.INVALID_VALUE,
        "content_type",
    ),
    (RaiseEvent(instance_id="a", name="n", data=Payload(b"", "a\nb")), Reason.INVALID_VALUE, "content_type"),
    (RaiseEvent(instance_id="a", name="n", data=TOO_MUCH), Reason.TOO_LARGE, "data: expected at most"),
    (ResumeInstance(instance_id="a", reason="ü" * 2049), Reason.TOO_LARGE, "reason: expected at most 4,096"),
]


@pytest.mark.parametrize(("command", "reason", "detail"), NOT_IN_AVRO + INVALID_IN_AVRO)
def test_an_invalid_command_is_refused(command: Any, reason: Reason, detail: str) -> None:
    with pytest.raises(UndecodableError) as caught:
        avro.validate_command(command)

    assert reason == caught.value.reason
    assert detail in caught.value.detail


def test_the_values_of_an_avro_command_are_validated_too() -> None:
    for command, reason, detail in INVALID_IN_AVRO:
        with pytest.raises(UndecodableError) as caught:
            avro.decode_public_command(avro.encode_command(command), None)
        assert reason == caught.value.reason
        assert detail in caught.value.detail


def test_every_public_command_has_a_validator_and_no_other() -> None:
    for kind in PUBLIC_COMMANDS:
        required = {"instance_id": "a", "workflow": "w", "name": "n"}
        avro.validate_command(kind(**{k: v for k, v in required.items() if k in samples.names_of(kind)}))
    for kind in ENGINE_COMMANDS:
        with pytest.raises(UndecodableError, match=f"but got {kind.__name__}"):
            avro.validate_command(samples.some_of(samples.records_of(kind))[-1])


@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_a_byte_order_mark_before_a_command_is_let_be(content_type):
    for text, command in GOOD.items():
        assert avro.decode_public_command(text.encode("utf-8-sig"), content_type) == command


def test_a_number_out_of_range_is_said_without_the_parsers_path():
    with pytest.raises(UndecodableError) as caught:
        avro.decode_public_command((START + ', "input": {"a": [1e999]}}').encode(), None)
    assert "$" not in str(caught.value)
