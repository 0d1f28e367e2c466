"""One claimed partition: inbox records in, turns, commits out. Driven by one thread; never waits.

Rules
* A turn's activities may begin at once; everything else that others can see waits for the commit.
* The log is written first, the store second: a crash between the two is repaired by reading history on.
* After Fenced or Doubt nothing of this object is of use: drop it, uncommitted turns and executions with it.

Theory of operation
  open ─► FENCING ─first commit─► CATCHING_UP ─claim's inbox end─► LIVE ─stop─► STOPPING ─► CLOSED
             │                        │                              │             │
             └────────────────────────┴───────── Fenced, Doubt ──────┴─────────────┴──► LOST
"""

from collections import deque

import msgspec

from engine.codec import avro
from engine.model.checkpoint import Checkpoint
from engine.partition.batch import Batch
from engine.partition.cache import Cache
from engine.partition.careful import LIVES_BEFORE_CARE, Care, poison_offset
from engine.partition.claiming import after_witness, damage, first_checkpoint, is_behind, verify, why_lost
from engine.partition.context import OwnerContext
from engine.partition.outbox import Outbox, unsent
from engine.partition.ports import (
    Claim,
    Clock,
    Commit,
    CommitResult,
    Committed,
    Log,
    Record,
    Store,
    StorePosition,
)
from engine.partition.restore import Restored, RestoreProgress, restore
from engine.partition.revival import Revival
from engine.partition.seats import Seats
from engine.partition.status import OwnerStatus
from engine.partition.turns import Turns


