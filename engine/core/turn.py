"""One message taken to all its consequences: decide, apply, observe, record, until the code is quiet."""

from collections.abc import Iterable

import msgspec

from engine.core import limits
from engine.core.apply import apply
from engine.core.consequences import FOLLOW, RECORDERS, arm, fail_child, terminate_child
from engine.core.decide import Early, Purge, Seat, decide
from engine.core.execution import Execution
from engine.core.proposals import ENDS
from engine.core.registry import Registry
from engine.errors import NonDeterminismError
from engine.model import actions as ac
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.failure import cut, failure_of
from engine.model.ids import run_id_of_continuation
from engine.model.state import InstanceState, RunStub, stub_of

STALL_NONDETERMINISM = "NonDeterminism"
STALL_HISTORY_LIMIT = "HistoryLimitExceeded"
STALL_CRASHED = "WorkerCrashed"

# A stalled run still obeys these; everything else is deferred until it can go on.
_HEEDED_WHEN_STALLED = frozenset(
    {
        cm.TerminateInstance,
        cm.TerminateChild,
        cm.ExpireInstance,
        cm.PurgeInstance,
        cm.PurgeChild,
        cm.StartInstance,
        cm.StartChild,
        cm.RefuseRecord,
    }
)

_WITH_INPUT = frozenset({ac.CallActivity, ac.CallChild})


