"""What the owner polls: the inbox of the followed partitions.

A partition that the owner keeps up with is *live*: what the writer commits is handed over in memory. One that
lies behind is read from SQLite up to its committed end and then goes live. What was read waits here too until
it is taken, so that a fault of one partition loses nothing of another. All methods of `Tails` need the
caller's lock.
"""

from collections import deque

from engine.embedded import database as db
from engine.errors import LogDamagedFault
from engine.partition.ports import Claim, Record

TAIL_RECORDS_MAX = 20_000
POLL_RECORDS_MAX = 2_000


class _Tail:
    def __init__(self, claim: Claim, offset: int) -> None:
        self.claim = claim
        self.next_offset = offset
        self.is_live = False
        self.records: deque[Record] = deque()


class Tails:
    """The followed partitions and how far each was polled."""

    def __init__(self) -> None:
        self._tails: dict[int, _Tail] = {}
        self._ends: dict[int, int] = {}
        self._turn = 0

    def follow(self, claim: Claim, offset: int) -> None:
        """Begins to follow; a newer claim's following stays."""
        current = self._tails.get(claim.partition)
        if current is None or current.claim.token <= claim.token:
            self._tails[claim.partition] = _Tail(claim, offset)
            self._ends.setdefault(claim.partition, claim.inbox_end)

    def unfollow(self, claim: Claim) -> None:
        """Ends what `follow` began for this claim."""
        current = self._tails.get(claim.partition)
        if current is not None and current.claim.token == claim.token:
            del self._tails[claim.partition]

    def add(self, records: list[Record]) -> None:
        """Records just committed."""
        for record in records:
            self._ends[record.partition] = record.offset + 1
            tail = self._tails.get(record.partition)
            if tail is None or not tail.is_live:
                continue
            if len(tail.records) < TAIL_RECORDS_MAX:
                tail.records.append(record)
            else:
                # An owner this far behind reads the rest from SQLite: memory must not grow without bound.
                tail.is_live = False

    def take(self) -> list[Record]:
        """What is in memory, of every partition in turn, no more than POLL_RECORDS_MAX."""
        taken: list[Record] = []
        partitions = sorted(self._tails)
        # Each call begins at another partition, or a busy first one would leave the others nothing.
        self._turn += 1
        for index in range(len(partitions)):
            tail = self._tails[partitions[(self._turn + index) % len(partitions)]]
            while tail.records and len(taken) < POLL_RECORDS_MAX:
                record = tail.records.popleft()
                tail.next_offset = record.offset + 1
                taken.append(record)
        return taken

    def behind(self) -> list[tuple[Claim, int, int]]:
        """Partitions to be read from SQLite: the claim, from where, up to where."""
        found = []
        for partition, tail in self._tails.items():
            if tail.is_live or tail.records:
                continue
            end = self._ends[partition]
            if tail.next_offset == end:
                tail.is_live = True
            else:
                found.append((tail.claim, tail.next_offset, end))
        return found

    def add_read(self, claim: Claim, records: list[Record]) -> None:
        """What was read from SQLite for `behind`."""
        tail = self._tails.get(claim.partition)
        if tail is not None and tail.claim == claim:
            tail.records.extend(records)
            tail.is_live = records[-1].offset + 1 == self._ends[claim.partition]


def read(database: db.Database, claim: Claim, start: int, end: int) -> list[Record]:
    """Inbox records from `start`. Raises LogDamagedFault where `start` is not there."""
    records = database.read(db.INBOX, claim.partition, start, end)
    if not records or records[0].offset != start:
        found = f"begins at {records[0].offset}" if records else f"ends at {end}"
        message = (
            f"expected inbox partition {claim.partition} to hold offset {start}, but from there it {found}"
        )
        raise LogDamagedFault(message, claim.partition)
    return records
