"""One owner process' view of the memory broker: the Log and Appender ports, and all that may go wrong there.

It never waits and never threads: outcomes come when the broker's virtual time reaches them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from engine.core.limits import check
from engine.errors import LogDamagedFault, LogUnavailableFault
from engine.partition.ports import (
    Append,
    Appended,
    Claim,
    Commit,
    CommitResult,
    Committed,
    Doubt,
    Fenced,
    Identity,
    Record,
)
from engine.testing.faults import FENCING, INGRESS, LIVE, Faults
from engine.testing.memory_broker import TRANSACTION_TIMEOUT_MS, MemoryBroker, Topic

OnDone = Callable[[Appended], None]
PhaseOf = Callable[[int], str]
LATE_MS_MAX = 30_000
RETRY_MS = 100
RECORD_BYTES_MAX = 1_000_000
POLL_RECORDS_MAX = 64


class Sender:
    """One producer into the inbox: in order per partition, until its process is gone.

    Producers overtake each other. A record may land twice, the second time behind what was sent after it.
    """

    def __init__(self, broker: MemoryBroker, faults: Faults, phase_of: PhaseOf) -> None:
        self.outcomes: deque[tuple[OnDone, Appended]] = deque()
        self._broker = broker
        self._faults = faults
        self._phase_of = phase_of
        self._last_due_ms: dict[int, int] = {}
        self._cut_off_ms: int | None = None

    def send(self, record: Append, on_done: OnDone | None) -> None:
        """On its way. Without `on_done` it is tried again for as long as the process lives."""
        faults, broker, phase = self._faults, self._broker, self._phase_of(record.partition)
        late = LATE_MS_MAX if faults.hit("append late", phase) else 4
        due_ms = broker.now_ms + faults.between(0, late)
        due_ms = max(due_ms, self._last_due_ms.get(record.partition, 0))
        self._last_due_ms[record.partition] = due_ms
        is_lost, is_untold = faults.hit("append lost", phase), faults.hit("append ack lost", phase)
        broker.at(due_ms, partial(self._arrive, record, on_done, is_lost, is_untold))
        if faults.hit("append twice", phase):
            again_ms = due_ms + faults.between(1, LATE_MS_MAX)
            broker.at(again_ms, partial(self._arrive_again, record))

    def _arrive_again(self, record: Append) -> None:
        self._broker.append_inbox(record)

    def die(self) -> None:
        """The process is gone; what was sent a moment ago may still arrive, in order as far as it goes."""
        if self._cut_off_ms is None:
            self._cut_off_ms = self._broker.now_ms + self._faults.between(-1, 6)

    def deliver(self) -> None:
        """Tells outcomes."""
        while self.outcomes:
            on_done, outcome = self.outcomes.popleft()
            on_done(outcome)

    def _arrive(self, record: Append, on_done: OnDone | None, is_lost: bool, is_untold: bool) -> None:  # noqa: FBT001
        if self._cut_off_ms is not None and self._broker.now_ms > self._cut_off_ms:
            return
        outcome = Appended(-1, 0)
        if not is_lost:
            written = self._broker.append_inbox(record)
            if not is_untold:
                outcome = Appended(written.offset, written.timestamp_ms)
        if on_done is not None:
            self.outcomes.append((on_done, outcome))
        elif outcome.offset < 0 and self._cut_off_ms is None:
            self._broker.at(self._broker.now_ms + RETRY_MS, partial(self.send, record, None))


class MemoryAppender:
    """See the port."""

    def __init__(self, broker: MemoryBroker, faults: Faults) -> None:
        self.sender = Sender(broker, faults, lambda _: INGRESS)
        self._broker = broker
        self._faults = faults

    def append(self, record: Append, on_done: OnDone) -> None:
        """See the port."""
        self._faults.point("forward", INGRESS)
        with self._broker.lock:
            self.sender.send(record, on_done)

    def deliver(self) -> None:
        """See the port."""
        self.sender.deliver()

    def close(self) -> None:
        """See the port."""


class MemoryLog:
    """The topics of one app, as one owner process sees them."""

    def __init__(self, broker: MemoryBroker, member: str, faults: Faults) -> None:
        self.identity: Identity = broker.identity
        self.member = member
        self.is_polling_time = False
        self.ours: frozenset[int] = frozenset()
        self.phase_of: PhaseOf = lambda _: LIVE
        self._broker = broker
        self._faults = faults
        self._results_sender = Sender(broker, faults, lambda partition: self.phase_of(partition))
        self._tracked_sender = Sender(broker, faults, lambda partition: self.phase_of(partition))
        self._appenders: list[MemoryAppender] = []
        self._epochs: dict[int, tuple[int, int]] = {}
        self._commits: dict[int, int] = {}
        self._in_flight: set[int] = set()
        # By claim, what its next commit has handed over already: that is what will be in the log of it.
        self._ahead: dict[int, list[tuple[bytes, bytes | None]]] = {}
        self._followed: dict[int, tuple[int, int]] = {}
        self._truncations: dict[int, int] = {}
        self._progress: dict[int, int] = {}
        self._results: deque[tuple[Claim, CommitResult]] = deque()
        self._is_dead = False

    def die(self) -> None:
        """The process is gone."""
        self._is_dead = True
        for sender in (self._results_sender, self._tracked_sender, *(a.sender for a in self._appenders)):
            sender.die()

    # --- who owns what ---

    def assignment(self) -> frozenset[int]:
        """See the port. What this member believes; the world tells it late, at times."""
        return self.ours

    def holds_membership(self, claim: Claim) -> bool:
        """See the port."""
        return self._broker.owner_of.get(claim.partition) == self.member

    def claim(self, partition: int) -> Claim:
        """See the port."""
        self._faults.point("claim", FENCING)
        if self._faults.hit("claim fails", FENCING):
            raise LogUnavailableFault(f"partition {partition} can't be fenced now")
        broker = self._broker
        with broker.lock:
            epochs = broker.fence(partition)
            if self._faults.hit("last stable offset stalls", FENCING):
                broker.stalled_until_ms[partition] = broker.now_ms + self._faults.between(10, 10_000)
            broker.tokens += 1
            history, inbox = broker.history[partition], broker.inbox[partition]
            claim = Claim(partition, broker.tokens, history.start, history.end, inbox.start, inbox.end)
            self._epochs[claim.token] = epochs
            self._commits[claim.token] = 0
        self._faults.point("claimed", FENCING)
        return claim

    def release(self, claim: Claim) -> None:
        """See the port."""
        self._epochs.pop(claim.token, None)
        if self._followed.get(claim.partition, (0, 0))[0] == claim.token:
            del self._followed[claim.partition]
            self._progress.pop(claim.partition, None)

    # --- reading ---

    def read_history(self, claim: Claim, start: int, end: int) -> Iterator[list[Record]]:
        """See the port."""
        self._faults.point("read history", FENCING)
        broker, topic = self._broker, self._broker.history[claim.partition]
        if start < end and broker.now_ms < broker.stalled_until_ms[claim.partition]:
            raise LogUnavailableFault(f"the history of {claim.partition} is held by an open transaction")
        if topic.end < end:
            raise LogUnavailableFault(f"the history of {claim.partition} ends at {topic.end}, before {end}")
        with broker.lock:
            records = topic.read(start, end)
        step = 1 + self._faults.rng.randrange(50)
        for at in range(0, len(records), step):
            yield records[at : at + step]

    def read_inbox(self, claim: Claim, offset: int) -> Record | None:
        """See the port."""
        self._faults.point("read inbox", FENCING)
        found = self._broker.inbox[claim.partition].read(offset, offset + 1)
        return found[0] if found else None

    def follow(self, claim: Claim, offset: int) -> None:
        """See the port."""
        self._followed[claim.partition] = (claim.token, offset)
        self._truncations[claim.partition] = len(self._broker.inbox[claim.partition].truncations)
        self._progress[claim.partition] = offset

    def poll(self, timeout_ms: int) -> list[Record]:
        """See the port. Where a test asks for it, the time it would wait passes."""
        for partition in self._followed:
            self._faults.point("poll", self.phase_of(partition))
        found: list[Record] = []
        with self._broker.lock:
            if self.is_polling_time:
                self._broker.advance(self._broker.now_ms + max(1, timeout_ms))
            for partition in sorted(self._followed):
                if not self._faults.hit("poll empty", self.phase_of(partition)):
                    found.extend(self._poll(partition, found))
        return found

    def _poll(self, partition: int, before: list[Record]) -> list[Record]:
        token, offset = self._followed[partition]
        topic: Topic = self._broker.inbox[partition]
        if not topic.start <= offset <= topic.end or self._is_cut(topic, offset):
            if before:
                return []
            raise LogDamagedFault(
                f"expected inbox offset {offset} of partition {partition} in [{topic.start}, {topic.end}], "
                "but it is gone",
                partition,
            )
        records = topic.read(offset, topic.end, 1 + self._faults.rng.randrange(POLL_RECORDS_MAX))
        if records:
            self._followed[partition] = (token, records[-1].offset + 1)
        return records

    def _is_cut(self, topic: Topic, offset: int) -> bool:
        """Whether what was read is there no more: the consumer's leader epoch shows it.

        A topic that was re-created has epochs of its own: a running consumer may read on, and see nothing.
        """
        return any(end < offset for end in topic.truncations[self._truncations.get(topic.partition, 0) :])

    # --- writing ---

    def append(self, record: Append, on_done: OnDone | None = None) -> None:
        """See the port."""
        self._faults.point("append", self.phase_of(record.partition))
        with self._broker.lock:
            sender = self._results_sender if on_done is None else self._tracked_sender
            sender.send(record, on_done)

    def append_from_thread(self, record: Append) -> None:
        """As an activity's thread does: no place for the owners' thread to die."""
        with self._broker.lock:
            self._results_sender.send(record, None)

    def has_news(self) -> bool:
        """Whether `poll` or `commit_results` would return something."""
        if self._results or self._tracked_sender.outcomes or any(a.sender.outcomes for a in self._appenders):
            return True
        return any(self._broker.inbox[p].end > offset for p, (_, offset) in self._followed.items())

    def appender(self) -> MemoryAppender:
        """See the port."""
        appender = MemoryAppender(self._broker, self._faults)
        self._appenders.append(appender)
        return appender

    def open_commit(self, claim: Claim, ahead: Sequence[tuple[bytes, bytes | None]]) -> None:
        """See the port. What is open nobody sees, and a claim ends it."""
        self._faults.point("open commit", self.phase_of(claim.partition))
        assert claim.token not in self._in_flight, "a commit is opened while one is under way"
        assert claim.token not in self._ahead, "a commit is opened twice"
        self._ahead[claim.token] = list(ahead)

    def begin_commit(self, claim: Claim, commit: Commit) -> None:
        """See the port."""
        self._faults.point("begin commit", self.phase_of(claim.partition))
        for key, value in commit.records:
            check(f"the record {key!r} (bytes)", len(value or b""), RECORD_BYTES_MAX, "this is an engine bug")
        if claim.token not in self._epochs:
            self._results.append((claim, Fenced("this process never made the claim, or has released it")))
            return
        assert claim.token not in self._in_flight, "one commit at a time for each claim"
        self._in_flight.add(claim.token)
        ahead = self._ahead.pop(claim.token, [])
        records = (*ahead, *commit.records[len(ahead) :])
        copy = Commit(records, commit.checkpoint, tuple(commit.dead_letters), tuple(commit.replies))
        _CommitOnItsWay(self, claim, copy).begin()
        self._faults.point("commit begun", self.phase_of(claim.partition))

    def commit_results(self) -> list[tuple[Claim, CommitResult]]:
        """See the port."""
        with self._broker.lock:
            self._results_sender.deliver()
            self._tracked_sender.deliver()
            results = list(self._results)
            self._results.clear()
            for claim, _ in results:
                self._in_flight.discard(claim.token)
        return results

    # --- progress ---

    def progress(self, partition: int) -> int | None:
        """See the port."""
        local = self._progress.get(partition)
        return local if local is not None else self._broker.owner_progress.get(partition)

    def report_progress(self, claim: Claim, next_offset: int) -> None:
        """See the port."""
        if self._followed.get(claim.partition, (0, 0))[0] == claim.token:
            self._progress[claim.partition] = next_offset
            self._broker.owner_progress[claim.partition] = next_offset

    def trim(self, claim: Claim, before_offset: int) -> None:
        """See the port."""
        self._faults.point("trim", self.phase_of(claim.partition))
        self._broker.inbox[claim.partition].drop_before(before_offset)


class _CommitOnItsWay:
    """One transaction from begin to whatever comes of it."""

    def __init__(self, log: MemoryLog, claim: Claim, commit: Commit) -> None:
        self._log = log
        self._claim = claim
        self._commit = commit
        self._broker = log._broker
        self._began_ms = self._broker.now_ms
        count = log._commits[claim.token]
        log._commits[claim.token] = count + 1
        # The two transactional ids are used strictly in turn, as in the Kafka adapter.
        self._which = count % 2
        self._epoch = log._epochs[claim.token][self._which]

    def begin(self) -> None:
        """Draws what will come of it."""
        faults, phase = self._log._faults, self._log.phase_of(self._claim.partition)
        soon = self._began_ms + faults.between(1, 6)
        late = soon + faults.between(1, 20_000)
        if faults.hit("commit fenced", phase):
            self._tell_at(soon, Fenced("the transaction timed out"))
        elif faults.hit("commit doubt, done", phase):
            self._apply_at(soon, None)
            self._tell_at(late, Doubt("no answer"))
        elif faults.hit("commit doubt, not done", phase):
            self._tell_at(soon, Doubt("no answer, and nothing done"))
        elif faults.hit("commit doubt, done late", phase):
            self._tell_at(soon, Doubt("no answer yet"))
            self._apply_at(late, None)
        elif faults.hit("commit torn", phase):
            tear = faults.rng.randrange(len(self._commit.records) + 1)
            self._apply_at(soon, tear)
            self._tell_at(faults.rng.choice((soon, late)), Doubt("a repeated request"))
        elif faults.hit("commit slow", phase):
            self._broker.at(late, self._finish)
        else:
            self._broker.at(soon, self._finish)

    def _apply_at(self, due_ms: int, tear: int | None) -> None:
        def apply() -> None:
            if not self._may_apply():
                return
            if tear is None:
                self._broker.apply_commit(self._claim.partition, self._commit)
            elif tear:
                self._broker.apply_torn(self._claim.partition, self._commit, tear)

        self._broker.at(due_ms, apply)

    def _finish(self) -> None:
        if not self._may_apply():
            self._tell(Fenced(f"epoch {self._epoch} is not the newest"))
            return
        position, timestamp_ms = self._broker.apply_commit(self._claim.partition, self._commit)
        self._tell(Committed(position, timestamp_ms))

    def _may_apply(self) -> bool:
        is_open = self._broker.now_ms - self._began_ms < TRANSACTION_TIMEOUT_MS
        return is_open and self._broker.is_current(self._claim.partition, self._which, self._epoch)

    def _tell_at(self, due_ms: int, result: CommitResult) -> None:
        self._broker.at(due_ms, partial(self._tell, result))

    def _tell(self, result: CommitResult) -> None:
        self._log._results.append((self._claim, result))
