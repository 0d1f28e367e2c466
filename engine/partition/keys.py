"""The store's keys.

Events by run and number in their order, stubs by instance, unsent messages by channel.
"""

from engine.codec.topics import parse_history_key

EVENTS = b"e"
STUBS = b"s"
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


def outbox_key(record_key: bytes) -> bytes:
    """Where a message on record is."""
    return OUTBOX + record_key


def parse_event_record(key: bytes) -> tuple[str, str, int]:
    """(instance, run, number) of a history record's key. Raises AssertionError for a key that is none."""
    parsed = parse_history_key(key)
    assert parsed is not None, f"expected a history key, but got {key!r}"
    return parsed
