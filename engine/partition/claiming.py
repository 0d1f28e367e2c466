"""What a claim begins with: a checkpoint that agrees with both logs, one life older. It changes nothing."""

from collections.abc import Sequence

import msgspec

from engine.errors import LogDamagedFault
from engine.model.checkpoint import Checkpoint
from engine.partition.batch import digest_of_record
from engine.partition.context import OwnerSettings
from engine.partition.ports import Claim, CommitResult, Committed, Doubt, Identity, Log, Record


def verify(claim: Claim, log: Log, checkpoint: Checkpoint | None) -> None:
    """Raises LogDamagedFault where the inbox isn't the one that the checkpoint was true of."""
    if checkpoint is None:
        return
    if checkpoint.inbox_topic_id != log.identity.inbox_topic_id:
        raise damage(claim, f"the inbox was re-created: its id was {checkpoint.inbox_topic_id}")
    if checkpoint.offset < 0:
        return
    if not claim.inbox_start <= checkpoint.offset < claim.inbox_end:
        bounds = f"[{claim.inbox_start}, {claim.inbox_end})"
        raise damage(claim, f"the last processed inbox record, {checkpoint.offset}, is not in {bounds}")
    record = log.read_inbox(claim, checkpoint.offset)
    if record is None:
        raise damage(claim, f"the last processed inbox record, {checkpoint.offset}, is gone")
    _compare(claim, checkpoint, record)


def after_witness(claim: Claim, checkpoint: Checkpoint, records: Sequence[Record]) -> list[Record]:
    """What follows the last processed inbox record. It must come first of all that is read.

    Raises LogDamagedFault.
    """
    first, *others = records
    if first.offset != checkpoint.offset:
        raise damage(claim, f"inbox record {first.offset} comes first, not {checkpoint.offset}")
    _compare(claim, checkpoint, first)
    return others


def _compare(claim: Claim, checkpoint: Checkpoint, record: Record) -> None:
    if (record.timestamp_ms, digest_of_record(record)) != (checkpoint.timestamp_ms, checkpoint.digest):
        raise damage(claim, f"the inbox record {checkpoint.offset} is not the one that was processed")


def is_behind(checkpoint: Checkpoint, end: int) -> bool:
    """Whether a commit that ends at `end` lies behind all that its owner knew to be in history.

    One that doesn't stands where records were lost. A count doesn't tell if these were but tombstones.
    """
    return checkpoint.history_end + checkpoint.records <= end


def why_lost(result: CommitResult, checkpoint: Checkpoint) -> str:
    """What ends an owner at this answer to its commit."""
    if isinstance(result, Committed):
        # The next claim finds the same checkpoint there, and stops for good.
        return f"a commit behind {checkpoint.history_end} in history ended at {result.history_position}"
    return f"{'doubt' if isinstance(result, Doubt) else 'fenced'}: {result.detail}"


def damage(claim: Claim, what: str) -> LogDamagedFault:
    """The fault that stops a partition loudly."""
    message = (
        f"partition {claim.partition} stops: {what}. The log was truncated or re-created under the engine; "
        "restore the topics, or delete all topics of the app to begin anew"
    )
    return LogDamagedFault(message, claim.partition)


def first_checkpoint(last: Checkpoint | None, identity: Identity, settings: OwnerSettings) -> Checkpoint:
    """The claim's: the last one with the next epoch and one life more."""
    if last is not None:
        return msgspec.structs.replace(
            last,
            epoch=last.epoch + 1,
            lives=last.lives + 1,
            # Never less than the owner before was allowed: so far the catch-up must go.
            uncommitted_records_max=max(last.uncommitted_records_max, settings.uncommitted_records_max),
        )
    return Checkpoint(
        epoch=1,
        batch=0,
        records=0,
        inbox_topic_id=identity.inbox_topic_id,
        offset=-1,
        timestamp_ms=0,
        digest=b"",
        lives=1,
        uncommitted_records_max=settings.uncommitted_records_max,
        build=settings.build,
    )
