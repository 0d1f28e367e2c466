"""I5 for what is kept: no finished run goes before its time, and none without a reason on record."""

from engine.codec import avro
from engine.model import commands as cm
from engine.model import events as ev
from engine.model.state import Phase
from engine.testing.evidence import Evidence, RunKey, runs_of_view
from engine.testing.memory_broker import Violation

_PHASES: dict[type, Phase] = {
    ev.InstanceCompleted: Phase.COMPLETED,
    ev.InstanceFailed: Phase.FAILED,
    ev.InstanceTerminated: Phase.TERMINATED,
}
# What makes a finished run go, besides retention: a purge, or a run that takes its id.
_ENDINGS = frozenset(
    each.__name__ for each in (cm.PurgeInstance, cm.PurgeChild, cm.StartInstance, cm.StartChild)
)


def check_retention(evidence: Evidence) -> int:
    """Looks at every run that ended and is gone."""
    kept_ms = evidence.world.settings.retention.kept_ms()
    there = {run for view in evidence.views for run in runs_of_view(view)}
    expired, endings = _asked(evidence)
    count = 0
    for run, events in evidence.runs.items():
        last = events[-1]
        phase = _PHASES.get(type(last.event))
        if phase is None or run in there or endings.get(run[0], -1) > last.inbox_offset:
            continue
        if phase not in kept_ms or expired.get(run, -1) < last.recorded_at_ms + kept_ms[phase]:
            asked = f"kept for {kept_ms} ms, asked for at {expired.get(run)}"
            raise Violation(f"I5: {run} ended as {phase} at {last.recorded_at_ms} and is gone: {asked}")
        count += 1
    return count


def _asked(evidence: Evidence) -> tuple[dict[RunKey, int], dict[str, int]]:
    """(when retention asked for a run last, where in the inbox something else came last that ends it)."""
    expired: dict[RunKey, int] = {}
    endings: dict[str, int] = {}
    for journal in evidence.broker.inbox_journal:
        for record in journal:
            kind = avro.kind_of(record.value or b"")
            if kind in _ENDINGS:
                endings[record.key.decode()] = record.offset
            elif kind == cm.ExpireInstance.__name__:
                command = avro.decode_command(record.value or b"")
                assert isinstance(command, cm.ExpireInstance)
                run = (command.instance_id, command.run_id)
                expired[run] = max(record.timestamp_ms, expired.get(run, 0))
    return expired, endings
