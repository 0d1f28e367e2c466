"""The store's keys.

Events by run and number in their order, stubs by instance and by how and when they ended, unsent messages by
channel.
"""

import msgspec

from engine.codec.topics import parse_history_key
from engine.model.state import Phase, RunStub

EVENTS = b"e"
STUBS = b"s"
ENDED = b"t"
OUTBOX = b"o"


def event_key(instance_id: str, run_id: str, sequence: int) -> bytes:
    """Sorts by number within a run; instance ids hold no control characters, so the zero byte ends one."""
    return run_prefix(instance_id, run_id) + sequence.to_bytes(4, "big")


def run_prefix(instance_id: str, run_id: str) -> bytes:
    """What all event keys of one run begin with."""
    return b"%s%s\0%s\0" % (EVENTS, instance_id.encode(), run_id.encode())


def stub_key(instance_id: str) -> bytes:
    """Where a finished run's stub is."""
    return STUBS + instance_id.encode()


def stub_in(value: bytes) -> RunStub:
    """What is at a `stub_key`."""
    return msgspec.msgpack.decode(value, type=RunStub)


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A finished run, and when it ended."""

    instance_id: str
    run_id: str
    ended_at_ms: int


def ended_prefix(phase: Phase) -> bytes:
    """What all keys of runs that ended so begin with."""
    return b"%s%s\0" % (ENDED, phase.value.encode())


def ended_key(stub: RunStub) -> bytes:
    """Sorts by when a run ended, among those that ended the same way. Every stub has one; it has no value."""
    run = b"%s\0%s" % (stub.instance_id.encode(), stub.run_id.encode())
    return ended_prefix(stub.phase) + stub.ended_at_ms.to_bytes(8, "big") + run


def stub_records(stub: RunStub) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """All that the store keeps of a finished run: by its instance, and by its end."""
    return (stub_key(stub.instance_id), msgspec.msgpack.encode(stub)), (ended_key(stub), b"")


def parse_ended(phase: Phase, key: bytes) -> Ended:
    """What `ended_key` was made of."""
    start = len(ended_prefix(phase))
    instance_id, run_id = key[start + 8 :].decode().split("\0")
    return Ended(instance_id, run_id, int.from_bytes(key[start : start + 8], "big"))


def outbox_key(record_key: bytes) -> bytes:
    """Where a message on record is."""
    return OUTBOX + record_key


def parse_event_record(key: bytes) -> tuple[str, str, int]:
    """(instance, run, number) of a history record's key. Raises AssertionError for a key that is none."""
    parsed = parse_history_key(key)
    assert parsed is not None, f"expected a history key, but got {key!r}"
    return parsed
