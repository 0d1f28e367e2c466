"""Planted bugs, one each: what the simulator must notice, or its silence about the engine means nothing.

Each says what it breaks: an invariant, or an assertion of the engine itself. It counts as noticed only where
the complaint begins with the same.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgspec

from engine.codec import avro
from engine.core import apply as apply_module
from engine.core import decide, limits, turn
from engine.core.awaiting import Mailbox
from engine.core.execution import Execution
from engine.errors import CacheCorruptFault
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from engine.partition import deferred as deferred_module
from engine.partition import keys
from engine.partition import owner as owner_module
from engine.partition import restore as restore_module
from engine.partition import retention as retention_module
from engine.partition import torn as torn_module
from engine.partition.batch import Batch
from engine.partition.cache import Cache
from engine.partition.careful import Care
from engine.partition.changes import Changes
from engine.partition.ingress import Ingress
from engine.partition.marks import Marks, Verdict
from engine.partition.outbox import Outbox
from engine.partition.owner import Owner
from engine.partition.ports import Append, Committed, Doubt
from engine.partition.restore import read_run
from engine.partition.seats import Seats
from engine.partition.timers import BrokerClock
from engine.partition.turns import Turns
from engine.testing.memory_broker import MemoryBroker

Patch = Any


def _replace(target: object, name: str, make: Callable[[Any], Any]) -> Patch:
    return mock.patch.object(target, name, make(getattr(target, name)))


def _no_source_dedup() -> Patch:
    def make(judge: Any) -> Any:
        return lambda self, key, source: (self._sources.__setitem__(key, source.offset), Verdict.NEW)[1]

    return _replace(Marks, "_judge_ingress", make)


def _gap_ignored() -> Patch:
    def make(judge: Any) -> Any:
        def lenient(self: Marks, key: Any, source: Any) -> Verdict:
            if source.offset <= self._sources.get(key, -1):
                return Verdict.DUPLICATE
            self._sources[key] = source.offset
            return Verdict.NEW

        return lenient

    return _replace(Marks, "_judge_ingress", make)


def _no_channel_dedup() -> Patch:
    def make(judge: Any) -> Any:
        def lenient(self: Marks, source: Any) -> Verdict:
            verdict: Verdict = judge(self, source)
            is_channel = hasattr(source, "number")
            return Verdict.NEW if is_channel and verdict is Verdict.DUPLICATE else verdict

        return lenient

    return _replace(Marks, "judge", make)


def _channel_gap_ignored() -> Patch:
    def make(judge: Any) -> Any:
        def lenient(self: Marks, source: Any) -> Verdict:
            if hasattr(source, "number") and judge(self, source) is Verdict.GAP:
                self._received[(source.topic_id, source.partition)] = source.number
                return Verdict.NEW
            return Verdict.NEW if hasattr(source, "number") else judge(self, source)

        return lenient

    return _replace(Marks, "judge", make)


def _cache_before_log() -> Patch:
    def make(begin: Any) -> Any:
        def eager(self: Owner) -> None:
            begin(self)
            assert self._in_flight is not None
            batch, _ = self._in_flight
            self._cache.write()
            position = self.store.position()
            if position is not None:
                end = self._log._broker.history[self.claim.partition].end  # type: ignore[attr-defined]
                ahead = _with(position, history_position=end, checkpoint=self._encoded)
                self.store.write(*batch.changes.writes(), ahead)

        return eager

    return _replace(Owner, "_begin_commit", make)


def _lost_commit_believed() -> Patch:
    """The store is written first, and nobody looks whether history holds the checkpoint it stands for."""

    def make(last: Any) -> Any:
        def believing(self: Any, start: int) -> Any:
            try:
                return last(self, start)
            except CacheCorruptFault:
                return start, avro.decode_checkpoint(self._checkpoint)

        return believing

    return _both(_cache_before_log(), _replace(restore_module._Restore, "_last_checkpoint", make))


def _torn_taken_in() -> Patch:
    def make(last: Any) -> Any:
        def greedy(self: Any, start: int) -> Any:
            _, checkpoint = last(self, start)
            return self._claim.history_end, checkpoint

        return greedy

    return _replace(restore_module._Restore, "_last_checkpoint", make)


def _torn_not_put_back() -> Patch:
    return mock.patch.object(restore_module, "mend", return_value=[])


def _call_id_ignored() -> Patch:
    def lenient(seat: Any, command: Any) -> Any:
        return None if seat.state is None else seat.state.activities.get(command.scheduled)

    return mock.patch.object(decide, "_pending_activity", lenient)


def _attempt_ignored() -> Patch:
    def make(fail: Any) -> Any:
        def lenient(seat: Any, command: Any, now_ms: int) -> Any:
            pending = decide._pending_activity(seat, command)
            if pending is None:
                return fail(seat, command, now_ms)
            return fail(seat, _with(command, attempt=pending.attempt), now_ms)

        return lenient

    lenient = make(decide._fail_activity)
    return mock.patch.dict(decide._DECIDERS, {cm.FailActivity: lenient})


def _with(value: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(value, **changes)


def _fires_early() -> Patch:
    def make(fire: Any) -> Any:
        return lambda seat, command, now_ms: fire(seat, command, max(now_ms, command.due_at_ms))

    return mock.patch.dict(decide._DECIDERS, {cm.FireTimer: make(decide._fire_timer)})


def _stale_timer_fires() -> Patch:
    def fire(seat: Any, command: Any, now_ms: int) -> Any:
        if not seat.is_live or seat.state.run_id != command.run_id or command.timer > seat.state.sequence:
            return decide._fire_timer(seat, command, now_ms)
        if command.timer in seat.state.activities or command.timer in seat.state.children:
            return decide._fire_timer(seat, command, now_ms)
        return ev.TimerFired(timer=command.timer)

    return mock.patch.dict(decide._DECIDERS, {cm.FireTimer: fire})


def _expires_early() -> Patch:
    def expire(seat: Any, command: Any, now_ms: int) -> Any:
        return decide._expire(seat, command, max(now_ms, command.due_at_ms))

    return mock.patch.dict(decide._DECIDERS, {cm.ExpireInstance: expire})


def _expires_another_run() -> Patch:
    def expire(seat: Any, command: Any, now_ms: int) -> Any:
        run = seat.state or seat.stub
        return decide._expire(seat, command if run is None else _with(command, run_id=run.run_id), now_ms)

    return mock.patch.dict(decide._DECIDERS, {cm.ExpireInstance: expire})


def _expiry_not_looked_for_again() -> Patch:
    """What ended before something that was asked for already, by a clock that went back, is passed over."""
    return _ignore(retention_module._Lane, "_go_back")


def _wall_clock_in_a_turn() -> Patch:
    ticks = itertools.count(time.time_ns())

    def make(begin: Any) -> Any:
        def restless(self: Any, *args: Any) -> None:
            begin(self, *args)
            self._now_ms += next(ticks) % 2

        return restless

    return _replace(turn._TurnTaker, "__init__", make)


def _outbox_before_commit() -> Patch:
    def make(collect: Any) -> Any:
        def eager(self: Turns, *args: Any) -> None:
            collect(self, *args)
            if self._is_dispatching:
                self.outbox.send(self.outbox.assigned(), self.eager_append)  # type: ignore[attr-defined]

        return eager

    def remember(begin: Any) -> Any:
        def opened(self: Owner, wall_clock_ms: int) -> Any:
            restored = begin(self, wall_clock_ms)
            self.turns.eager_append = self._log.append  # type: ignore[attr-defined]
            return restored

        return opened

    return _both(_replace(Turns, "collect", make), _replace(Owner, "open", remember))


@contextmanager
def _both(first: Patch, second: Patch) -> Iterator[None]:
    with first, second:
        yield


def _checkpoint_ahead() -> Patch:
    def make(checkpoint: Any) -> Any:
        return lambda self, last, *rest: _with(
            checkpoint(self, last, *rest), offset=self.next_offset - 1 + (self.next_offset > 5)
        )

    return _replace(Turns, "checkpoint", make)


def _checkpoint_ahead_of_the_outbox() -> Patch:
    """What was numbered counts as arrived; the next owner has nothing to send again."""

    def make(marks: Any) -> Any:
        return lambda self: tuple(_with(mark, acknowledged=mark.assigned) for mark in marks(self))

    def drop(unsent: Any) -> Any:
        return lambda records: []

    return _both(_replace(Outbox, "marks", make), _replace(owner_module, "unsent", drop))


def _checkpoint_lags() -> Patch:
    def make(checkpoint: Any) -> Any:
        return lambda self, last, *rest: _with(
            checkpoint(self, last, *rest), offset=max(last.offset, self.next_offset - 2)
        )

    return _replace(Turns, "checkpoint", make)


def _checkpoint_behind() -> Patch:
    def make(begin: Any) -> Any:
        def late(self: Turns, checkpoint: Any) -> None:
            begin(self, checkpoint)
            self._marks = type(self._marks)(None)

        return late

    return _replace(Turns, "begin", make)


def _fence_ignored() -> Patch:
    return mock.patch.object(MemoryBroker, "is_current", return_value=True)


def _dirty_evicted() -> Patch:
    def evict(self: Seats) -> None:
        while len(self._executions) > self._executions_max:
            self._drop_execution(next(iter(self._executions.values())))

    return mock.patch.object(Seats, "_evict", evict)


def _purge_leaves_a_key() -> Patch:
    def make(purge: Any) -> Any:
        def sloppy(self: Batch, progress: Any, count_max: int) -> Any:
            if progress.last_sequence > 3 and progress.next_sequence == 1:
                progress = _with(progress, last_sequence=progress.last_sequence - 1)
            return purge(self, progress, count_max)

        return sloppy

    return _replace(Batch, "purge", make)


def _doubt_taken_for_done() -> Patch:
    def make(result_of: Any) -> Any:
        def hopeful(self: Owner, result: Any, wall_clock_ms: int) -> None:
            if isinstance(result, Doubt) and self._in_flight is not None:
                checkpoint = self._in_flight[1]
                end = self._log._broker.history[self.claim.partition].end  # type: ignore[attr-defined]
                end = max(end, checkpoint.history_end + checkpoint.records)
                result = Committed(end, self._log._broker.now_ms)  # type: ignore[attr-defined]
            result_of(self, result, wall_clock_ms)

        return hopeful

    return _replace(Owner, "on_commit_result", make)


def _activity_before_the_fence() -> Patch:
    def make(start: Any) -> Any:
        def eager(self: Owner) -> None:
            start(self)
            self.turns.dispatch_open()

        return eager

    return _replace(Owner, "start", make)


def _outbox_never_resent() -> Patch:
    def make(send: Any) -> Any:
        def once(self: Outbox, upto: Any, append: Any) -> None:
            for channel in self._channels.values():
                if channel.has_failed and not channel.in_flight:
                    channel.has_failed = False
                    channel.sent.clear()
            send(self, upto, append)

        return once

    return _replace(Outbox, "send", make)


def _saved_events_lost() -> Patch:
    def make(proposed: Any) -> Any:
        return lambda self, payload, *, save_events: proposed(self, payload, save_events=False)

    return _replace(Execution, "propose_continuation", make)


def _held_in_reverse() -> Patch:
    def make(resume: Any) -> Any:
        def reversed_resume(self: Execution, recorded: Any) -> None:
            self._held.reverse()
            resume(self, recorded)

        return reversed_resume

    return _replace(Execution, "_resume", make)


def _stale_store_believed() -> Patch:
    def make(start: Any) -> Any:
        def believing(self: Any) -> int:
            position: int = start(self)
            return position if self._is_rebuild else max(position, self._claim.history_end - 3)

        return believing

    return _replace(restore_module._Restore, "_start", make)


def _torn_only_put_back() -> Patch:
    def make(mended: Any) -> Any:
        def mend_touched(records: Any, events: Any) -> Any:
            return mended(records, {r.key: events[r.key] for r in records if r.key in events})

        return mend_touched

    return _replace(torn_module, "_mended_run", make)


def _history_clock_believed() -> Patch:
    def believe(self: BrokerClock, timestamp_ms: int, monotonic_ms: int) -> None:
        self._ahead_ms = timestamp_ms - monotonic_ms

    return mock.patch.object(BrokerClock, "saw_commit", believe)


def _new_run_inherits_time() -> Patch:
    def make(begin: Any) -> Any:
        def inheriting(self: Any, seat: Any, *args: Any) -> None:
            begin(self, seat, *args)
            if seat.state is not None:
                self._now_ms = max(self._now_ms, seat.state.last_event_at_ms)

        return inheriting

    return _replace(turn._TurnTaker, "__init__", make)


def _stub_lost_on_reuse() -> Patch:
    def make(changes: Any) -> Any:
        def deleting(self: Changes) -> Any:
            puts, deletes = changes(self)
            return puts, [*deletes, *map(keys.stub_key, self._gone_stubs)]

        return deleting

    return _replace(Changes, "writes", make)


def _unwritten_stub_overlooked() -> Patch:
    return mock.patch.object(Changes, "stub", return_value=(False, None))


def _history_without_unwritten() -> Patch:
    return mock.patch.object(
        Cache, "history", lambda self, instance_id, run_id: read_run(self._store, instance_id, run_id)
    )


def _ignore(target: object, name: str) -> Patch:
    return mock.patch.object(target, name, return_value=None)


def _event_left_out() -> Patch:
    def make(add: Any) -> Any:
        def sloppy(self: Batch, events: Any, sequence: int, record: Any) -> None:
            if avro.kind_of(record[1]) == "CustomStatusSet":
                return
            add(self, events, sequence, record)

        return sloppy

    return _replace(Batch, "add_event", make)


def _activities_not_begun_again() -> Patch:
    def make(effects: Any) -> Any:
        return lambda state: [each for each in effects(state) if not isinstance(each, ef.RunActivity)]

    return _replace(deferred_module, "open_effects", make)


def _timers_not_armed_again() -> Patch:
    def make(effects: Any) -> Any:
        return lambda state: [each for each in effects(state) if isinstance(each, ef.RunActivity)]

    return _replace(deferred_module, "open_effects", make)


def _equal_events_merged() -> Patch:
    def make(offer: Any) -> Any:
        def merging(self: Mailbox, name: str, data: Any) -> Any:
            queue = self._unconsumed.get(name.casefold())
            if queue and queue[-1][1] == data:
                return None
            return offer(self, name, data)

        return merging

    return _replace(Mailbox, "offer", make)


def _status_not_shown() -> Patch:
    return mock.patch.dict(apply_module._APPLIERS, {ev.CustomStatusSet: lambda state, recorded: None})


def _suspension_not_shown() -> Patch:
    return mock.patch.dict(apply_module._APPLIERS, {ev.InstanceSuspended: lambda state, recorded: None})


def _inbox_not_verified() -> Patch:
    return _ignore(owner_module, "verify")


def _end_not_compared() -> Patch:
    return _both(
        mock.patch.object(owner_module, "is_behind", return_value=True),
        mock.patch.object(restore_module, "is_behind", return_value=True),
    )


def _witness_not_compared() -> Patch:
    return mock.patch.object(owner_module, "after_witness", lambda claim, checkpoint, records: records)


def _sum_not_compared() -> Patch:
    return _ignore(restore_module._Restore, "_verify")


def _never_quarantined() -> Patch:
    return mock.patch.object(owner_module, "poison_offset", return_value=None)


def _watchdog_through_the_inbox() -> Patch:
    """The verdict on a crash pill as an input like any other: it comes behind the record that kills."""

    def make(begin: Any) -> Any:
        def detour(self: Owner, wall_clock_ms: int) -> Any:
            restored = begin(self, wall_clock_ms)
            poison, self._poison = self._poison, None
            if poison is not None:
                instance_id = poison.key.decode("utf-8", "replace")
                verdict = avro.encode_command(cm.TerminateInstance(instance_id=instance_id))
                self._log.append(Append(self.claim.partition, poison.key, verdict))
            return restored

        return detour

    return _replace(Owner, "open", make)


def _never_careful() -> Patch:
    return mock.patch.object(Care, "applies_to", return_value=False)


def _bound_of_uncommitted_ignored() -> Patch:
    return mock.patch.object(Owner, "_room", return_value=1_000_000)


def _executions_kept() -> Patch:
    return _ignore(Seats, "_evict")


def _purge_at_once() -> Patch:
    def make(purge: Any) -> Any:
        return lambda self, progress, count_max: purge(self, progress, 1_000_000)

    return _replace(Batch, "purge", make)


def _oversize_taken() -> Patch:
    return mock.patch.object(limits, "RECORD_BYTES_MAX", 10_000_000)


def _refusal_says_nothing() -> Patch:
    def make(refusal: Any) -> Any:
        return lambda self, record, reason, detail: refusal(self, record, reason, "too large")

    return _replace(Ingress, "_refusal", make)


def _stall_not_on_record() -> Patch:
    def make(defer: Any) -> Any:
        def silent(self: Any, state: Any, stall: Any) -> Any:
            state.stall = stall[0]
            return self.turn

        return silent

    return _replace(turn._TurnTaker, "_defer", make)


def _ingress_forgets_a_failure() -> Patch:
    def make(done: Any) -> Any:
        def hopeful(self: Ingress, sent: Any, target: int, outcome: Any) -> None:
            done(self, sent, target, outcome)
            self._has_failed = False
            sent.is_done = True

        return hopeful

    return _replace(Ingress, "_done", make)


def _replies_told_again() -> Patch:
    def make(replies: Any) -> Any:
        def repeating(self: Batch, partition: int, history_end: int) -> Any:
            told = replies(self, partition, history_end)
            return [*told, *told[:1]]

        return repeating

    return _replace(Batch, "replies", make)


def _replies_before_their_history() -> Patch:
    """Told as of where history ends when the commit begins: its reader may look a moment too early."""

    def make(replies: Any) -> Any:
        def early(self: Batch, partition: int, history_end: int) -> Any:
            return replies(self, partition, history_end - len(self.records))

        return early

    return _replace(Batch, "replies", make)


def _refusals_not_told() -> Patch:
    def make(answer: Any) -> Any:
        return lambda self, record, rejected, *more: rejected or answer(self, record, rejected, *more)

    return _replace(Batch, "answer", make)


def _dead_letter_lost() -> Patch:
    return _ignore(Turns, "_dead_letter")


def _terminal_twice() -> Patch:
    """A run that ended can be raised events, for its seat is still in memory."""

    def raise_event(seat: Any, command: Any, now_ms: int) -> Any:
        if seat.state is not None:
            return ev.EventRaised(name=command.name, data=command.data)
        return decide._raise_event(seat, command, now_ms)

    relaxed = mock.patch.object(apply_module, "next_phase", _lenient(apply_module.next_phase))
    return _both(mock.patch.dict(decide._DECIDERS, {cm.RaiseEvent: raise_event}), relaxed)


def _lenient(strict: Any) -> Any:
    def next_phase(phase: Any, event: Any) -> Any:
        return phase if type(event) is ev.EventRaised else strict(phase, event)

    return next_phase


def _claim_without_a_fence() -> Patch:
    """A claim that takes the epochs as they are: whoever had them before still commits."""

    def fence(self: MemoryBroker, partition: int) -> tuple[int, int]:
        return self.epochs[partition][0], self.epochs[partition][1]

    return mock.patch.object(MemoryBroker, "fence", fence)


class Mutant(msgspec.Struct, frozen=True):
    """How to plant the bug, what it breaks, and, where it needs a rare meeting of faults, which."""

    breaks: str
    plant: Callable[[], Patch]
    focus: tuple[str, ...] = ()


_TORN = ("commit torn", "crash", "store deleted", "store stale", "compaction")
_PILLS = ("crash pill", "crash")
_CHANGES = ("code changed", "crash")
_CLOCKS = ("clock step", "leader moves", "crash")

MUTANTS: dict[str, Mutant] = {
    "no source dedup": Mutant("I1", _no_source_dedup),
    "source gap ignored": Mutant("I1", _gap_ignored, ("append lost", "append late")),
    "marks forgotten at a claim": Mutant("I1", _checkpoint_behind),
    "replies told again": Mutant("I1", _replies_told_again),
    "refusals not told": Mutant("I1", _refusals_not_told),
    "reply ahead of its history": Mutant("I7", _replies_before_their_history),
    "dead letters lost": Mutant("I1", _dead_letter_lost),
    "ingress forgets a failure": Mutant("I1", _ingress_forgets_a_failure),
    "failed outbox never resent": Mutant("I1", _outbox_never_resent),
    "purge leaves a key": Mutant("I2", _purge_leaves_a_key),
    "event left out of a commit": Mutant("I2", _event_left_out),
    "events after the end": Mutant("I6", _terminal_twice, ("commit slow",)),
    "torn runs put back in part": Mutant("I8", _torn_only_put_back, _TORN),
    "result matched by position": Mutant("I3", _call_id_ignored, _CHANGES),
    "attempt ignored": Mutant("I3", _attempt_ignored),
    "activities not begun again": Mutant("I3", _activities_not_begun_again),
    "saved events lost": Mutant("I4", _saved_events_lost),
    "held events reversed": Mutant("I4", _held_in_reverse),
    "equal events merged": Mutant("I4", _equal_events_merged),
    "timer fires early": Mutant("I5", _fires_early),
    "stale timer fires": Mutant("I5", _stale_timer_fires),
    "timers not armed again": Mutant("I5", _timers_not_armed_again),
    "expires early": Mutant("I5", _expires_early, _CLOCKS),
    "expires another run": Mutant("I5", _expires_another_run, ("append late", "append twice")),
    "expiry not looked for again": Mutant("I5", _expiry_not_looked_for_again, _CLOCKS),
    "wall clock in a turn": Mutant("I6", _wall_clock_in_a_turn),
    "new run inherits the old one's time": Mutant("I6", _new_run_inherits_time, _CLOCKS),
    "no channel dedup": Mutant("I6", _no_channel_dedup),
    "channel gap ignored": Mutant("I6", _channel_gap_ignored),
    "dirty executions evicted": Mutant("AssertionError", _dirty_evicted, ("commit slow",)),
    "status not shown": Mutant("I7", _status_not_shown),
    "suspension not shown": Mutant("I7", _suspension_not_shown),
    "cache before log": Mutant("I8", _lost_commit_believed),
    "stub lost on reuse": Mutant("I8", _stub_lost_on_reuse),
    "unwritten stub overlooked": Mutant("I8", _unwritten_stub_overlooked),
    "history without what is unwritten": Mutant("AssertionError", _history_without_unwritten),
    "stale store believed": Mutant("I8", _stale_store_believed),
    "unbounded history read": Mutant("I8", _torn_taken_in, _TORN),
    "torn records not put back": Mutant("I8", _torn_not_put_back, _TORN),
    "inbox not verified": Mutant("I8", _inbox_not_verified, ("inbox tail lost",)),
    "count and sum not compared": Mutant("I8", _sum_not_compared, ("store key lost", "crash")),
    "history's end not compared": Mutant("I8", _end_not_compared, ("history tail lost",)),
    "witness not compared": Mutant("I8", _witness_not_compared, ("inbox tail lost", "rebalance")),
    "no epoch check": Mutant("I9", _fence_ignored),
    "claim without a fence": Mutant("I9", _claim_without_a_fence),
    "doubt taken for done": Mutant("I9", _doubt_taken_for_done),
    "poison never quarantined": Mutant("I10", _never_quarantined, _PILLS),
    "watchdog through the inbox": Mutant("I10", _watchdog_through_the_inbox, _PILLS),
    "never careful": Mutant("I10", _never_careful, _PILLS),
    "bound of uncommitted records ignored": Mutant("I11", _bound_of_uncommitted_ignored),
    "executions never let go": Mutant("I11", _executions_kept),
    "purge in one commit": Mutant("I11", _purge_at_once),
    "oversize commands taken": Mutant("I11", _oversize_taken, ("oversize command",)),
    "refusal without a reason": Mutant("I11", _refusal_says_nothing, ("oversize command",)),
    "history's clock believed": Mutant("I11", _history_clock_believed, _CLOCKS),
    "outbox sent before commit": Mutant("I12", _outbox_before_commit),
    "activities before the fence": Mutant("I12", _activity_before_the_fence),
    "checkpoint behind its effects": Mutant("I8", _checkpoint_lags),
    "checkpoint one ahead": Mutant("I8", _checkpoint_ahead),
    "checkpoint ahead of the outbox": Mutant("I1", _checkpoint_ahead_of_the_outbox),
    "stall not on record": Mutant("I1", _stall_not_on_record, _CHANGES),
}
