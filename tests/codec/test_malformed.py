"""Bad bytes of every kind get a reason, and nothing but UndecodableError comes out of the codec."""

import contextlib
import io
import os
import pickle
import random
import struct
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec import avro
from engine.codec.schemas import CURRENT, HEADER_BYTES
from engine.codec.undecodable import UndecodableError
from engine.codec.varint import encode_long
from engine.core import limits
from engine.model.checkpoint import Checkpoint, InMark
from engine.model.commands import CompleteActivity, FireTimer, PurgeInstance, StartInstance
from engine.model.effects import Reason
from engine.model.events import ActivityScheduled, InstanceUnstalled, Recorded
from engine.model.failure import Payload, RetryPolicy
from tests.codec import samples

# CODEC_MUTANTS=10000 for a long night.
MUTANTS = int(os.environ.get("CODEC_MUTANTS", "25"))
START = StartInstance(instance_id="a", workflow="b", input=Payload(b"12"), start_at_ms=5)
TIMER = FireTimer(instance_id="a", run_id="r", timer=1, due_at_ms=2)
MARKS: dict[str, Any] = {"run_id": "r", "sequence": 1, "recorded_at_ms": 2, "inbox_offset": 3}
START_BYTES = avro.encode_command(START)
TIMER_BYTES = avro.encode_command(TIMER)
EVENT_BYTES = avro.encode_event("a", Recorded(event=InstanceUnstalled(), **MARKS))
CHECKPOINT = Checkpoint(
    epoch=1,
    batch=1,
    records=1,
    inbox_topic_id="t",
    offset=1,
    timestamp_ms=1,
    digest=b"d",
    received=(InMark(topic_id="t", partition=1, number=2),),
)
CHECKPOINT_BYTES = avro.encode_checkpoint(CHECKPOINT)
START_HEADER = CURRENT["StartInstance"].header
TIMER_HEADER = CURRENT["FireTimer"].header
PURGE_HEADER = CURRENT["PurgeInstance"].header
UNKNOWN_HEADER = b"\xc3\x01\0\0\0\0\0\0\0\0"
PURGE = avro.encode_command(PurgeInstance(instance_id="a"))

BAD_COMMANDS: dict[str, tuple[bytes, Reason, str]] = {
    "nothing": (b"", Reason.MALFORMED, "begins with nothing"),
    "a short header": (START_BYTES[:9], Reason.MALFORMED, "begins with the bytes c3 01"),
    "only a header": (START_HEADER, Reason.MALFORMED, "end early"),
    "text": (b"hello, is this on?", Reason.MALFORMED, "begins with the bytes 68 65"),
    "another format's magic": (b"\0\0\0\0\1" + START_BYTES[10:], Reason.MALFORMED, "begins with"),
    "an unknown fingerprint": (UNKNOWN_HEADER + b"x", Reason.UNKNOWN_SCHEMA, "0000000000000000; a newer"),
    "an event": (EVENT_BYTES, Reason.MALFORMED, "expected a command, but got InstanceUnstalled"),
    "a checkpoint": (CHECKPOINT_BYTES, Reason.MALFORMED, "expected a command, but got Checkpoint"),
    "one byte less": (START_BYTES[:-1], Reason.MALFORMED, "end early"),
    "one byte more": (START_BYTES + b"\0", Reason.MALFORMED, "bytes, but got"),
    "a length of 2^40": (START_HEADER + encode_long(2**40) + b"a", Reason.MALFORMED, "end early"),
    "a length of 2^62": (START_HEADER + encode_long(2**62) + b"a", Reason.MALFORMED, "end early"),
    "a length over the end": (PURGE_HEADER + b"\2a\1\x7e", Reason.MALFORMED, "branch or boolean"),
    "a negative length": (START_HEADER + b"\1" + b"abc", Reason.MALFORMED, "a length, but got -1"),
    "a large negative length": (
        START_HEADER + encode_long(-(2**40)),
        Reason.MALFORMED,
        "but got -1099511627776",
    ),
    "an endless number": (START_HEADER + b"\xff" * 30, Reason.MALFORMED, "it goes on"),
    "a number of 70 bits": (START_HEADER + b"\xfe" * 9 + b"\x7e", Reason.MALFORMED, "shortest form"),
    "a number too long by a byte": (TIMER_HEADER + b"\2a\2r\x82\0\4", Reason.MALFORMED, "shortest form"),
    "bad UTF-8": (START_HEADER + b"\4\xc3\x28\2b\0\0", Reason.MALFORMED, "utf-8"),
    "a surrogate": (START_HEADER + b"\6\xed\xa0\x80\2b\0\0", Reason.MALFORMED, "utf-8"),
    "a branch that there isn't": (START_HEADER + b"\2a\2b\4", Reason.MALFORMED, "branch or boolean"),
    "a negative branch": (START_HEADER + b"\2a\2b\1", Reason.MALFORMED, "branch or boolean"),
    "a boolean of 2": (PURGE[:-1] + b"\2", Reason.MALFORMED, "branch or boolean"),
    "too many bytes": (
        START_BYTES + bytes(avro.INBOX_RECORD_BYTES_MAX),
        Reason.TOO_LARGE,
        f"at most {avro.INBOX_RECORD_BYTES_MAX:,}",
    ),
}


