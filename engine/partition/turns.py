"""Inbox records to turns, and turns to what a commit will hold: the deterministic part of an owner.

Everything here is a function of the inbox prefix, the committed history and the code: whoever owns the
partition next derives the same.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from engine.codec import avro
from engine.codec.topics import partition_of
from engine.core.apply import account, key_digest
from engine.core.turn import (
    Moment,
    Turn,
    needs_execution,
    quarantine,
    take_turn,
)
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model.checkpoint import Checkpoint, PurgeProgress
from engine.model.events import InstanceStalled
from engine.model.ids import run_id_of_start
from engine.model.state import InstanceState, stub_of
from engine.partition.batch import Batch, KeyCount, digest_of_record
from engine.partition.context import OwnerContext
from engine.partition.deferred import undecided
from engine.partition.marks import Marks, Verdict, source_of
from engine.partition.notices import Notice, Stalls, dead_letter
from engine.partition.outbox import Outbox
from engine.partition.ports import Append, Identity, Record
from engine.partition.retention import Retention
from engine.partition.seats import Seats
from engine.partition.timers import BrokerClock, Timers, firing_of, is_wanted

# Refusals that nobody outside has to hear of: a result or timer that came too late, or twice.
_SILENT = frozenset({ef.Reason.UNKNOWN_CALL, ef.Reason.SUPERSEDED})
_RESULTS = frozenset({cm.CompleteActivity, cm.FailActivity})
_STARTS = (cm.StartInstance, cm.StartChild)
PURGES_MAX = 500


class Turns:
    """The turns of one partition."""

    def __init__(
        self, partition: int, identity: Identity, seats: Seats, outbox: Outbox, context: OwnerContext
    ) -> None:
        self.partition = partition
        self.seats = seats
        self.outbox = outbox
        self.retention = Retention(partition, seats.cache, context.settings)
        self.timers = Timers()
        self.clock = BrokerClock()
        self.measures = context.measures
        self.counters = context.measures.partition(partition)
        self._operations = context.measures.operations
        self.stalls = Stalls()
        self._stall_reasons = self.stalls.reasons
        # The broker's time as these turns begin, as far as it is known.
        self.broker_now_ms = 0
        self.next_offset = 0
        self.purges: list[PurgeProgress] = []
        self._identity = identity
        self._timers_max = context.settings.timers_per_tick_max
        self.registry = context.registry
        self._run_activity = context.run_activity
        self._exam = context.exam
        self._warn = context.warn
        self.isolates_activities = False
        # Attempts begun here whose outcome has not come back as a record.
        self.calls_open = 0
        self._marks = Marks(None)
        self._keys = KeyCount()
        self._is_dispatching = False
        self._last: Record | None = None

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """Takes over where the checkpoint says."""
        self._marks = Marks(checkpoint)
        if checkpoint is not None:
            self.next_offset = checkpoint.offset + 1
            self.purges = list(checkpoint.purges)
            self._keys = KeyCount(checkpoint.key_count, int.from_bytes(checkpoint.key_sum, "big"))
        for seat in self.seats:
            self.stalls.mind(seat)

    # --- one record ---

    def expect(self, records: list[Record], monotonic_ms: int) -> None:
        """Prepares for these records: fetches what they will need from the store, in one go."""
        first_ms = records[0].timestamp_ms
        self.broker_now_ms = self.clock.now_ms(monotonic_ms) or first_ms
        self.measures.turns_begin(self.counters, self.broker_now_ms - first_ms)
        self.seats.prefetch(record.key.decode("utf-8", "replace") for record in records)

    def take(self, record: Record, batch: Batch) -> None:
        """One record, one turn; or none, where it is a duplicate or can't be read."""
        self.next_offset = record.offset + 1
        self._last = record
        batch.inputs += 1
        self._exam.turns += 1
        source = source_of(record)
        if source is not None:
            verdict = self._marks.judge(source)
            if verdict is Verdict.DUPLICATE:
                self.counters.duplicates += 1
                return
            if verdict is Verdict.GAP:
                self.counters.gaps += 1
                return
        try:
            command = avro.decode_command(record.value or b"")
        except avro.UndecodableError as error:
            self._dead_letter(batch, record, ef.Rejected(error.reason, error.detail), None)
            return
        if type(command) in _RESULTS and self.calls_open:
            self.calls_open -= 1
        turn = self._turn(command, record)
        if turn.is_early and self._is_dispatching:
            self.clock.early_at_ms = record.timestamp_ms
            if type(command) is cm.ExpireInstance:
                self.retention.came_early()
        self.collect(turn, batch)
        if turn.rejected is not None:
            self.refuse(batch, record, command, turn.rejected)
        elif len(record.headers) > 1:
            batch.answer(record, None, turn.recorded)
        if turn.is_purged and type(command) is cm.ExpireInstance:
            self.counters.expired += 1
        counts = self._operations.get(type(command))
        if counts is not None:
            counts[turn.rejected is not None] += 1

    def _turn(self, command: cm.Command, record: Record) -> Turn:
        seat = self.seats.seat(command.instance_id)
        if needs_execution(seat, command):
            self.counters.replays += 1
            self.seats.replay(seat)
        return take_turn(seat, command, self._moment(record, command), self.registry)

    def _moment(self, record: Record, command: cm.Command) -> Moment:
        new_run_id = ""
        if isinstance(command, _STARTS):
            self.measures.started(command.workflow, self.broker_now_ms - record.timestamp_ms)
            new_run_id = run_id_of_start(
                self._identity.inbox_topic_id, self.partition, record.offset, record.timestamp_ms
            )
        return Moment(
            offset=record.offset,
            timestamp_ms=record.timestamp_ms,
            new_run_id=new_run_id,
            record=record.value or b"",
        )

    def collect(self, turn: Turn, batch: Batch) -> None:
        """What a turn came to, as records of the batch and, where this owner dispatches, in the world."""
        seat, state = turn.seat, turn.seat.state
        self.counters.turns += 1
        past_sums: dict[str, int] = {}
        self._collect_events(turn, batch, past_sums)
        if state is not None and state.is_finished and turn.recorded:
            batch.changes.finish_run(stub_of(state))
            self.measures.run_ended(state)
        if self._stall_reasons or (state is not None and state.stall is not None):
            self.stalls.mind(seat)
        for effect in turn.effects:
            _COLLECTORS[type(effect)](self, effect, batch, past_sums)
        if turn.recorded or turn.is_purged:
            self.counters.events += len(turn.recorded)
            batch.touched.add(seat.instance_id)
            self.seats.touched(seat, batch.number)

    def _collect_events(self, turn: Turn, batch: Batch, past_sums: dict[str, int]) -> None:
        """Each event as a record, and its term in the sums. `past_sums` takes those of runs that are over."""
        instance_id, state, run_id = turn.seat.instance_id, turn.seat.state, ""
        prefix, events = "", []
        for recorded in turn.recorded:
            if recorded.run_id != run_id:
                run_id = recorded.run_id
                prefix, events = f"{instance_id}|{run_id}|", batch.changes.events_of((instance_id, run_id))
            key = f"{prefix}{recorded.sequence}".encode()
            value = avro.encode_event(instance_id, recorded)
            digest = key_digest(key, value)
            self._keys.add(digest)
            batch.add_event(events, recorded.sequence, (key, value))
            if state is not None and run_id == state.run_id:
                account(state, len(value), digest)
            else:
                past_sums[run_id] = past_sums.get(run_id, 0) + digest
            if type(recorded.event) is InstanceStalled and state is not None:
                self._stalled(batch, state, recorded.event.reason)

    def _stalled(self, batch: Batch, state: InstanceState, reason: str) -> None:
        self.measures.stalled(state.workflow, reason)
        notice = Notice(
            what="instance stalled",
            reason=reason,
            instance_id=state.instance_id,
            run_id=state.run_id,
            partition=self.partition,
            offset=self.next_offset - 1,
        )
        batch.notices.append(notice)

    # --- effects ---

    def _collect_activity(self, effect: ef.RunActivity, batch: Batch, past_sums: dict[str, int]) -> None:
        if self._is_dispatching:
            self.calls_open += 1
            self._run_activity(effect, self.partition, self.isolates_activities)

    def _collect_timer(self, effect: ef.ArmTimer, batch: Batch, past_sums: dict[str, int]) -> None:
        if self._is_dispatching:
            self.timers.arm(effect)

    def _collect_message(self, effect: ef.SendMessage, batch: Batch, past_sums: dict[str, int]) -> None:
        instance_id = effect.message.instance_id
        target = partition_of(instance_id, self._identity.partitions)
        message = self.outbox.number(target, instance_id.encode(), avro.encode_command(effect.message))
        message.digest = key_digest(message.record_key, message.value)
        self._keys.add(message.digest)
        batch.add_message(target, message)

    def _collect_purge(self, effect: ef.PurgeRun, batch: Batch, past_sums: dict[str, int]) -> None:
        run = effect.run
        self._keys.remove(run.key_sum + past_sums.get(run.run_id, 0), run.last_sequence)
        batch.changes.forget_run(run)
        self.purges.append(
            PurgeProgress(
                instance_id=run.instance_id,
                run_id=run.run_id,
                next_sequence=1,
                last_sequence=run.last_sequence,
            )
        )
        # The first tombstone goes with this commit: a restore that meets it drops the whole run. The
        # checkpoint names every purge under way, so their number is bounded too.
        self._purge(batch, 1 if len(self.purges) <= PURGES_MAX else run.last_sequence)

    def _collect_end(self, effect: ef.RunEnded, batch: Batch, past_sums: dict[str, int]) -> None:
        batch.is_urgent = True

    def _purge(self, batch: Batch, count_max: int) -> None:
        progress = batch.purge(self.purges.pop(), count_max)
        if progress is not None:
            self.purges.append(progress)

    # --- refusals ---

    def refuse(self, batch: Batch, record: Record, command: cm.Command, rejected: ef.Rejected) -> None:
        """Lets those know of a refusal who have to."""
        if rejected.reason in _SILENT:
            self.counters.orphans += 1
            return
        if isinstance(command, cm.StartChild):
            return  # its parent is told
        self._dead_letter(batch, record, rejected, command)

    def _dead_letter(
        self, batch: Batch, record: Record, rejected: ef.Rejected, command: cm.Command | None
    ) -> None:
        self.measures.dead_letters[rejected.reason.value] += 1
        letter, notice = dead_letter(self.partition, record, rejected, command)
        batch.dead_letters.append(letter)
        batch.notices.append(notice)
        batch.answer(record, rejected)

    # --- commits ---

    def seal(self, batch: Batch, purge_records_max: int) -> None:
        """Adds what isn't any record's doing: slices of purges, and the end of messages that have arrived."""
        left = purge_records_max
        while self.purges and left > 0:
            before = len(batch.records)
            self._purge(batch, left)
            left -= len(batch.records) - before
        for message in self.outbox.take_settled():
            self._keys.remove(message.digest)
            batch.drop_message(message)

    def checkpoint(self, last: Checkpoint, batch: Batch, history_end: int) -> Checkpoint:
        """What is true with this batch, whose records all come behind `history_end`."""
        record = self._last
        return msgspec.structs.replace(
            last,
            batch=batch.number,
            records=len(batch.records) + 1,
            offset=self.next_offset - 1,
            timestamp_ms=last.timestamp_ms if record is None else record.timestamp_ms,
            digest=last.digest if record is None else digest_of_record(record),
            sources=self._marks.sources(),
            received=self._marks.received(),
            outbox=self.outbox.marks(),
            purges=tuple(self.purges),
            key_count=self._keys.count,
            key_sum=self._keys.total.to_bytes(8, "big"),
            history_end=history_end,
        )

    def committed(self, batch: Batch) -> None:
        """The batch is in log and store."""
        self.seats.committed(batch.touched, batch.number)

    # --- dispatch ---

    def dispatch_open(self) -> None:
        """From here on effects are felt; what earlier owners left open begins (again)."""
        self._is_dispatching = True
        for seat in self.seats:
            state = seat.state
            if state is None or state.is_finished:
                continue
            for effect in undecided(state, partial(self.seats.history, seat)):
                if isinstance(effect, ef.RunActivity):
                    self._run_activity(effect, self.partition, self.isolates_activities)
                elif isinstance(effect, ef.ArmTimer):
                    self.timers.arm(effect)

    def due(self, broker_now_ms: int, monotonic_ms: int, *, is_behind: bool) -> list[Append]:
        """The appends that fire what is due and still wanted; retention waits for an owner that is behind."""
        appends: list[Append] = []
        for timer in self.timers.take_due(broker_now_ms, self._timers_max):
            seat = self.seats.seat(timer.instance_id)
            if seat.state is None or not is_wanted(seat.state, timer):
                continue
            self.counters.timers_fired += 1
            self.measures.timer_late_ms.observe(max(0, broker_now_ms - timer.due_at_ms))
            appends.append(firing_of(timer, self.partition))
        if not is_behind:
            appends += self.retention.due(broker_now_ms, monotonic_ms, len(self.purges))
        return appends

    def quarantine(self, record: Record, batch: Batch) -> None:
        """A record that has killed its owners stalls its instance.

        One without an instance is a dead letter.
        """
        self.next_offset = record.offset + 1
        self._last = record
        batch.inputs += 1
        source = source_of(record)
        if source is not None and self._marks.judge(source) is not Verdict.NEW:
            return
        try:
            command = avro.decode_command(record.value or b"")
        except avro.UndecodableError as error:
            self._dead_letter(batch, record, ef.Rejected(error.reason, error.detail), None)
            return
        seat = self.seats.seat(command.instance_id)
        turn = quarantine(seat, command, self._moment(record, command), self.registry)
        self.collect(turn, batch)
        if turn.rejected is not None:
            self.refuse(batch, record, command, turn.rejected)
        else:
            batch.answer(record, None, turn.recorded)

    def close(self) -> None:
        """Lets every generator end."""
        self.seats.close()


_COLLECTORS: dict[type, Callable[[Turns, object, Batch, dict[str, int]], None]] = {
    ef.RunActivity: Turns._collect_activity,  # type: ignore[dict-item]
    ef.ArmTimer: Turns._collect_timer,  # type: ignore[dict-item]
    ef.SendMessage: Turns._collect_message,  # type: ignore[dict-item]
    ef.PurgeRun: Turns._collect_purge,  # type: ignore[dict-item]
    ef.RunEnded: Turns._collect_end,  # type: ignore[dict-item]
    ef.Warn: lambda turns, warning, *_: turns._warn(warning),
}
