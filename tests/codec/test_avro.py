"""Every kind is written as fastavro writes it, and read back as it was."""

import io
from typing import Any

import fastavro
import pytest
from fastavro.schema import parse_schema
from hypothesis import given
from hypothesis import strategies as st

from engine.codec import avro
from engine.codec.schemas import CURRENT, HEADER_BYTES
from engine.codec.varint import LONG_MAX, LONG_MIN, decode_long, encode_long
from engine.core import limits
from engine.errors import LimitExceededError
from engine.model.commands import COMMANDS, RefuseRecord, StartInstance
from engine.model.effects import Reason
from engine.model.events import TERMINAL_EVENTS, InputDeferred, Recorded
from engine.model.failure import Payload
from tests.codec import derive, samples


@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_a_value_is_written_as_fastavro_writes_it_and_read_back_by_both_decoders(kind: type) -> None:
    resolving = avro.resolving_decoder(CURRENT[kind.__name__].parsed, kind)

    @samples.QUICK
    @given(samples.records_of(kind))
    def holds(value: Any) -> None:
        data = samples.encode(value)
        assert samples.by_fastavro(kind.__name__, value) == data
        assert samples.decoder_of(kind)(data) == value
        assert resolving(data) == value

    holds()


def test_a_field_that_an_older_schema_lacks_gets_its_default() -> None:
    older = derive.without_docs(CURRENT["StartInstance"].source)
    older["fields"] = older["fields"][:2]
    writer = parse_schema(older, named_schemas={})
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, writer, {"instance_id": "order-1", "workflow": "order"})
    decode = avro.resolving_decoder(writer, StartInstance)

    assert decode(bytes(HEADER_BYTES) + stream.getvalue()) == StartInstance(
        instance_id="order-1", workflow="order"
    )
    for wrong in (stream.getvalue()[:-1], stream.getvalue() + b"\0", b"\xff" * 20):
        with pytest.raises(ValueError, match=r"expected|fastavro says"):
            decode(bytes(HEADER_BYTES) + wrong)


@samples.QUICK
@given(samples.LONGS)
def test_a_long_is_read_back_in_full(number: int) -> None:
    data = encode_long(number)
    zigzag, position = decode_long(data, 1, data[0])

    assert ((zigzag >> 1) ^ -(zigzag & 1), position) == (number, len(data))


@pytest.mark.parametrize("edge", [0, 1, 2**13, 2**27, 2**41, 2**62, LONG_MAX])
def test_a_long_at_an_edge_of_the_tables_is_written_as_fastavro_writes_it(edge: int) -> None:
    long = parse_schema({"type": "record", "name": "A", "fields": [{"name": "a", "type": "long"}]})
    for number in {edge - 1, edge, -edge, -edge - 1, min(edge + 1, LONG_MAX)}:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, long, {"a": number})
        assert stream.getvalue() == encode_long(number)


@pytest.mark.parametrize("number", [LONG_MAX + 1, LONG_MIN - 1])
def test_a_number_that_no_long_holds_is_not_written(number: int) -> None:
    with pytest.raises(OverflowError, match="expected a number of 64 bits"):
        avro.encode_command(StartInstance(instance_id="a", workflow="b", start_at_ms=number))


@pytest.mark.parametrize("size", [4095, 4096, 8191, 8192, limits.PAYLOAD_BYTES_MAX])
def test_a_payload_of_any_allowed_size_is_read_back(size: int) -> None:
    command = StartInstance(instance_id="a", workflow="b", input=Payload(b"x" * size, "text/plain"))

    assert avro.decode_command(avro.encode_command(command)) == command


def test_the_first_bytes_tell_the_kind_and_whether_it_ends_a_run() -> None:
    for kind, schema in CURRENT.items():
        assert avro.kind_of(schema.header + b"more") == kind
        assert (schema.header in avro.terminal_fingerprints) == (
            kind in {e.__name__ for e in TERMINAL_EVENTS}
        )
    assert avro.kind_of(b"") is None
    assert avro.kind_of(b"\xc3\x01 unknown") is None


def test_the_largest_record_survives_being_refused_and_deferred() -> None:
    raw = b"x" * limits.RECORD_BYTES_MAX
    refusal = RefuseRecord(
        instance_id="i" * 128, reason=Reason.TOO_LARGE, detail="d" * 1000, key=b"k" * 1000, value=raw
    )
    inbox = avro.encode_command(refusal)
    recorded = Recorded(
        run_id="r" * 16, sequence=1, recorded_at_ms=1, inbox_offset=1, event=InputDeferred(record=inbox)
    )

    _, read = avro.decode_event(avro.encode_event("i" * 128, recorded))

    assert read == recorded
    assert avro.decode_command(inbox) == refusal


def test_what_could_not_be_read_again_is_not_written() -> None:
    raw = b"x" * avro.HISTORY_RECORD_BYTES_MAX
    recorded = Recorded(
        run_id="r", sequence=1, recorded_at_ms=1, inbox_offset=1, event=InputDeferred(record=raw)
    )

    with pytest.raises(LimitExceededError, match="the record of InputDeferred"):
        avro.encode_event("a", recorded)
    with pytest.raises(LimitExceededError, match="the record of RefuseRecord"):
        avro.encode_command(RefuseRecord(instance_id="a", reason="", detail="", key=None, value=raw))


@samples.QUICK
@given(st.sampled_from(COMMANDS).flatmap(samples.records_of))
def test_encoding_twice_gives_the_same_bytes(value: Any) -> None:
    assert samples.encode(value) == samples.encode(value)