@pytest.mark.parametrize(("value", "reason", "text"), BAD_COMMANDS.values(), ids=BAD_COMMANDS)
def test_bad_bytes_are_refused_with_their_reason(value: bytes, reason: Reason, text: str) -> None:
    for decode in (avro.decode_command, lambda v: avro.decode_public_command(v, None)):
        with pytest.raises(UndecodableError) as caught:
            decode(value)
        if value not in (EVENT_BYTES, CHECKPOINT_BYTES, TIMER_BYTES) and not value.startswith(TIMER_HEADER):
            assert reason == caught.value.reason
        assert "expected " in caught.value.detail
        assert ", but " in caught.value.detail
    with pytest.raises(UndecodableError) as caught:
        avro.decode_command(value)
    assert reason == caught.value.reason
    assert text in caught.value.detail


@pytest.mark.parametrize(
    "value", [EVENT_BYTES, CHECKPOINT_BYTES, TIMER_BYTES], ids=["event", "checkpoint", "timer"]
)
def test_outsiders_may_send_only_the_public_commands(value: bytes) -> None:
    with pytest.raises(UndecodableError, match=r"expected one of PurgeInstance, .*, but got") as caught:
        avro.decode_public_command(value, None)

    assert caught.value.reason == Reason.NOT_ALLOWED


def test_a_command_is_no_event_no_checkpoint_and_no_reply() -> None:
    for decode in (avro.decode_event, avro.decode_checkpoint, avro.decode_reply):
        with pytest.raises(
            UndecodableError, match=r"expected an? (event|checkpoint|reply), but got StartInstance"
        ):
            decode(START_BYTES)


def test_an_event_of_a_newer_engine_is_told_from_damage() -> None:
    for decode in (avro.decode_event, avro.decode_checkpoint, avro.decode_reply):
        with pytest.raises(UndecodableError) as caught:
            decode(UNKNOWN_HEADER)
        assert caught.value.reason == Reason.UNKNOWN_SCHEMA


def test_history_that_is_too_large_is_refused_before_decoding() -> None:
    for decode in (avro.decode_event, avro.decode_checkpoint):
        with pytest.raises(UndecodableError) as caught:
            decode(bytes(avro.HISTORY_RECORD_BYTES_MAX + 1))
        assert caught.value.reason == Reason.TOO_LARGE


def test_a_public_record_is_bound_more_tightly_than_what_wraps_it() -> None:
    value = b"{" + b" " * limits.RECORD_BYTES_MAX
    with pytest.raises(UndecodableError) as caught:
        avro.decode_public_command(value, None)

    assert caught.value.reason == Reason.TOO_LARGE


