"""What a wait does next, as values: the sync and the asyncio client carry out the same steps. No IO here."""

import time
from collections.abc import Callable, Generator

import msgspec

from engine.client.mirror import Mirror
from engine.client.state import WorkflowState
from engine.model.state import Status

# After this long without a trace, it is looked whether the instance existed before: then the start was
# refused, and the outcome of the run that is there is what is waited for.
LOOK_BACK_S = 2.0
# A read that was asked for wakes who waits; this is how long nobody relies on it.
READ_LOOK_S = 1.0

Predicate = Callable[[WorkflowState], bool]
Steps = Generator["float | None", None, WorkflowState]


class Wait(msgspec.Struct, frozen=True, gc=False):
    """One wait: for whom, until when, for what."""

    instance_id: str
    what: str
    is_met: Predicate
    timeout_s: float
    fetch_payloads: bool
    is_curious: bool

    def steps(self, mirror: Mirror) -> Steps:
        """Yields seconds to wait for the mirror's wake, or None to ask for a read first.

        Raises TimeoutError; UnreachableError where a read failed that was asked for.
        """
        began = time.monotonic()
        while True:
            if mirror.must_read:
                yield None
                mirror.check_read()
            state = mirror.shown(fetch_payloads=self.fetch_payloads)
            if state is not None and self.is_met(state):
                return state
            if mirror.must_read:
                continue
            waited = time.monotonic() - began
            if waited >= self.timeout_s:
                raise TimeoutError(too_late(self.instance_id, self.what, self.timeout_s, state))
            if mirror.is_unknown and waited >= LOOK_BACK_S:
                yield None
                mirror.check_read()
                continue
            until = min(self.timeout_s, LOOK_BACK_S) if mirror.is_unknown else self.timeout_s
            yield until - waited


def too_late(instance_id: str, what: str, timeout_s: float, state: WorkflowState | None) -> str:
    """What is said when the time of a wait is over."""
    expected = f"expected workflow {instance_id!r} to have {what} within {timeout_s:g} s"
    if state is None:
        why = "is a worker of the app running, and is its start not in 'engine deadletter list'?"
        return f"{expected}, but there is no such instance yet; {why}"
    return f"{expected}, but it is {state.runtime_status.value}"


def for_start(instance_id: str, timeout_s: float, *, fetch_payloads: bool) -> Wait:
    """A wait for the first turn of the workflow's code."""
    return Wait(instance_id, "started", has_started, timeout_s, fetch_payloads, is_curious=True)


def for_completion(instance_id: str, timeout_s: float, *, fetch_payloads: bool) -> Wait:
    """A wait for an outcome."""
    return Wait(instance_id, "ended", has_ended, timeout_s, fetch_payloads, is_curious=False)


def has_started(state: WorkflowState) -> bool:
    """Whether its code has begun to run."""
    return state.runtime_status is not Status.PENDING


def has_ended(state: WorkflowState) -> bool:
    """Whether there is an outcome."""
    return state.is_finished
