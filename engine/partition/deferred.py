"""What a stalled run still has to be told, where it keeps inputs for later.

A call whose outcome waits among them is open in its state and settled all the same: to set it going again at
every claim would do its work again each time, and keep one more outcome that nobody needs.
"""

from collections.abc import Callable, Iterable

from engine.codec import avro
from engine.core.consequences import open_effects
from engine.core.turn import full_of_deferred
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model import events as ev
from engine.model.state import InstanceState


def undecided(state: InstanceState, history: Callable[[], Iterable[ev.Recorded]]) -> list[ef.Effect]:
    """The open effects of a run that are to be set going by its new owner."""
    effects = open_effects(state)
    if state.stall is not None and full_of_deferred(state) is not None:
        return []  # no outcome of theirs could be kept
    if not state.deferred:
        return effects
    settled = {_asked(avro.decode_command(record)) for record in deferred_inputs(history())}
    return [effect for effect in effects if _asked(effect) not in settled]


def deferred_inputs(history: Iterable[ev.Recorded]) -> list[bytes]:
    """The records that a run kept raw since it stalled last, in their order."""
    records: list[bytes] = []
    for recorded in history:
        if type(recorded.event) is ev.InstanceStalled:
            records = []
        elif type(recorded.event) is ev.InputDeferred:
            records.append(recorded.event.record)
    return records


def _asked(what: object) -> tuple[str, int, int] | None:
    """Which attempt or which time it is that this asks for, or is the outcome of; None for all else."""
    if isinstance(what, ef.RunActivity | cm.CompleteActivity | cm.FailActivity):
        return ("attempt", what.scheduled, what.attempt)
    if isinstance(what, ef.ArmTimer | cm.FireTimer):
        return ("time", what.timer, what.due_at_ms)
    return None
