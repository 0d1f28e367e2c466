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


class Proposals:
    """The proposals of one run, oldest first."""

    def __init__(self) -> None:
        self._queue: deque[Proposal] = deque()
        self._open: dict[int, OpenCall] = {}
        self._open_counts = {"activity": 0, "timer": 0, "child": 0}
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._queue)

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
        """An action that opens no call."""
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
        self._count_bytes(action)
        self._open_counts[kind] = count
        call = OpenCall(task=Task(), kind=kind, result_kind=result_kind)
        self._queue.append((action, call))
        return call

    def _count_bytes(self, action: ac.CallActivity | ac.CreateTimer | ac.CallChild) -> None:
        if type(action) is ac.CreateTimer or action.input is None:  # type: ignore[union-attr]
            return
        size = self._bytes + len(action.input.data)  # type: ignore[union-attr]
        if size > limits.TURN_BYTES_MAX:
            what = "the inputs of all calls made between two waits (bytes)"
            limits.check(what, size, limits.TURN_BYTES_MAX, "wait for some before more, or pass references")
        self._bytes = size

    def add_cancellation(self, timer: OpenCall) -> None:
        """The timer isn't needed any more. It may not have its number yet."""
        self._open.pop(timer.sequence, None)
        self._open_counts[timer.kind] -= 1
        self._queue.append((None, timer))

    def withdraw_status(self) -> bool:
        """Takes the last proposal back if it is a status: of several in a row only the last counts."""
        if self._queue and type(self._queue[-1][0]) is ac.SetCustomStatus:
            self._queue.pop()
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
            self._bytes = 0
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
