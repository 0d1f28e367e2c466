"""The partitions of an app as they stand: who owns them, in which epoch, and what waits. Changes nothing."""

from collections import Counter
from collections.abc import Mapping

import msgspec

from engine.client.connection import Connection, Ownership
from engine.client.state import WorkflowState, utc
from engine.codec.avro import decode_checkpoint
from engine.codec.topics import CHECKPOINT_KEY, partition_of
from engine.codec.undecodable import UndecodableError
from engine.partition.ports import Record

TAIL_RECORDS = 1_000


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A partition, as its last commit and the group of workers say.

    Attributes:
        partition: Its number.
        owner: Which worker has it; null where none does.
        epoch: How many owners it has had; null before the first, or where a newer engine wrote.
        lag_records: What is in its inbox behind the last commit.
        live_instances: How many instances of it are not over.
        committed_at: When the last commit was; RFC 3339, UTC.
        build: The code of the owner that made it.

    """

    partition: int
    owner: str | None
    epoch: int | None
    lag_records: int
    live_instances: int
    committed_at: str | None
    build: str | None


def read_partitions(connection: Connection, live: Mapping[int, int]) -> list[PartitionStatus]:
    """All partitions. `live` tells how many instances are not over. Raises UnreachableError."""
    ownership, ends = connection.ownership(), connection.ends()
    return [
        _status_of(number, ownership[number], _last_checkpoint(connection, number, ends[number]), live)
        for number in sorted(ends)
    ]


def live_by_partition(states: list[WorkflowState], partitions: int) -> Mapping[int, int]:
    """How many of the instances are not over, by partition."""
    return Counter(partition_of(each.instance_id, partitions) for each in states if not each.is_finished)


def _status_of(
    number: int, ownership: Ownership, record: Record | None, live: Mapping[int, int]
) -> PartitionStatus:
    checkpoint = None
    if record is not None and record.value is not None:
        try:
            checkpoint = decode_checkpoint(record.value)
        except UndecodableError:
            checkpoint = None
    # Trimmed records were processed, whatever is known of their commit.
    done = max(ownership.inbox_start, -1 if checkpoint is None else checkpoint.offset + 1)
    return PartitionStatus(
        partition=number,
        owner=ownership.owner,
        epoch=None if checkpoint is None else checkpoint.epoch,
        lag_records=max(0, ownership.inbox_end - done),
        live_instances=live.get(number, 0),
        committed_at=None
        if record is None
        else f"{utc(record.timestamp_ms).isoformat(timespec='milliseconds')}Z",
        build=None if checkpoint is None else checkpoint.build or None,
    )


def _last_checkpoint(connection: Connection, partition: int, end: int) -> Record | None:
    """Looked for from the end, in ever longer stretches."""
    stretch, start = TAIL_RECORDS, end
    while start > 0:
        start = max(0, end - stretch)
        found = None
        for batch in connection.read_history(partition, start):
            found = next((each for each in reversed(batch) if each.key == CHECKPOINT_KEY), found)
        if found is not None:
            return found
        stretch *= 8
    return None