class Owner:
    """The owner of one partition."""

    def __init__(self, claim: Claim, log: Log, store: Store, clock: Clock, context: OwnerContext) -> None:
        self.claim = claim
        self.status = OwnerStatus.FENCING
        self.lost_reason = ""
        self.turns: Turns = None  # type: ignore[assignment]  # set by open(), before anything else
        self._log = log
        self.store = store
        self._cache = Cache(store)
        self._clock = clock
        self._context = context
        self._settings = context.settings
        self._batch = Batch(0)
        self._history_end = claim.history_end
        self._in_flight: tuple[Batch, Checkpoint] | None = None
        self._backlog: deque[Record] = deque()
        self._catch_up_end = 0
        self._live_since_ms = 0
        self._last_trim_ms = 0
        self._is_stop_asked = False
        self._is_last_commit_sent = False
        self._is_suspect = False
        self._is_witness_due = False
        self._last_tick_ms = clock.monotonic_ms()
        self._encoded = b""
        self._care = Care(context.exam, claim.partition)
        self._poison: Record | None = None
        self._revival: Revival = None  # type: ignore[assignment]  # as turns

    # --- claim ---

    def open(self, wall_clock_ms: int, progress: RestoreProgress | None = None) -> Restored:
        """Restores. May take long and may run in any thread, before anything else is called."""
        claim, log = self.claim, self._log
        restored = restore(log, claim, self.store, wall_clock_ms, progress)
        verify(claim, log, restored.checkpoint)
        last = self._care.corrected(restored.checkpoint)
        self._checkpoint = first_checkpoint(last, log.identity, self._settings)
        outbox = Outbox(log.identity.inbox_topic_id, claim.partition, restored.checkpoint)
        for target, message in unsent(restored.messages):
            outbox.restore(target, message)
        seats = Seats(self._cache, self._context.registry, self._settings.live_executions_max)
        seats.adopt(restored.states)
        self.turns = Turns(claim.partition, log.identity, seats, outbox, self._context)
        self.turns.begin(restored.checkpoint)
        self._revival = Revival(self.turns, self._settings.build)
        self._batch = Batch(self._checkpoint.batch + 1)
        for torn in restored.torn:
            self._batch.put_back(torn.key, torn.value)
        self._care.begin(self._checkpoint, claim.inbox_end)
        self.turns.isolates_activities = self._checkpoint.lives >= LIVES_BEFORE_CARE
        poison = poison_offset(last)
        if poison is not None:
            self._poison = log.read_inbox(claim, poison)
        return restored

    def start(self) -> None:
        """Sends the claim's first commit. Nothing is dispatched before it is in the log."""
        self._checkpoint = self._revival.prepare(self._checkpoint)
        if self._poison is not None:
            self.turns.quarantine(self._poison, self._batch)
        self._begin_commit()

    # --- input ---

    @property
    def uncommitted_since_ms(self) -> int:
        """Since when something waits for a commit to begin; the distant future where nothing does."""
        since_ms = self._batch.started_at_ms
        return 1 << 62 if since_ms is None else since_ms

    @property
    def oldest_uncommitted_ms(self) -> int | None:
        """Since when something waits for the end of a commit. Any thread."""
        in_flight = self._in_flight
        return (self._batch if in_flight is None else in_flight[0]).started_at_ms

    @property
    def backlog(self) -> int:
        """Records taken from the log and not processed."""
        return len(self._backlog)

    def process(self, records: list[Record]) -> None:
        """Takes the turns of these inbox records, as far as the bound of uncommitted ones allows."""
        self._mind_standstill(self._clock.monotonic_ms())
        if self._is_witness_due and records:
            records = after_witness(self.claim, self._checkpoint, records)
            self._is_witness_due = False
        if self._backlog or (records and self._care.applies_to(records[0].offset)):
            self._backlog.extend(records)
            records = []
        room = self._room()
        if len(records) > room:
            self._backlog.extend(records[room:])
            records = records[:room]
        self._take(records)

    def _room(self) -> int:
        if self._is_suspect or self.status not in (OwnerStatus.CATCHING_UP, OwnerStatus.LIVE):
            return 0
        if not self._care.may_take_turns or self._batch.size >= self._settings.uncommitted_bytes_max:
            return 0
        in_flight = self._in_flight[0].inputs if self._in_flight is not None else 0
        return max(0, self._checkpoint.uncommitted_records_max - in_flight - self._batch.inputs)

    def _take(self, records: list[Record]) -> None:
        if not records:
            return
        turns, batch = self.turns, self._batch
        if batch.started_at_ms is None:
            batch.started_at_ms = self._clock.monotonic_ms()
        turns.expect(records, self._clock.monotonic_ms())
        for number, record in enumerate(records):
            if batch.size >= self._settings.uncommitted_bytes_max:
                # What one transaction carries has a bound too; the rest waits for the next.
                self._backlog.extendleft(reversed(records[number:]))
                break
            if record.offset < turns.next_offset:
                continue
            if record.offset > turns.next_offset:
                # The inbox is written without transactions and read from its own offsets on: it has no gaps.
                raise damage(
                    self.claim, f"inbox record {turns.next_offset} is missing before {record.offset}"
                )
            turns.take(record, batch)
            if self.status is OwnerStatus.CATCHING_UP and turns.next_offset >= self._catch_up_end:
                self._go_live()
        turns.clock.saw(records[-1].timestamp_ms, self._clock.monotonic_ms())
        self._context.measures.turns_end(turns.counters)

    def _go_live(self) -> None:
        self.status = OwnerStatus.LIVE
        self._live_since_ms = self._clock.monotonic_ms()
        self.turns.dispatch_open()
        self._send_outbox(self._checkpoint_upto())

    def _checkpoint_upto(self) -> dict[int, int]:
        return {mark.partition: mark.assigned for mark in self._checkpoint.outbox}

    # --- time ---

    def tick(self) -> None:
        """Does what is due: a backlog, timers, a commit, the end of a stop."""
        if self.status in (OwnerStatus.LOST, OwnerStatus.CLOSED):
            return
        now_ms = self._clock.monotonic_ms()
        self._mind_standstill(now_ms)
        self._cache.write_when_due(now_ms)
        if self._backlog:
            self._work_off()
        if self.status is OwnerStatus.LIVE and not self._is_suspect:
            self._fire_due(now_ms)
            self._send_outbox(self._checkpoint_upto())
            self._forgive(now_ms)
        if self._in_flight is None and self._is_commit_due(now_ms):
            self._begin_commit()
        elif self._in_flight is None and (ahead := self._batch.records_ahead(self._context.pace)):
            self._log.open_commit(self.claim, ahead)

    def _work_off(self) -> None:
        room = self._room()
        if not room:
            return
        first = self._backlog[0]
        if not self._care.applies_to(first.offset):
            self._take([self._backlog.popleft() for _ in range(min(room, len(self._backlog)))])
        elif self._in_flight is None and (marked := self._care.marked_from(first.offset)):
            self._take([self._backlog.popleft() for _ in range(min(room, marked, len(self._backlog)))])
            self._begin_commit()
        elif self._in_flight is None:
            self._checkpoint = self._care.mark(self._checkpoint, first.offset)
            self._begin_commit()

    def next_wake_ms(self) -> int:
        """How long, in ms from now, there is nothing to do but for new records."""
        now_ms = self._clock.monotonic_ms()
        wake = 100
        if self._backlog and self._room() and self._in_flight is None:
            return 0
        if self._in_flight is not None:
            wake = 1
        elif self._batch.started_at_ms is not None:
            due_ms = (
                0 if self._batch.is_urgent else self._batch.started_at_ms + self._settings.commit_interval_ms
            )
            wake = max(0, due_ms - now_ms, self._context.pace.commit_wait_ms(now_ms))
        due = self.turns.timers.next_due_ms() if self.status is OwnerStatus.LIVE else None
        broker_now = self.turns.clock.now_ms(now_ms)
        if due is not None and broker_now is not None:
            wake = min(wake, max(0, due - broker_now))
        return wake

    def _fire_due(self, now_ms: int) -> None:
        broker_now = self.turns.clock.now_ms(now_ms)
        if broker_now is None:
            return
        for append in self.turns.due(broker_now, now_ms, is_behind=bool(self._backlog)):
            self._log.append(append)

    def _mind_standstill(self, now_ms: int) -> None:
        """A process that stood still may have lost its partition.

        It asks the log before it dispatches anything.
        """
        if now_ms - self._last_tick_ms > self._settings.standstill_ms and self.status is OwnerStatus.LIVE:
            self._is_suspect = True
        self._last_tick_ms = now_ms

    def _forgive(self, now_ms: int) -> None:
        """A process that lives on with this inbox does not die of it."""
        is_due = now_ms - self._live_since_ms >= self._settings.lives_forgiven_ms
        if self._checkpoint.lives and is_due and self._in_flight is None:
            forgiven = msgspec.structs.replace(self._checkpoint, lives=0)
            # Where this owner was careful, stalled runs have not had their other chance yet.
            self._checkpoint = self._revival.prepare(forgiven) if self.turns.isolates_activities else forgiven
            self.turns.isolates_activities = False
            self._begin_commit()

    # --- commit ---

    def _is_commit_due(self, now_ms: int) -> bool:
        batch = self._batch
        if self.status in (OwnerStatus.FENCING, OwnerStatus.LOST, OwnerStatus.CLOSED):
            return False
        if self.status is OwnerStatus.STOPPING or self._is_suspect:
            return True
        if self.turns.outbox.has_settled and batch.started_at_ms is None:
            batch.started_at_ms = now_ms
        if batch.started_at_ms is None or self._context.pace.commit_wait_ms(now_ms):
            return False
        return (
            batch.is_urgent
            or now_ms - batch.started_at_ms >= self._settings.commit_interval_ms
            or batch.inputs >= self._settings.commit_records_max
            or batch.size >= self._settings.commit_bytes_max
        )

    def _begin_commit(self) -> None:
        batch, turns = self._batch, self.turns
        turns.seal(batch, self._settings.purge_records_max)
        if self.status is OwnerStatus.STOPPING:
            self._is_last_commit_sent = True
            self._checkpoint = msgspec.structs.replace(self._checkpoint, lives=0)
        checkpoint = turns.checkpoint(self._checkpoint, batch, self._history_end)
        self._in_flight = (batch, checkpoint)
        self._batch = Batch(batch.number + 1)
        if turns.purges:
            self._batch.started_at_ms = self._clock.monotonic_ms()
        self._encoded = avro.encode_checkpoint(checkpoint)
        self._context.pace.commits(self._clock.monotonic_ms())
        batch.sealed_ns = self._context.measures.now_ns()
        replies = batch.replies(self.claim.partition, self._history_end)
        commit = Commit(batch.records, self._encoded, batch.dead_letters, replies)
        self._log.begin_commit(self.claim, commit)

    def on_commit_result(self, result: CommitResult, wall_clock_ms: int) -> None:
        """The log's answer to the commit that is under way."""
        assert self._in_flight is not None, "a commit result without a commit"
        batch, checkpoint = self._in_flight
        self._in_flight = None
        self._context.measures.commit_ended(batch, result)
        if not isinstance(result, Committed) or not is_behind(checkpoint, result.history_position):
            self.status = OwnerStatus.LOST
            self.lost_reason = why_lost(result, checkpoint)
            return
        now_ms = self._clock.monotonic_ms()
        self.turns.clock.saw_commit(result.timestamp_ms, now_ms)
        position = StorePosition(
            history_topic_id=self._log.identity.history_topic_id,
            history_position=result.history_position,
            written_at_ms=wall_clock_ms,
            checkpoint=self._encoded,
        )
        self._cache.committed(batch, position, now_ms)
        self._history_end = result.history_position
        self._checkpoint = checkpoint
        self._is_suspect = False
        if checkpoint.offset >= checkpoint.trying_offset:
            self._care.survived()
        self.turns.committed(batch)
        if batch.notices:
            self._context.notify(batch.notices)
        self._after_commit(batch, checkpoint, now_ms)

    def _after_commit(self, batch: Batch, checkpoint: Checkpoint, now_ms: int) -> None:
        if self.status is OwnerStatus.FENCING:
            # What comes of it is committed before it has any effect.
            self._revival.go_on(self._batch, self._settings.commit_bytes_max)
            if self._batch.is_empty:
                self._begin_catch_up(checkpoint)
            else:
                self._begin_commit()
        elif self.status is OwnerStatus.LIVE:
            self._send_outbox(batch.out_upto)
            self._revival.go_on(self._batch, self._settings.commit_bytes_max)
            if self._batch.started_at_ms is None and not self._batch.is_empty:
                self._batch.started_at_ms = now_ms
        elif self._is_last_commit_sent and self._batch.is_empty:
            self._close()
            return
        self._log.report_progress(self.claim, checkpoint.offset + 1)
        if now_ms - self._last_trim_ms >= self._settings.trim_interval_ms and checkpoint.offset > 0:
            self._last_trim_ms = now_ms
            # The last processed record stays: the next claim compares it with the checkpoint.
            self._log.trim(self.claim, checkpoint.offset)

    def _begin_catch_up(self, checkpoint: Checkpoint) -> None:
        first = checkpoint.offset + 1
        bound = checkpoint.offset + 1 + checkpoint.uncommitted_records_max
        self._catch_up_end = min(bound, self.claim.inbox_end)
        self.status = OwnerStatus.CATCHING_UP
        # From the last processed record on: others may have come in its place since it was compared.
        self._is_witness_due = checkpoint.offset >= 0
        self._log.follow(self.claim, max(0, checkpoint.offset))
        if first >= self._catch_up_end:
            self._go_live()
        if self._is_stop_asked:
            self.stop()

    def _send_outbox(self, upto: dict[int, int]) -> None:
        if upto:
            self.turns.outbox.send(upto, self._log.append)

    # --- end ---

    def stop(self) -> None:
        """Commits what there is and lets go. `status` tells when that is done."""
        if self.status in (OwnerStatus.LOST, OwnerStatus.CLOSED):
            return
        if self.status is OwnerStatus.FENCING:
            self._is_stop_asked = True
            return
        self.status = OwnerStatus.STOPPING
        self._backlog.clear()

    def abandon(self) -> None:
        """Lets go at once, without a commit: for an owner that is lost, or whose time to stop is over."""
        if self.status is not OwnerStatus.CLOSED:
            self.status = OwnerStatus.LOST
            self._care.outlived()
            self._release()

    def _close(self) -> None:
        self._cache.write()
        self.status = OwnerStatus.CLOSED
        self._release()

    def _release(self) -> None:
        self._care.survived()
        if self.turns is not None:
            self.turns.close()
        self._log.release(self.claim)
        self.store.close()
