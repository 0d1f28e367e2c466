"""The Kafka of the simulator: topics, fences and group offsets in virtual time. It outlives every owner.

It never loses what it acknowledged unless it is told to, and it keeps, beside the topics, a journal of all
that was ever committed, which no compaction or trimming touches: the checkers' evidence.
"""

import heapq
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence

from engine.codec.topics import CHECKPOINT_KEY, FROM_HEADER, ChannelSource, out_key, parse_source
from engine.partition.ports import Append, Commit, Headers, Identity, Record

START_MS = 1_700_000_000_000
TRANSACTION_TIMEOUT_MS = 15_000


class Topic:
    """One partition of one topic. Offsets may have gaps: markers, aborted records, compaction."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.start = 0
        self.end = 0
        self.records: list[Record] = []
        self.truncations: list[int] = []

    def append(self, timestamp_ms: int, key: bytes, value: bytes | None, headers: Headers = ()) -> Record:
        """Takes the next offset."""
        record = Record(self.partition, self.end, timestamp_ms, key, value, headers)
        self.records.append(record)
        self.end += 1
        return record

    def skip(self, count: int) -> None:
        """Offsets that no reader of committed records gets."""
        self.end += count

    def read(self, start: int, end: int, count_max: int = 1 << 30) -> list[Record]:
        """What lies in [start, end)."""
        first = bisect_left(self.records, start, key=_offset_of)
        found = self.records[first : first + count_max]
        return [record for record in found if record.offset < end]

    def drop_before(self, offset: int) -> None:
        """Trims, as DeleteRecords does."""
        if offset > self.start:
            self.start = min(offset, self.end)
            del self.records[: bisect_left(self.records, self.start, key=_offset_of)]

    def truncate(self, end: int) -> None:
        """Loses its tail, as an unclean election does. Who has read beyond is told by the leader's epoch."""
        self.truncations.append(end)
        self.end = min(self.end, end)
        del self.records[bisect_left(self.records, self.end, key=_offset_of) :]

    def compact(self, upto: int, tombstones_before: int) -> None:
        """Keeps the last record per key below `upto`; tombstones below `tombstones_before` have expired."""
        last = {record.key: record.offset for record in self.records if record.offset < upto}
        self.records = [
            record
            for record in self.records
            if record.offset >= upto
            or (last[record.key] == record.offset and not _is_expired(record, tombstones_before))
        ]


def _offset_of(record: Record) -> int:
    return record.offset


def _is_expired(record: Record, tombstones_before: int) -> bool:
    return record.value is None and record.offset < tombstones_before


class Violation(Exception):
    """Something an invariant forbids was seen."""


