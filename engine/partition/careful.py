"""Crash pills: records whose turn kills the process.

After three deaths an owner goes on tiptoe until it knows which.

Rules
* A claim counts a life; a clean release, or a minute alive, forgives them. From the third on the owner is
  careful up to where the inbox ended at its claim.
* Careful, it commits which records it is about to try before their turns, and the turns' outcome before the
  next. Meanwhile no other partition of the process takes turns: a death has one suspect partition.
* It tries few at a time, since most are innocent, and a backlog may be long. Where a life has ended in such a
  range, they are tried one by one, and it is noted the how-manieth time.
* A claim that finds a record tried three times quarantines it before anything else.
* An owner that was fenced or is in doubt has not died: its process takes that life and that try back when it
  claims again.
"""

import msgspec

from engine.model.checkpoint import Checkpoint

LIVES_BEFORE_CARE = 3
TRIES_MAX = 3
# How many records are tried together: two commits for so many, in place of two for each.
RANGE_RECORDS = 64


class Exam:
    """Which partition of this process has a record under trial, and which owners it has outlived."""

    def __init__(self) -> None:
        self.holder: int | None = None
        self.turns = 0
        self.outlived: dict[int, int] = {}

    def is_free_for(self, partition: int) -> bool:
        """Whether this partition may take turns now."""
        return self.holder is None or self.holder == partition


class Care:
    """How careful one owner is, and with which record."""

    def __init__(self, exam: Exam, partition: int) -> None:
        self._exam = exam
        self._partition = partition
        self._end = 0
        self._singly_end = 0
        self._marked = -1
        self._marked_end = -1

    def begin(self, checkpoint: Checkpoint, inbox_end: int) -> None:
        """The claim's checkpoint, this life counted, decides."""
        if checkpoint.lives >= LIVES_BEFORE_CARE:
            self._end = inbox_end
            if checkpoint.trying_offset == checkpoint.offset + 1:
                self._singly_end = checkpoint.trying_offset + RANGE_RECORDS

    def applies_to(self, offset: int) -> bool:
        """Whether this record must be tried on tiptoe."""
        return offset < self._end

    @property
    def may_take_turns(self) -> bool:
        """Whether no other partition has a record under trial."""
        return self._exam.is_free_for(self._partition)

    def marked_from(self, offset: int) -> int:
        """How many records, this one the first, this life has put on record that it tries."""
        return self._marked_end - offset if self._marked <= offset < self._marked_end else 0

    def mark(self, checkpoint: Checkpoint, offset: int) -> Checkpoint:
        """The checkpoint that says so, of a range of records or of one."""
        tries = 0
        if offset < self._singly_end:
            tries = checkpoint.trying_count + 1 if checkpoint.trying_offset == offset else 1
        self._marked = offset
        self._marked_end = offset + (1 if tries else RANGE_RECORDS)
        self._exam.holder = self._partition
        return msgspec.structs.replace(checkpoint, trying_offset=offset, trying_count=tries)

    def survived(self) -> None:
        """The outcome is on record, or this owner is no more."""
        if self._exam.holder == self._partition:
            self._exam.holder = None

    def outlived(self) -> None:
        """The owner is lost, the process is not: nothing has killed anybody."""
        self.survived()
        self._exam.outlived[self._partition] = self._marked

    def corrected(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """The restored checkpoint without the life, and the try, that this process has outlived."""
        marked = self._exam.outlived.pop(self._partition, None)
        if checkpoint is None or marked is None:
            return checkpoint
        offset, tries = checkpoint.trying_offset, checkpoint.trying_count
        if marked == offset:
            offset, tries = (offset, tries - 1) if tries else (-1, 0)
        lives = max(0, checkpoint.lives - 1)
        return msgspec.structs.replace(checkpoint, lives=lives, trying_offset=offset, trying_count=tries)


def poison_offset(checkpoint: Checkpoint | None) -> int | None:
    """The record that must be quarantined: it was tried three times, and no try has an outcome."""
    if (
        checkpoint is None
        or checkpoint.trying_count < TRIES_MAX
        or checkpoint.trying_offset != checkpoint.offset + 1
    ):
        return None
    return checkpoint.trying_offset
