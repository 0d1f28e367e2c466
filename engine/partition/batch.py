"""What one commit will write, collected turn by turn; and what the cache is told when it is in the log."""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from engine.model.checkpoint import PurgeProgress
from engine.model.effects import Rejected
from engine.model.events import Recorded
from engine.partition.changes import Changes
from engine.partition.notices import Notice
from engine.partition.outbox import OutMessage
from engine.partition.pace import Pace
from engine.partition.ports import DeadLetter, Record, ReplyRecord
from engine.partition.replies import Owed, owed_for, reply_record


class KeyCount(msgspec.Struct):
    """How many records should be found in a full rebuild, and their sum: what shows that some are missing."""

    count: int = 0
    total: int = 0

    def add(self, digest: int, count: int = 1) -> None:
        """Records came."""
        self.count += count
        self.total += digest

    def remove(self, digest: int, count: int = 1) -> None:
        """Records went."""
        self.count -= count
        self.total -= digest


class Batch:
    """One commit in the making."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.records: list[tuple[bytes, bytes | None]] = []
        self.size = 0
        self.inputs = 0
        self.started_at_ms: int | None = None
        self.dead_letters: list[DeadLetter] = []
        self.touched: set[str] = set()
        self.is_urgent = False
        self._is_ahead = False
        self.sealed_ns = 0
        self.notices: list[Notice] = []
        self._owed: list[Owed] = []
        self.out_upto: dict[int, int] = {}
        self.changes = Changes()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit but the wish to."""
        return not (self.records or self.inputs or self.dead_letters)

    def records_ahead(self, pace: Pace) -> list[tuple[bytes, bytes | None]]:
        """What there is to hand over before the commit, the first time that there is something.

        Nothing where passes follow each other anyway: it costs the log one more request.
        """
        if self._is_ahead or not self.records or pace.is_busy:
            return []
        self._is_ahead = True
        return self.records

    def add_event(self, events: list[tuple[int, bytes]], sequence: int, record: tuple[bytes, bytes]) -> None:
        """One event, as it goes into history; `events` is what `changes.events_of` its run gave."""
        self.records.append(record)
        self.size += len(record[1])
        events.append((sequence, record[1]))

    def add_message(self, target: int, message: OutMessage) -> None:
        """One message to another instance: on record now, sent after the commit."""
        self.records.append((message.record_key, message.value))
        self.size += len(message.value)
        self.changes.set_message(message.record_key, message.value)
        self.out_upto[target] = message.number
        self.is_urgent = True

    def drop_message(self, message: OutMessage) -> None:
        """A message has arrived; its record can go."""
        self.records.append((message.record_key, None))
        self.changes.set_message(message.record_key, None)

    def answer(self, record: Record, rejected: Rejected | None, recorded: Sequence[Recorded] = ()) -> None:
        """Tells the sender of a command what became of it, if it asked. It waits for that."""
        owed = owed_for(record, rejected, recorded)
        if owed is not None:
            self._owed.append(owed)
            self.is_urgent = True

    def replies(self, partition: int, history_end: int) -> list[ReplyRecord]:
        """The answers, when the batch is whole; its records all come behind `history_end`."""
        if not self._owed:
            return []
        # Where each lies nobody knows yet. But the checkpoint comes behind all of them, and whoever follows
        # whole commits is either still before this one, at most past the last one's marker, or behind it.
        position = history_end + len(self.records) + 1 if self.records else history_end
        return [reply_record(owed, partition, position) for owed in self._owed]

    def purge(self, progress: PurgeProgress, count_max: int) -> PurgeProgress | None:
        """Writes up to `count_max` tombstones over a run; what is left to do, or None."""
        run = (progress.instance_id, progress.run_id)
        end = min(progress.last_sequence, progress.next_sequence + count_max - 1)
        prefix = f"{run[0]}|{run[1]}|"
        for sequence in range(progress.next_sequence, end + 1):
            self.records.append((f"{prefix}{sequence}".encode(), None))
        if end == progress.last_sequence:
            return None
        return PurgeProgress(
            instance_id=run[0], run_id=run[1], next_sequence=end + 1, last_sequence=progress.last_sequence
        )

    def put_back(self, key: bytes, value: bytes | None) -> None:
        """Rewrites a key that a torn transaction had touched to what it should be."""
        self.records.append((key, value))


def digest_of_record(record: Record) -> bytes:
    """What the checkpoint remembers of the last processed inbox record."""
    return blake2b(record.value or b"", digest_size=8, key=record.key[:64]).digest()
