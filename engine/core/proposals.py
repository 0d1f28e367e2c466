"""What workflow code has asked for: proposals that history does not hold yet, and open calls that it does.

An event that records a proposal must match the oldest one; anything else is a NonDeterminismError.
"""

from collections import deque

from engine.core import limits, matching
from engine.core.awaiting import OpenCall
from engine.core.tasks import Task
from engine.errors import NonDeterminismError
from engine.model import actions as ac
from engine.model import events as ev

# An action, and the call that it opens if it opens one. Without an action: cancel the timer of this call.
Proposal = tuple[ac.Action | None, OpenCall | None]
_OPEN_MAX = {
    ac.CallActivity: ("activity", "OPEN_ACTIVITIES_MAX"),
    ac.CreateTimer: ("timer", "OPEN_TIMERS_MAX"),
    ac.CallChild: ("child", "OPEN_CHILDREN_MAX"),
}


# Always taken: what has ended a run is not to be refused.
ENDS = frozenset({ac.CompleteInstance, ac.FailInstance, ac.ContinueAsNew})


class Proposals:
    """The proposals of one run, oldest first."""

    __slots__ = ("_open", "_open_counts", "_queue", "bytes")

    def __init__(self) -> None:
        # What they carry, of the code's making: together the bytes of one turn.
        self.bytes = 0
        self._queue: deque[Proposal] = deque()
        self._open: dict[int, OpenCall] = {}
        self._open_counts = {"activity": 0, "timer": 0, "child": 0}

    def next_action(self) -> ac.Action | None:
        """The oldest proposal that is not recorded, or None when the code is quiet."""
        if not self._queue:
            return None
        action, call = self._queue[0]
        if action is not None:
            return action
        assert call is not None, "only the cancellation of a timer is resolved late"
        return ac.CancelTimer(timer=call.sequence)

    def add(self, action: ac.Action) -> None:
        """An action that opens no call. Raises LimitExceededError where there are too many."""
        if type(action) not in ENDS:
            size = _size_of(action)
            self.expect_room(size)
            self.bytes += size
        self._queue.append((action, None))

    def add_call(
        self, action: ac.CallActivity | ac.CreateTimer | ac.CallChild, result_kind: object
    ) -> OpenCall:
        """An action whose outcome will come. Raises LimitExceededError where too many are open."""
        kind, setting = _OPEN_MAX[type(action)]
        count, limit = self._open_counts[kind] + 1, getattr(limits, setting)
        if count > limit:
            what = f"the open calls of kind {kind!r} of one run"
            limits.check(what, count, limit, "wait for some before more")
        size = _size_of(action)
        self.expect_room(size)
        self.bytes += size
        self._open_counts[kind] = count
        call = OpenCall(task=Task(), kind=kind, result_kind=result_kind)
        self._queue.append((action, call))
        return call

    def expect_room(self, size: int) -> None:
        """Raises LimitExceededError where the turn would record too much with one proposal more.

        A function of the code's own steps alone, so that a replay raises at the same place.
        """
        count = len(self._queue) + 1
        if count > limits.TURN_EVENTS_MAX:
            what = "the number of things asked for between two waits"
            limits.check(what, count, limits.TURN_EVENTS_MAX, "wait for some before more")
        if self.bytes + size > limits.TURN_BYTES_MAX:
            what = "what is asked for between two waits (bytes)"
            remedy = "wait for some before more, or pass references"
            limits.check(what, self.bytes + size, limits.TURN_BYTES_MAX, remedy)

    def add_cancellation(self, timer: OpenCall) -> None:
        """The timer isn't needed any more. It may not have its number yet."""
        self._open.pop(timer.sequence, None)
        self._open_counts[timer.kind] -= 1
        self._queue.append((None, timer))

    def withdraw_status(self) -> bool:
        """Takes the last proposal back if it is a status: of several in a row only the last counts."""
        last = self._queue[-1][0] if self._queue else None
        if type(last) is ac.SetCustomStatus:
            self._queue.pop()
            self.bytes -= _size_of(last)
            return True
        return False

    def confirm(self, recorded: ev.Recorded) -> None:
        """The oldest proposal is on record. Raises NonDeterminismError where something else is."""
        event = recorded.event
        action = self.next_action()
        if action is None:
            what = matching.describe(event)
            message = f"history has {what} as event {recorded.sequence}, but the code asks for nothing"
            raise NonDeterminismError(f"{message}; {matching.REMEDY}")
        if not matching.MATCHERS[type(event)](action, event):
            message = (
                f"history has {matching.describe(event)} as event {recorded.sequence}, "
                f"but the code asks for {matching.describe(action)}"
            )
            raise NonDeterminismError(f"{message}; {matching.REMEDY}")
        _, call = self._queue.popleft()
        if not self._queue:
            self.bytes = 0
        if call is None or type(event) is ev.TimerCancelled:
            return
        call.sequence = recorded.sequence
        self._open[recorded.sequence] = call

    def expect_none(self, recorded: ev.Recorded | None) -> None:
        """Raises NonDeterminismError where the code wants more than there is before this event or the end."""
        if not self._queue:
            return
        action = matching.describe(self.next_action())
        if recorded is None:
            message = f"the code asks for {action}, but its history ends before"
        else:
            event = matching.describe(recorded.event)
            message = f"the code asks for {action}, but event {recorded.sequence} is {event}"
        raise NonDeterminismError(f"{message}; {matching.REMEDY}")

    def take(self, sequence: int) -> OpenCall | None:
        """The open call that this event recorded; it is open no longer."""
        call = self._open.pop(sequence, None)
        if call is not None:
            self._open_counts[call.kind] -= 1
        return call


def _size_of(action: ac.Action) -> int:
    """The bytes of the code's own that it carries."""
    kind = type(action)
    if kind is ac.CallActivity or kind is ac.CallChild:
        payload = action.input  # type: ignore[union-attr]
        return 0 if payload is None else len(payload.data)
    if kind is ac.SetCustomStatus:
        return len(action.status or "")  # type: ignore[union-attr]
    return len(action.name) if kind is ac.ApplyPatch else 0  # type: ignore[union-attr]