class Moment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The inbox record that a turn answers: everything a turn knows of the world."""

    offset: int
    timestamp_ms: int
    new_run_id: str
    record: bytes


class Turn(msgspec.Struct, gc=False, kw_only=True):
    """What one message came to. `seat` holds the state after it."""

    seat: Seat
    recorded: list[ev.Recorded] = []
    effects: list[ef.Effect] = []
    rejected: ef.Rejected | None = None
    is_purged: bool = False
    is_early: bool = False


def take_turn(seat: Seat, command: cm.Command, moment: Moment, registry: Registry) -> Turn:
    """Takes `command` to the instance in `seat`, in place.

    The seat must have its execution, or a replay error.
    """
    return _TurnTaker(seat, moment, registry).take(command)


def needs_execution(seat: Seat, command: cm.Command) -> bool:
    """Whether the history must be replayed before this turn."""
    state = seat.state
    if state is None or seat.execution is not None or state.is_finished or state.stall is not None:
        return False
    return type(command) not in _HEEDED_WHEN_STALLED


def replay(registry: Registry, instance_id: str, history: Iterable[ev.Recorded]) -> Execution:
    """An execution as it stood after `history`.

    Raises NonDeterminismError where the code does other things.
    """
    execution = Execution(registry, instance_id)
    execution.is_replaying = True
    events = list(history)
    execution.known_patches = frozenset(r.event.name for r in events if type(r.event) is ev.PatchApplied)
    try:
        for recorded in events:
            execution.observe(recorded)
        execution.finish_replay()
    except NonDeterminismError:
        execution.close()
        raise
    return execution


def unstall(seat: Seat, moment: Moment, registry: Registry) -> Turn:
    """Ends the stall of the run in `seat`, whose execution could be replayed again."""
    seat.replay_error = None
    taker = _TurnTaker(seat, moment, registry)
    taker.add(ev.InstanceUnstalled())
    return taker.turn


def quarantine(seat: Seat, command: cm.Command, moment: Moment, registry: Registry) -> Turn:
    """The turn of a record that must not be tried again.

    A stall, or a refusal where there is no run to stall.
    """
    taker = _TurnTaker(seat, moment, registry)
    detail = f"{type(command).__name__} ended the worker's process three times; mend the code and restart"
    return taker.quarantine(command, detail)


def full_of_deferred(state: InstanceState) -> str | None:
    """Why a stalled run can keep no further input for later, None where it can."""
    if state.deferred >= limits.DEFERRED_INPUTS_MAX:
        most, there, what = limits.DEFERRED_INPUTS_MAX, state.deferred, "inputs deferred by a stall"
    elif state.history_bytes >= limits.HISTORY_BYTES_MAX:
        most, there, what = limits.HISTORY_BYTES_MAX, state.history_bytes, "bytes of history"
    else:
        return None
    return f"expected at most {most:,} {what}, but there are {there:,}"


class _TurnTaker:
    """The work of one turn."""

    __slots__ = ("_continuations", "_continued_bytes", "_moment", "_now_ms", "_registry", "seat", "turn")

    def __init__(self, seat: Seat, moment: Moment, registry: Registry) -> None:
        self.seat = seat
        self.turn = Turn(seat=seat, recorded=[], effects=[])
        self._moment = moment
        self._registry = registry
        # The broker's clock steps back when a leader moves; a run's own time never does. A finished run has
        # no say in the next one's: it may be in memory still, or a stub already, and the turn must not
        # depend on which.
        last = seat.state.last_event_at_ms if seat.state is not None and seat.is_live else 0
        self._now_ms = max(moment.timestamp_ms, last)
        self._continuations = 0
        self._continued_bytes = 0

    def take(self, command: cm.Command) -> Turn:
        """The whole turn."""
        seat, state = self.seat, self.seat.state
        if state is not None and seat.is_live and type(command) not in _HEEDED_WHEN_STALLED:
            stall = self._stall_reason(state)
            if stall is not None:
                return self._defer(state, stall)
            assert seat.execution is not None, "expected the live run's execution, but it was not replayed"
        decision = decide(seat, command, self._now_ms)
        kind = type(decision)
        if kind is ef.Rejected:
            self._reject(command, decision)  # type: ignore[arg-type]
        elif kind is Early:
            self.turn.is_early = True
            if isinstance(command, cm.FireTimer):
                assert state is not None
                self.turn.effects.append(arm(state, command.timer, command.due_at_ms))
        elif kind is Purge:
            self._purge(decision)  # type: ignore[arg-type]
        else:
            if kind is ev.InstanceStarted:
                self._make_room()
            self.add(decision)  # type: ignore[arg-type]
            self._drain()
            self._mind_sizes(command)
        return self.turn

    # --- stalls ---

    def _stall_reason(self, state: InstanceState) -> tuple[str, str] | None:
        if state.stall is not None:
            return (state.stall, "")
        if self.seat.replay_error is not None:
            return (STALL_NONDETERMINISM, self.seat.replay_error)
        return self._overflow(state, 0)

    def _overflow(self, state: InstanceState, more_bytes: int) -> tuple[str, str] | None:
        """The stall of a run whose history is at its limit, or would be with what its code asks for."""
        size = state.history_bytes + more_bytes
        if state.sequence < limits.HISTORY_EVENTS_MAX and size < limits.HISTORY_BYTES_MAX:
            return None
        asked = f" with the {more_bytes:,} bytes that its code asks for" if more_bytes else ""
        text = (
            f"expected at most {limits.HISTORY_EVENTS_MAX:,} events and {limits.HISTORY_BYTES_MAX:,} "
            f"bytes of history, but the run has {state.sequence:,} and {size:,}{asked}; "
            "terminate it, and let the workflow use continue_as_new"
        )
        return (STALL_HISTORY_LIMIT, text)

    def _defer(self, state: InstanceState, stall: tuple[str, str]) -> Turn:
        if state.stall is None:
            self._stall(stall)
        full = full_of_deferred(state)
        if full is not None:
            text = f"{full}; end the stall ({state.stall}) or terminate"
            self.turn.rejected = ef.Rejected(ef.Reason.DEFERRED_LIMIT, text)
        else:
            self.add(ev.InputDeferred(record=self._moment.record))
        return self.turn

    def _stall(self, stall: tuple[str, str]) -> None:
        self.add(ev.InstanceStalled(reason=stall[0], detail=cut(stall[1], limits.REASON_BYTES_MAX)))

    def quarantine(self, command: cm.Command, detail: str) -> Turn:
        """Stalls the run with this input deferred. A start makes a run that is stalled before its code."""
        state = self.seat.state
        if state is not None and self.seat.is_live:
            return self._defer(state, (STALL_CRASHED, detail))
        if isinstance(command, cm.StartInstance | cm.StartChild):
            started = decide(self.seat, command, self._now_ms)
            assert type(started) is ev.InstanceStarted
            self._make_room()
            self.add(msgspec.structs.replace(started, start_at_ms=started.start_at_ms or self._now_ms))
            self.seat.execution = None
            self.add(ev.InstanceStalled(reason=STALL_CRASHED, detail=detail))
            return self.turn
        self._reject(command, ef.Rejected(ef.Reason.WORKER_CRASHED, detail))
        return self.turn

    # --- what somebody should look at before it is too late ---

    def _mind_sizes(self, command: cm.Command) -> None:
        """Warns of a run that comes near a limit. Nothing here is on record."""
        state, size = self.seat.state, len(self._moment.record)
        if state is None:
            return
        if size > limits.PAYLOAD_BYTES_WARNED:
            self._warn_of_payload(state, f"its {type(command).__name__}", size)
        if state.history_bytes >= limits.HISTORY_BYTES_WARNED:
            what = f"{state.history_bytes:,} bytes of history, of at most {limits.HISTORY_BYTES_MAX:,}"
            self._warn(state, "history bytes", f"has {what}; let the workflow use continue_as_new")

    def _warn_of_payload(self, state: InstanceState, what: str, size: int) -> None:
        text = (
            f"handles large payloads, {what} of {size:,} bytes, of at most {limits.PAYLOAD_BYTES_MAX:,}; "
            "store large values elsewhere and pass a reference"
        )
        self._warn(state, "payload", text)

    def _warn(self, state: InstanceState, topic: str, text: str) -> None:
        text = f"instance {state.instance_id!r} {text}"
        warn = ef.Warn(instance_id=state.instance_id, run_id=state.run_id, topic=topic, text=text)
        self.turn.effects.append(warn)

    # --- decisions that are no event ---

    def _reject(self, command: cm.Command, rejected: ef.Rejected) -> None:
        self.turn.rejected = rejected
        if type(command) is cm.StartChild:
            is_taken = rejected.reason is ef.Reason.INSTANCE_ALREADY_EXISTS
            kind = "WorkflowInstanceAlreadyExists" if is_taken else rejected.reason.value
            failure = failure_of(kind, rejected.detail, retryable=False)
            self._send(fail_child(command.parent, failure))

    def _purge(self, purge: Purge) -> None:
        seat = self.seat
        old = seat.state or seat.stub
        assert old is not None
        if purge.recursive:
            for child_id in dict.fromkeys(old.child_ids):
                self._send(
                    cm.PurgeChild(
                        instance_id=child_id,
                        parent_instance_id=seat.instance_id,
                        parent_run_id=old.run_id,
                        force=purge.force,
                    )
                )
        if isinstance(old, InstanceState) and old.parent is not None and not old.is_finished:
            # Its parent would wait for ever. A parent that is purged as well knows no such call any more.
            text = f"child workflow '{seat.instance_id}' was purged while it ran"
            self._send(fail_child(old.parent, failure_of("WorkflowPurged", text, retryable=False)))
        self._purge_run(old)
        self.turn.is_purged = True
        self._leave()

    def _make_room(self) -> None:
        """A new run takes the place of a finished one, whose history goes."""
        seat = self.seat
        old = seat.state or seat.stub
        if old is None:
            return
        self._purge_run(old)
        self._leave()

    def _purge_run(self, old: InstanceState | RunStub) -> None:
        run = stub_of(old) if isinstance(old, InstanceState) else old
        self.turn.effects.append(ef.PurgeRun(run=run))

    def _leave(self) -> None:
        if self.seat.execution is not None:
            self.seat.execution.close()
        self.seat.state, self.seat.stub, self.seat.execution = None, None, None

    # --- events ---

    def add(self, event: ev.Event, run_id: str | None = None) -> None:
        """Numbers, records, applies and observes `event`, and notes what follows from it."""
        seat = self.seat
        state = seat.state
        recorded = ev.Recorded(
            run_id=run_id or (state.run_id if state is not None else self._moment.new_run_id),
            sequence=1 if state is None else state.sequence + 1,
            recorded_at_ms=self._now_ms,
            inbox_offset=self._moment.offset,
            event=event,
        )
        if type(event) is ev.InstanceTerminated and event.recursive and state is not None:
            # Before the event is applied, for an ended run knows of no open children.
            for child in state.children.values():
                self._send(terminate_child(state, child.event.instance_id, event.output))
        seat.state = state = apply(state, seat.instance_id, recorded)
        self.turn.recorded.append(recorded)
        execution = seat.execution
        if recorded.sequence == 1:
            execution = seat.execution = Execution(self._registry, seat.instance_id)
        if execution is not None:
            execution.observe(recorded)
        if recorded.sequence == limits.HISTORY_EVENTS_WARNED:
            what = f"{recorded.sequence:,} events of history, of at most {limits.HISTORY_EVENTS_MAX:,}"
            self._warn(state, "history events", f"has {what}; let the workflow use continue_as_new")
        follow = FOLLOW.get(type(event))
        if follow is not None:
            self.turn.effects.extend(follow(state, recorded))

    def _drain(self) -> None:
        """Records what the code asks for until it is quiet, or its history is at its limit."""
        seat = self.seat
        while seat.execution is not None:
            proposals = seat.execution.proposals
            action = proposals.next_action()
            if action is None:
                return
            if type(action) is ac.ContinueAsNew:
                self._continue(action)
                continue
            state = seat.state
            assert state is not None
            stall = None if type(action) in ENDS else self._overflow(state, proposals.bytes)
            if stall is not None:
                # What it asked for is not on record, so the code can't go on from here.
                seat.execution.close()
                seat.execution = None
                self._stall(stall)
                return
            self.add(self._record(action))

    def _record(self, action: ac.Action) -> ev.Event:
        state = self.seat.state
        assert state is not None
        kind = type(action)
        payload = action.input if kind in _WITH_INPUT else None  # type: ignore[union-attr]
        if kind is ac.CompleteInstance:
            payload = action.output  # type: ignore[union-attr]
        if payload is not None and len(payload.data) > limits.PAYLOAD_BYTES_WARNED:
            self._warn_of_payload(state, f"its {kind.__name__}", len(payload.data))
        return RECORDERS[kind](state, action)

    def _continue(self, action: ac.ContinueAsNew) -> None:
        old = self.seat.state
        assert old is not None
        run_id = run_id_of_continuation(old.run_id)
        execution = self.seat.execution
        self._continued_bytes += 0 if execution is None else execution.proposals.bytes
        self.add(ev.InstanceContinuedAsNew(new_run_id=run_id, input=action.input))
        self._purge_run(old)
        self._leave()
        self._continuations += 1
        # A workflow that continues without ever waiting would keep its partition in one endless turn.
        waits = (
            self._continuations >= limits.CONTINUATIONS_PER_TURN_MAX
            or len(self.turn.recorded) >= limits.TURN_EVENTS_MAX
            or self._continued_bytes >= limits.TURN_BYTES_MAX
        )
        started = ev.InstanceStarted(
            workflow=old.workflow,
            input=action.input,
            start_at_ms=self._now_ms if waits else None,
            parent=old.parent,
            depth=old.depth,
            previous_run_id=old.run_id,
            custom_status=old.custom_status,
            saved_events=len(action.saved_events),
        )
        self.add(started, run_id)
        for name, data in action.saved_events:
            self.add(ev.EventRaised(name=name, data=data))

    def _send(self, message: cm.ChannelMessage) -> None:
        self.turn.effects.append(ef.SendMessage(message=message))
