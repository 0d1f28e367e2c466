"""The last record of every commit: what history is true up to, and what keeps the next owner exact."""

import msgspec


class SourceMark(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The newest record of one partition of `commands` that this partition has taken in."""

    topic_id: str
    partition: int
    offset: int


class OutMark(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How far the outbox to one target partition was numbered, and how far the target's inbox has it."""

    topic_id: str
    partition: int
    assigned: int
    acknowledged: int


class InMark(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The newest message number taken in from one source partition."""

    topic_id: str
    partition: int
    number: int


class PurgeProgress(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A purge under way: tombstones are written up to, not including, `next_sequence`."""

    instance_id: str
    run_id: str
    next_sequence: int
    last_sequence: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit makes true. `offset` is of the last processed inbox record, -1 before the first."""

    epoch: int
    batch: int
    records: int
    inbox_topic_id: str
    offset: int
    timestamp_ms: int
    digest: bytes
    sources: tuple[SourceMark, ...] = ()
    outbox: tuple[OutMark, ...] = ()
    received: tuple[InMark, ...] = ()
    purges: tuple[PurgeProgress, ...] = ()
    lives: int = 0
    trying_offset: int = -1
    trying_count: int = 0
    uncommitted_records_max: int = 0
    build: str = ""
    key_count: int = 0
    key_sum: bytes = b""
    history_end: int = 0
