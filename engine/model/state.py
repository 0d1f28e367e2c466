"""What an owner knows of a run: the fold of its history. Only `core.apply` changes it."""

from enum import StrEnum

import msgspec

from engine.model.events import ActivityScheduled, ChildScheduled
from engine.model.failure import ParentLink


class Phase(StrEnum):
    """Where a run stands, whether or not it is suspended or stalled."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"
    CONTINUED_AS_NEW = "CONTINUED_AS_NEW"


class Status(StrEnum):
    """What a client is shown: Dapr's runtime status."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STALLED = "STALLED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TERMINATED = "TERMINATED"
    CONTINUED_AS_NEW = "CONTINUED_AS_NEW"


FINISHED_PHASES = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.TERMINATED, Phase.CONTINUED_AS_NEW})
_STATUSES = {phase: Status(phase) for phase in Phase}
FINISHED_STATUSES = frozenset({Status.COMPLETED, Status.FAILED, Status.TERMINATED})


class PendingActivity(msgspec.Struct, gc=False):
    """A call without an outcome. `retry_at_ms` is set while the next attempt waits for its time."""

    event: ActivityScheduled
    scheduled_at_ms: int
    attempt: int = 1
    retry_at_ms: int | None = None


class PendingChild(msgspec.Struct, gc=False):
    """A child without an outcome."""

    event: ChildScheduled
    scheduled_at_ms: int
    attempt: int = 1
    retry_at_ms: int | None = None


class InstanceState(msgspec.Struct, kw_only=True):
    """One run of one instance."""

    instance_id: str
    run_id: str
    workflow: str
    phase: Phase
    created_at_ms: int
    last_event_at_ms: int
    sequence: int = 0
    is_suspended: bool = False
    stall: str | None = None
    stall_detail: str | None = None
    custom_status: str | None = None
    parent: ParentLink | None = None
    depth: int = 0
    activities: dict[int, PendingActivity] = {}
    timers: dict[int, int] = {}
    children: dict[int, PendingChild] = {}
    child_ids: list[str] = []
    deferred: int = 0
    history_bytes: int = 0
    key_sum: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether nothing more can happen to this run."""
        # By a set, for this is asked for every record: to name one member costs more than this look-up.
        return self.phase in FINISHED_PHASES

    @property
    def status(self) -> Status:
        """What a client is shown."""
        if self.is_finished:
            return _STATUSES[self.phase]
        if self.stall is not None:
            return Status.STALLED
        return Status.SUSPENDED if self.is_suspended else _STATUSES[self.phase]


class RunStub(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What is left of a finished run in an owner's cache: enough for id reuse, purge, and the key count."""

    instance_id: str
    run_id: str
    workflow: str
    phase: Phase
    last_sequence: int
    key_sum: int
    ended_at_ms: int
    child_ids: tuple[str, ...] = ()
    parent_instance_id: str | None = None
    parent_run_id: str | None = None


def stub_of(state: InstanceState) -> RunStub:
    """The stub that a finished run leaves."""
    parent = state.parent
    return RunStub(
        instance_id=state.instance_id,
        run_id=state.run_id,
        workflow=state.workflow,
        phase=state.phase,
        last_sequence=state.sequence,
        key_sum=state.key_sum,
        ended_at_ms=state.last_event_at_ms,
        child_ids=tuple(state.child_ids),
        parent_instance_id=parent.instance_id if parent else None,
        parent_run_id=parent.run_id if parent else None,
    )
