"""How ids are derived, here and nowhere else.

Every derived id is a digest of recorded facts, never of chance.

Two owners that process the same inbox record must derive the same ids, or a re-derived history would differ
from the one already committed.
"""

from hashlib import blake2b

RUN_ID_BYTES = 8
CALL_ID_BYTES = 16
INSTANCE_ID_BYTES_MAX = 128


def _digest(size: int, parts: str, rest: bytes = b"") -> bytes:
    # Callers put a length before any part that may hold the separator: else ("ab", "c") could pass for ("a",
    # "bc").
    return blake2b(parts.encode() + rest, digest_size=size).digest()


def run_id_of_start(inbox_topic_id: str, partition: int, offset: int, timestamp_ms: int) -> str:
    """The run that the inbox record at this place starts."""
    return _digest(RUN_ID_BYTES, f"start|{inbox_topic_id}|{partition}|{offset}|{timestamp_ms}").hex()


def run_id_of_continuation(previous_run_id: str) -> str:
    """The run that follows `previous_run_id` by continue-as-new."""
    return _digest(RUN_ID_BYTES, f"continue|{previous_run_id}").hex()


def call_id_of(run_id: str, sequence: int, kind: str, name: str, payload: bytes, app_id: str) -> bytes:
    """Identifies one activity or child call by what was asked, so that a result can't reach another call.

    When the code changes between a crash and the recovery, the number a call had may belong to a neighbour.
    """
    return _digest(CALL_ID_BYTES, f"{run_id}|{sequence}|{kind}|{len(name)}:{name}|{app_id}|", payload)


def child_instance_id_of(parent_instance_id: str, run_id: str, sequence: int) -> str:
    """The default id of a child. It contains the parent's run, so that a later run's children are others."""
    readable = f"{parent_instance_id}:{run_id[:8]}:{sequence:04x}"
    if len(readable.encode()) <= INSTANCE_ID_BYTES_MAX:
        return readable
    return "child:" + _digest(16, f"child|{run_id}|{sequence}|{parent_instance_id}").hex()


def seed_of(run_id: str, counter: int) -> int:
    """Seeds the counter-th random value that a run's workflow code asks for."""
    return int.from_bytes(_digest(16, f"random|{run_id}|{counter}"), "big")