def test_the_end_of_a_double_is_missed() -> None:
    retry = RetryPolicy(attempts_max=1, first_interval_ms=1)
    event = ActivityScheduled(name="n", call_id=b"c", retry=retry)
    value = avro.encode_event("a", Recorded(event=event, **MARKS))

    for size in range(HEADER_BYTES, len(value)):
        with pytest.raises(UndecodableError):
            avro.decode_event(value[:size])


def test_an_array_may_come_in_blocks_of_known_size() -> None:
    block = b"\2t\2\4"
    head, tail = CHECKPOINT_BYTES.split(b"\2" + block + b"\0")
    sized = head + b"\1" + encode_long(len(block)) + block + b"\0" + tail

    assert avro.decode_checkpoint(sized) == CHECKPOINT
    for bad in (head + encode_long(2**62) + block + tail, head + b"\1\1" + block + b"\0" + tail):
        with pytest.raises(UndecodableError):
            avro.decode_checkpoint(bad)


def _oracle(kind: str, value: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), CURRENT[kind].parsed, None)


def _mutant(data: bytes, chance: random.Random) -> bytes:
    """`data` with up to three bytes changed behind the header, and sometimes cut or prolonged."""
    mutant = bytearray(data)
    for _ in range(chance.randint(0, 3)):
        mutant[chance.randrange(HEADER_BYTES, len(data))] = chance.choice(
            (0, 1, 2, 4, 0x7F, 0x80, 0xFF, chance.randrange(256))
        )
    cut = chance.choice((len(data), len(data), chance.randrange(len(data))))
    return bytes(mutant[:cut]) + chance.randbytes(chance.choice((0, 0, 1, 2)))


@pytest.mark.parametrize("kind", samples.KINDS, ids=lambda kind: kind.__name__)
def test_mutated_bytes_are_refused_or_read_as_fastavro_reads_them(kind: type) -> None:
    chance = random.Random(kind.__name__)  # the same mutants in every run
    for value in samples.some_of(samples.records_of(kind)):
        data = samples.encode(value)
        for _ in range(MUTANTS):
            mutant = _mutant(data, chance)
            with contextlib.suppress(UndecodableError):
                # repr, for a mutated double may be NaN, which equals nothing.
                assert repr(samples.plain(samples.decoder_of(kind)(mutant))) == repr(
                    _oracle(kind.__name__, mutant)
                )


@samples.QUICK
@given(st.binary(max_size=200), st.sampled_from([b"", *(schema.header for schema in CURRENT.values())]))
def test_any_bytes_at_all_raise_nothing_else(value: bytes, header: bytes) -> None:
    for decode in (avro.decode_command, avro.decode_event, avro.decode_checkpoint, avro.decode_reply):
        with contextlib.suppress(UndecodableError):
            decode(header + value)
    for content_type in (None, "application/json", "avro/binary"):
        with contextlib.suppress(UndecodableError):
            avro.decode_public_command(header + value, content_type)


def test_the_error_survives_pickling() -> None:
    error = UndecodableError(Reason.MALFORMED, "expected a, but b")
    copy = pickle.loads(pickle.dumps(error))

    assert (copy.reason, copy.detail, str(copy)) == (
        error.reason,
        error.detail,
        "Malformed: expected a, but b",
    )


def test_a_signed_zero_and_the_infinities_are_carried_exactly() -> None:
    for number in (0.0, -0.0, float("inf"), float("-inf")):
        retry = RetryPolicy(attempts_max=1, first_interval_ms=1, backoff_coefficient=number)
        event = ActivityScheduled(name="n", call_id=b"c", retry=retry)
        _, read = avro.decode_event(avro.encode_event("a", Recorded(event=event, **MARKS)))
        assert isinstance(read.event, ActivityScheduled)
        assert read.event.retry is not None
        assert struct.pack("<d", read.event.retry.backoff_coefficient) == struct.pack("<d", number)


def test_a_result_without_a_payload_is_told_from_an_empty_one() -> None:
    for result in (None, Payload(b"")):
        command = CompleteActivity(
            instance_id="a", run_id="r", scheduled=1, call_id=b"", attempt=1, result=result
        )
        assert avro.decode_command(avro.encode_command(command)) == command