class MemoryBroker:
    """All topics of one app, and who may write them."""

    def __init__(self, partitions: int = 4, command_partitions: int = 2) -> None:
        self.now_ms = START_MS
        self.lock = threading.RLock()
        self.identity = Identity("topic-commands", "topic-inbox", "topic-history", partitions)
        self.commands = [Topic(number) for number in range(command_partitions)]
        self.inbox = [Topic(number) for number in range(partitions)]
        self.history = [Topic(number) for number in range(partitions)]
        self.deadletters = Topic(0)
        self.replies = Topic(0)
        self.held_from: dict[int, tuple[int, int]] = {}
        self.inbox_skew_ms = [0] * partitions
        self.history_skew_ms = [0] * partitions
        self.inbox_journal: list[list[Record]] = [[] for _ in range(partitions)]
        self.history_journal: list[list[Record]] = [[] for _ in range(partitions)]
        self.out_keys: list[set[bytes]] = [set() for _ in range(partitions)]
        self.published: list[Record] = []
        self.forged: list[Record] = []
        self.executed: list[tuple[bytes, int]] = []
        self.epochs = [[0, 0] for _ in range(partitions)]
        self.stalled_until_ms = [0] * partitions
        self.group_offsets: dict[int, tuple[int, str]] = {}
        self.owner_progress: dict[int, int] = {}
        self.owner_of: dict[int, str] = {}
        self.ingress_of: dict[int, str] = {}
        self.sessions = 0
        self.tokens = 0
        self.commits = 0
        self.torn = 0
        self.torn_places: set[tuple[int, int]] = set()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    # --- time ---

    def at(self, due_ms: int, what: Callable[[], None]) -> None:
        """Happens when its time comes; at the same time, in the order of asking."""
        with self.lock:
            self._count += 1
            heapq.heappush(self._events, (due_ms, self._count, what))

    def next_event_ms(self) -> int | None:
        """When something happens by itself."""
        return self._events[0][0] if self._events else None

    def advance(self, to_ms: int) -> None:
        """Lets everything happen that is due by then."""
        with self.lock:
            while self._events and self._events[0][0] <= to_ms:
                due_ms, _, what = heapq.heappop(self._events)
                self.now_ms = max(self.now_ms, due_ms)
                what()
            self.now_ms = max(self.now_ms, to_ms)

    # --- writing ---

    def publish(self, partition: int, key: bytes, value: bytes | None, headers: Headers = ()) -> Record:
        """A client's record in `commands`."""
        record = self.commands[partition].append(self.now_ms, key, value, headers)
        self.published.append(record)
        return record

    def forge(self, partition: int, key: bytes, value: bytes | None, headers: Headers = ()) -> Record:
        """A record in the inbox that no engine of today has written."""
        record = self.inbox[partition].append(
            self.now_ms + self.inbox_skew_ms[partition], key, value, headers
        )
        self.inbox_journal[partition].append(record)
        self.forged.append(record)
        return record

    def hold_commands(self, partition: int, for_ms: int) -> None:
        """A caller's transaction is left open: no reader of committed records sees what comes after."""
        self.held_from[partition] = (self.commands[partition].end, self.now_ms + for_ms)

    def commands_end(self, partition: int) -> int:
        """The last stable offset of a partition of `commands`."""
        end = self.commands[partition].end
        offset, until_ms = self.held_from.get(partition, (end, 0))
        return end if self.now_ms >= until_ms else offset

    def append_inbox(self, append: Append) -> Record:
        """One record into the inbox, stamped by the broker's clock, which may step back."""
        self._check_channel(append)
        partition = append.partition
        timestamp_ms = self.now_ms + self.inbox_skew_ms[partition]
        record = self.inbox[partition].append(timestamp_ms, append.key, append.value, append.headers)
        self.inbox_journal[partition].append(record)
        return record

    def _check_channel(self, append: Append) -> None:
        """What goes to another instance must be on committed record first (DESIGN 2, 3)."""
        for name, value in append.headers:
            source = parse_source(value) if name == FROM_HEADER else None
            if isinstance(source, ChannelSource):
                key = out_key(source.topic_id, append.partition, source.number)
                if key not in self.out_keys[source.partition]:
                    raise Violation(
                        f"I12: {key!r} of partition {source.partition} was sent before its commit"
                    )

    def fence(self, partition: int) -> tuple[int, int]:
        """Both transactional ids, X then Y: every earlier claim's commits fail from here on."""
        epochs = self.epochs[partition]
        epochs[0] += 1
        epochs[1] += 1
        # What the earlier claim had open is aborted: its records and the marker take offsets.
        self.history[partition].skip(1)
        return epochs[0], epochs[1]

    def is_current(self, partition: int, which: int, epoch: int) -> bool:
        """Whether a transactional id still has this epoch."""
        return self.epochs[partition][which] == epoch

    def apply_commit(self, partition: int, commit: Commit) -> tuple[int, int]:
        """A whole transaction: (offset behind its checkpoint, the checkpoint's timestamp)."""
        self.commits += 1
        self._write(partition, commit.records)
        for letter in commit.dead_letters:
            self.deadletters.append(self.now_ms, letter.key, letter.value, letter.headers)
        for reply in commit.replies:
            self.replies.append(self.now_ms, reply.key, reply.value)
        record = self._journaled(partition, CHECKPOINT_KEY, commit.checkpoint)
        self.history[partition].skip(1)
        return record.offset + 1, record.timestamp_ms

    def apply_torn(self, partition: int, commit: Commit, count: int) -> None:
        """The first `count` records of a transaction and no checkpoint: a commit request came a lap late."""
        self.torn += 1
        first = self.history[partition].end
        self._write(partition, commit.records[:count])
        self.torn_places.update((partition, first + number) for number in range(count))
        self.history[partition].skip(1)

    def _write(self, partition: int, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        for key, value in records:
            self._journaled(partition, key, value)
            if key.startswith(b"~out|"):
                self.out_keys[partition].add(key)

    def _journaled(self, partition: int, key: bytes, value: bytes | None) -> Record:
        timestamp_ms = self.now_ms + self.history_skew_ms[partition]
        record = self.history[partition].append(timestamp_ms, key, value)
        self.history_journal[partition].append(record)
        return record

    # --- damage ---

    def lose_tail(self, name: str, partition: int, count: int) -> None:
        """The last `count` records of a partition of "inbox" or "history" are gone."""
        topics, journals = self._topic(name)
        topic = topics[partition]
        lost = topic.records[-count:]
        if not lost:
            return
        topic.truncate(lost[0].offset)
        journals[partition] = [r for r in journals[partition] if r.offset < lost[0].offset]

    def recreate(self, name: str) -> None:
        """Somebody deleted the topic, and it was created anew."""
        topics, journals = self._topic(name)
        for partition in range(self.identity.partitions):
            topics[partition], journals[partition] = Topic(partition), []
        identity = self.identity
        self.identity = Identity(
            identity.commands_topic_id,
            identity.inbox_topic_id + "-2" * (name == "inbox"),
            identity.history_topic_id + "-2" * (name == "history"),
            identity.partitions,
        )

    def _topic(self, name: str) -> tuple[list[Topic], list[list[Record]]]:
        if name == "inbox":
            return self.inbox, self.inbox_journal
        return self.history, self.history_journal

    # --- what an independent reader sees ---

    def view(self, partition: int) -> dict[bytes, bytes]:
        """The last value of each key of history, as of its last checkpoint: what clients may be shown."""
        records = self.history[partition].records
        upto = max((r.offset for r in records if r.key == CHECKPOINT_KEY), default=-1)
        found: dict[bytes, bytes] = {}
        for record in records:
            if record.offset > upto or record.key == CHECKPOINT_KEY:
                continue
            if record.value is None:
                found.pop(record.key, None)
            else:
                found[record.key] = record.value
        return found
