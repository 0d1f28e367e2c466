"""What a stalled run still has to be told, where it keeps inputs for later.

A call whose outcome waits among them is open in its state and settled all the same: to set it going again at
every claim would do its work again each time, and keep one more outcome that nobody needs.
"""

from collections.abc import Iterable

from engine.codec import avro
from engine.core.turn import deferred_inputs
from engine.model import commands as cm
from engine.model import effects as ef
from engine.model.events import Recorded


def without_settled(effects: Iterable[ef.Effect], history: Iterable[Recorded]) -> list[ef.Effect]:
    """Those of a run's open effects whose outcome isn't among its deferred inputs."""
    settled = {_asked(avro.decode_command(record)) for record in deferred_inputs(history)}
    return [effect for effect in effects if _asked(effect) not in settled]


def _asked(what: object) -> tuple[str, int, int] | None:
    """Which attempt or which time it is that this asks for, or is the outcome of; None for all else."""
    if isinstance(what, ef.RunActivity | cm.CompleteActivity | cm.FailActivity):
        return ("attempt", what.scheduled, what.attempt)
    if isinstance(what, ef.ArmTimer | cm.FireTimer):
        return ("time", what.timer, what.due_at_ms)
    return None
