"""Planted bugs, one each: what the simulator must notice, or its silence about the engine means nothing."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgspec

from engine.core import decide, turn
from engine.core.execution import Execution
from engine.model import commands as cm
from engine.model import events as ev
from engine.partition import owner as owner_module
from engine.partition import restore as restore_module
from engine.partition import torn as torn_module
from engine.partition.batch import Batch
from engine.partition.marks import Marks, Verdict
from engine.partition.outbox import Outbox
from engine.partition.owner import Owner
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
            position = self._store.position()
            if position is not None:
                end = self._log._broker.history[self.claim.partition].end  # type: ignore[attr-defined]
                ahead = _with(position, history_position=end, checkpoint=self._encoded)
                self._store.write(*batch.store_changes(), ahead)

        return eager

    return _replace(Owner, "_begin_commit", make)


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

    return _both(_replace(Turns, "_collect", make), _replace(Owner, "open", remember))


@contextmanager
def _both(first: Patch, second: Patch) -> Iterator[None]:
    with first, second:
        yield


def _checkpoint_ahead() -> Patch:
    def make(checkpoint: Any) -> Any:
        return lambda self, last, batch: _with(
            checkpoint(self, last, batch), offset=self.next_offset - 1 + (self.next_offset > 5)
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
            if isinstance(result, owner_module.Doubt):
                end = self._log._broker.history[self.claim.partition].end  # type: ignore[attr-defined]
                result = owner_module.Committed(end, self._log._broker.now_ms)  # type: ignore[attr-defined]
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
        def deleting(self: Batch) -> Any:
            puts, _ = changes(self)
            return puts, list(self._deletes)

        return deleting

    return _replace(Batch, "store_changes", make)


MUTANTS: dict[str, Callable[[], Patch]] = {
    "no source dedup": _no_source_dedup,
    "source gap ignored": _gap_ignored,
    "no channel dedup": _no_channel_dedup,
    "channel gap ignored": _channel_gap_ignored,
    "cache before log": _cache_before_log,
    "torn records taken in": _torn_taken_in,
    "torn records not put back": _torn_not_put_back,
    "torn runs put back in part": _torn_only_put_back,
    "history's clock believed": _history_clock_believed,
    "new run inherits the old one's time": _new_run_inherits_time,
    "stub lost on reuse": _stub_lost_on_reuse,
    "call id ignored": _call_id_ignored,
    "attempt ignored": _attempt_ignored,
    "timer fires early": _fires_early,
    "stale timer fires": _stale_timer_fires,
    "wall clock in a turn": _wall_clock_in_a_turn,
    "outbox sent before commit": _outbox_before_commit,
    "checkpoint one ahead": _checkpoint_ahead,
    "marks forgotten at a claim": _checkpoint_behind,
    "fence ignored": _fence_ignored,
    "dirty executions evicted": _dirty_evicted,
    "purge leaves a key": _purge_leaves_a_key,
    "doubt taken for done": _doubt_taken_for_done,
    "activities before the fence": _activity_before_the_fence,
    "failed outbox never resent": _outbox_never_resent,
    "saved events lost": _saved_events_lost,
    "held events reversed": _held_in_reverse,
    "stale store believed": _stale_store_believed,
}

# Bugs that need a rare meeting of faults are looked for where those are common.
FOCUS: dict[str, tuple[str, ...]] = {
    "torn runs put back in part": ("commit torn", "crash", "store deleted", "store stale", "compaction"),
}
