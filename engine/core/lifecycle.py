"""(phase, event) to phase: the whole life of a run on one screen. ARCHITECTURE.md draws it from here.

A pair that isn't in the table can't happen; meeting one is a bug or a damaged history, and an error either
way. Events of a run's calls, timers and suspensions leave the phase alone and are listed as such.
"""

from engine.model import events as ev
from engine.model.state import Phase

_PENDING = Phase.PENDING
_RUNNING = Phase.RUNNING

PHASE_CHANGES: dict[tuple[Phase | None, type], Phase] = {
    (None, ev.InstanceStarted): _RUNNING,  # or PENDING, when it has a start time
    (_PENDING, ev.TimerFired): _RUNNING,
    (_PENDING, ev.InstanceFailed): Phase.FAILED,
    (_PENDING, ev.InstanceTerminated): Phase.TERMINATED,
    (_RUNNING, ev.InstanceCompleted): Phase.COMPLETED,
    (_RUNNING, ev.InstanceFailed): Phase.FAILED,
    (_RUNNING, ev.InstanceTerminated): Phase.TERMINATED,
    (_RUNNING, ev.InstanceContinuedAsNew): Phase.CONTINUED_AS_NEW,
}

_WHILE_PENDING: tuple[type, ...] = (
    ev.InstanceSuspended,
    ev.InstanceResumed,
    ev.InstanceStalled,
    ev.InstanceUnstalled,
    ev.InputDeferred,
    ev.EventRaised,
)

PHASE_KEPT: dict[Phase, frozenset[type]] = {
    _PENDING: frozenset(_WHILE_PENDING),
    _RUNNING: frozenset(ev.EVENTS) - {kind for phase, kind in PHASE_CHANGES if phase is not _PENDING},
}


def next_phase(phase: Phase | None, event: ev.Event) -> Phase:
    """The phase after `event`. Raises AssertionError where the table has no such step."""
    kind = type(event)
    changed = PHASE_CHANGES.get((phase, kind))
    if changed is not None:
        if type(event) is ev.InstanceStarted and event.start_at_ms is not None:
            return _PENDING
        return changed
    assert phase is not None, f"expected a run to begin with InstanceStarted, but got {kind.__name__}"
    assert kind in PHASE_KEPT.get(phase, ()), f"expected no {kind.__name__} in phase {phase}"
    return phase
