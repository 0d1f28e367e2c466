"""The Log port on Kafka.

What is here is plumbing; what makes it exact is in commits, membership and reader.
"""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import Consumer, IsolationLevel, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # exported, not declared

from engine.codec.topics import topics_of
from engine.core.limits import check
from engine.errors import LogDamagedFault
from engine.kafka import reader
from engine.kafka.appender import KafkaAppender, ResultAppender
from engine.kafka.clients import CLIENTS
from engine.kafka.commits import MESSAGE_BYTES_MAX, CommitTopics, Transactions
from engine.kafka.errors import fault_of
from engine.kafka.membership import Membership, owners_group
from engine.kafka.offsets import list_offsets
from engine.kafka.settings import KafkaSettings
from engine.kafka.topics import TopicAdmin
from engine.partition.ports import (
    Append,
    Appended,
    Appender,
    Claim,
    Commit,
    CommitResult,
    Doubt,
    Fenced,
    Identity,
    Record,
)

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.2
UNANSWERED_INTERVAL_S = 3.0
RECORD_BYTES_MAX = MESSAGE_BYTES_MAX - 20_000


class KafkaLog:
    """The topics of one app, as one worker process sees them."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topics = topics_of(settings.namespace, settings.app)
        admin = TopicAdmin(settings)
        if settings.is_dev:
            admin.apply()
        self.identity: Identity = admin.identity()
        self._admin = CLIENTS.admin(settings, self._topics.inbox)
        replies = self._topics.replies
        self._commit_topics = CommitTopics(
            self._topics.history, self._topics.deadletter, replies, admin.partitions_of(replies)
        )
        group = owners_group(settings)
        self._membership = Membership(settings, self._topics.inbox, group)
        inbox = self._topics.inbox
        reading = reader.reading(f"{group}.inbox", committed=False)
        self._consumer = CLIENTS.consumer(settings, inbox, **reading)
        # Who leads is known before the first claim: else its partition would wait a second to be told.
        self._consumer.list_topics(self._topics.inbox, settings.request_timeout_ms / 1000)
        self._results = ResultAppender(settings, self._topics.inbox)
        self._tracked = KafkaAppender(settings, self._topics.inbox)
        # No token of an earlier process may pass for one of ours.
        self._tokens = itertools.count(time.time_ns())
        self._transactions: dict[int, Transactions] = {}
        self._followed: dict[int, int] = {}
        self._damage: dict[int, LogDamagedFault] = {}
        self._work: queue.SimpleQueue[tuple[Claim, Transactions] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Claim, CommitResult]] = queue.SimpleQueue()
        self._local_progress: dict[int, int] = {}
        self._remote_progress: dict[int, int] = {}
        self._progress_at = 0.0
        self._asked_at = 0.0
        reading = reader.reading(group, committed=False)
        # Not watched, for nobody polls it: without its answers others' inboxes are filled more slowly.
        self._asking = Consumer(settings.client(**reading))
        self._threads = [
            threading.Thread(target=self._committer, name=f"committer-{n}", daemon=True)
            for n in range(settings.committers)
        ]
        for thread in self._threads:
            thread.start()

    # --- who owns what ---

    @property
    def is_member(self) -> bool:
        """Whether the group has told us our part, and not thrown us out since."""
        return self._membership.is_member

    def assignment(self) -> frozenset[int]:
        """See the port. Also commits the group offsets, for lag tools and for other workers' ingress."""
        now = time.monotonic()
        if now - self._progress_at >= PROGRESS_INTERVAL_S:
            self._progress_at = now
            self._membership.report(self._local_progress)
            # What it tells of itself would pile up.
            self._admin.poll(0)
        return self._membership.assignment()

    def claim(self, partition: int) -> Claim:
        """See the port. Any thread."""
        topics = self._topics
        transactions = Transactions(
            self._settings,
            self._commit_topics,
            partition,
            f"{self._settings.namespace}.{self._settings.app}",
        )
        transactions.fence()
        history = self._bounds(topics.history, partition)
        if self._stable_end(topics.history, partition) < history[1]:
            # Whatever of ours was open is ended by the fence, and nobody else may write there.
            log.warning("partition %d: a transaction hangs in its history, and is ended", partition)
            transactions.end_what_hangs()
            history = self._bounds(topics.history, partition)
        inbox = self._bounds(topics.inbox, partition)
        claim = Claim(partition, next(self._tokens), *history, *inbox)
        self._transactions[claim.token] = transactions
        return claim

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """(log start, high watermark).

        Read uncommitted, for an open transaction must not hide what is behind it.
        """
        isolation = IsolationLevel.READ_UNCOMMITTED
        start, end = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._offset(topic, partition, start, isolation), self._offset(
            topic, partition, end, isolation
        )

    def _stable_end(self, topic: str, partition: int) -> int:
        """Where the first open transaction begins, or the high watermark."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._offset(topic, partition, latest, IsolationLevel.READ_COMMITTED)

    def _offset(self, topic: str, partition: int, spec: OffsetSpec, isolation: IsolationLevel) -> int:
        timeout_ms = self._settings.request_timeout_ms
        try:
            return list_offsets(self._admin, topic, {partition: spec}, isolation, timeout_ms)[partition]
        except KafkaException as problem:
            raise fault_of(problem, f"list offsets of {topic}/{partition}") from problem

    def release(self, claim: Claim) -> None:
        """See the port."""
        transactions = self._transactions.pop(claim.token, None)
        if self._followed.get(claim.partition) == claim.token:
            del self._followed[claim.partition]
            self._local_progress.pop(claim.partition, None)
            self._consumer.incremental_unassign([TopicPartition(self._topics.inbox, claim.partition)])
        if transactions is not None:
            # Destroying a producer waits for its threads; nobody has to wait with it.
            threading.Thread(target=transactions.close, daemon=True).start()

    def holds_membership(self, claim: Claim) -> bool:
        """See the port."""
        return claim.partition in self._membership.ask()

    # --- reading ---

    def read_history(self, claim: Claim, start: int, end: int) -> Iterator[list[Record]]:
        """See the port. Any thread."""
        return reader.read_range(self._settings, self._topics.history, claim.partition, (start, end))

    def read_inbox(self, claim: Claim, offset: int) -> Record | None:
        """See the port. Any thread."""
        start, end = self._bounds(self._topics.inbox, claim.partition)
        if not start <= offset < end:
            return None
        bounds = (offset, offset + 1)
        for batch in reader.read_range(self._settings, self._topics.inbox, claim.partition, bounds):
            return batch[0] if batch[0].offset == offset else None
        return None

    def follow(self, claim: Claim, offset: int) -> None:
        """See the port."""
        self._followed[claim.partition] = claim.token
        self._local_progress[claim.partition] = offset
        self._consumer.incremental_assign([TopicPartition(self._topics.inbox, claim.partition, offset)])

    def poll(self, timeout_ms: int) -> list[Record]:
        """See the port."""
        if self._damage:
            raise self._damage.popitem()[1]
        if not self._followed:
            time.sleep(min(timeout_ms, 20) / 1000)
            return []
        first = self._consumer.poll(timeout_ms / 1000)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(reader.BATCH_RECORDS, 0)]
        record_of, followed = reader.record_of, self._followed
        return [record_of(m) for m in messages if m.partition() in followed and self._is_good(m)]

    def _is_good(self, message: Message) -> bool:
        if message.error() is None:
            return True
        try:
            return reader.message_is_good(message)
        except LogDamagedFault as fault:
            # Told by the next poll: what came beside it, of other partitions, must not be lost with it.
            partition = message.partition() or 0
            if self._followed.pop(partition, None) is not None:
                self._consumer.incremental_unassign([TopicPartition(self._topics.inbox, partition)])
                self._damage[partition] = LogDamagedFault(str(fault), partition)
            return False

    # --- writing ---

    def append(self, record: Append, on_done: Callable[[Appended], None] | None = None) -> None:
        """See the port. Any thread without `on_done`, the owners' thread with it."""
        check(
            "an inbox record (bytes)", len(record.value), RECORD_BYTES_MAX + 400_000, "this is an engine bug"
        )
        if on_done is None:
            self._results.append(record)
        else:
            self._tracked.append(record, on_done)

    def appender(self) -> Appender:
        """See the port."""
        return KafkaAppender(self._settings, self._topics.inbox)

    def open_commit(self, claim: Claim, ahead: Sequence[tuple[bytes, bytes | None]]) -> None:
        """See the port."""
        transactions = self._transactions.get(claim.token)
        if transactions is not None:
            transactions.open(ahead)

    def begin_commit(self, claim: Claim, commit: Commit) -> None:
        """See the port. Raises LimitExceededError before anything is committed."""
        for key, value in commit.records:
            if value is not None and len(value) + len(key) > RECORD_BYTES_MAX:
                check(f"the record {key!r} (bytes)", len(value), RECORD_BYTES_MAX, "this is an engine bug")
        transactions = self._transactions.get(claim.token)
        if transactions is None:
            self._done.put((claim, Fenced("the claim was released, or is of an earlier process")))
            return
        # Records are handed over here: a committer that did it would contend with turns for the interpreter.
        result = transactions.begin(commit)
        if result is None:
            self._work.put((claim, transactions))
        else:
            self._done.put((claim, result))

    def commit_results(self) -> list[tuple[Claim, CommitResult]]:
        """See the port."""
        self._results.deliver()
        self._tracked.deliver()
        results: list[tuple[Claim, CommitResult]] = []
        while True:
            try:
                results.append(self._done.get_nowait())
            except queue.Empty:
                return results

    def _committer(self) -> None:
        while True:
            work = self._work.get()
            if work is None:
                return
            claim, transactions = work
            try:
                result = transactions.finish()
            except Exception as problem:
                # Whatever this was, the commit may be in the log: only a new claim tells.
                log.exception("commit of partition %d", claim.partition)
                result = Doubt(f"{type(problem).__name__}: {problem}")
            self._done.put((claim, result))

    # --- progress and trimming ---

    def progress(self, partition: int) -> int | None:
        """See the port. One thread, and not the owners': asking the group for the others' may take long."""
        local = self._local_progress.get(partition)
        if local is not None:
            return local
        now = time.monotonic()
        if now - self._asked_at >= PROGRESS_INTERVAL_S:
            self._asked_at = now
            self._remote_progress = self._ask_progress()
        return self._remote_progress.get(partition)

    def _ask_progress(self) -> dict[int, int]:
        topic = self._topics.inbox
        places = [TopicPartition(topic, partition) for partition in range(self.identity.partitions)]
        try:
            found = self._asking.committed(places, timeout=1)
        except KafkaException as problem:
            log.debug("group offsets not read: %s", problem)
            # Whoever asks may be the owners' thread, which feeds the inbox while it is busy.
            self._asked_at = time.monotonic() + UNANSWERED_INTERVAL_S
            return self._remote_progress
        return {place.partition: place.offset for place in found if place.offset >= 0}

    def report_progress(self, claim: Claim, next_offset: int) -> None:
        """See the port."""
        if self._followed.get(claim.partition) == claim.token:
            self._local_progress[claim.partition] = next_offset

    def trim(self, claim: Claim, before_offset: int) -> None:
        """See the port."""
        place = TopicPartition(self._topics.inbox, claim.partition, before_offset)
        try:
            self._admin.delete_records([place])
        except KafkaException as problem:
            log.info("inbox %d not trimmed: %s", claim.partition, problem)

    def close(self) -> None:
        """Leaves the group and lets go of everything. The claims must be released."""
        for _ in self._threads:
            self._work.put(None)
        self._membership.leave()
        self._results.close()
        self._tracked.close()
        self._consumer.close()
        self._asking.close()
