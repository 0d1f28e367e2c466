"""What each metric reads now, from a worker that goes on meanwhile. Must never change anything, nor wait.

Other threads change what is read here, so every dictionary is copied before it is walked.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

import engine
from engine.core.turn import STALL_CRASHED, STALL_HISTORY_LIMIT, STALL_NONDETERMINISM
from engine.model.effects import Reason
from engine.node.lags import Lags
from engine.node.worker import Worker
from engine.partition.measures import MS, OPERATIONS, SECOND, Histogram
from engine.partition.owner import Owner
from engine.partition.status import OwnerStatus
from engine.telemetry.backlog import Waiting
from engine.telemetry.table import Labels, Reading, Scaled, one
from engine.telemetry.table import Reader as TableReader

OUTCOMES = ("committed", "fenced", "doubt")
LOSSES = ("fenced", "doubt", "cache", "inbox")
STALLS = (STALL_NONDETERMINISM, STALL_HISTORY_LIMIT, STALL_CRASHED)
RESULTS = ("success", "failed")


class View(msgspec.Struct, frozen=True):
    """What is read: a worker, the last sample of its lags, and the app's names."""

    worker: Worker
    lags: Lags
    app_id: str
    namespace: str

    @property
    def owners(self) -> list[Owner]:
        """Those that are restored."""
        return [each for each in list(self.worker.loop.owners.values()) if each.turns is not None]


Reader = TableReader[View]


def _counters(field: str) -> Reader:
    """A counter of every partition that this process has ever owned."""

    def reader(view: View) -> Iterator[Reading]:
        for partition, counters in list(view.worker.measures.partitions.items()):
            yield (str(partition),), getattr(counters, field)

    return reader


def _owners(read: Callable[[Owner, View], float]) -> Reader:
    """A gauge of every partition owned now."""

    def reader(view: View) -> Iterator[Reading]:
        for owner in view.owners:
            yield (str(owner.claim.partition),), read(owner, view)

    return reader


def _tally(read: Callable[[View], Any], known: tuple[str, ...]) -> Reader:
    """A count by a name of a closed set: those that never happened are 0, so that a first can be seen."""

    def reader(view: View) -> Iterator[Reading]:
        found = dict.fromkeys(known, 0) | dict(read(view))
        for name, count in found.items():
            yield (name,), count

    return reader


def _waiting(read: Callable[[Lags], dict[int, Waiting]], value: Callable[[Waiting], float]) -> Reader:
    def reader(view: View) -> Iterator[Reading]:
        for partition, waiting in read(view.lags).items():
            yield (str(partition),), value(waiting)

    return reader


def _age(waiting: Waiting) -> float:
    return waiting.seconds(time.monotonic())


def _uncommitted(owner: Owner, view: View) -> float:
    since_ms = owner.oldest_uncommitted_ms
    return 0.0 if since_ms is None else max(0, view.worker.clock.monotonic_ms() - since_ms) / 1000


def _overdue(owner: Owner, view: View) -> float:
    due_ms = owner.turns.timers.next_due_ms()
    now_ms = owner.turns.clock.now_ms(view.worker.clock.monotonic_ms())
    return 0.0 if due_ms is None or now_ms is None else max(0, now_ms - due_ms) / 1000


def _inbox_lag(view: View) -> Iterator[Reading]:
    for owner in view.owners:
        end = view.lags.inbox_ends.get(owner.claim.partition, 0)
        yield (str(owner.claim.partition),), max(0, end - owner.turns.next_offset)


def _stalled(view: View) -> Counter[str]:
    return sum((owner.turns.stalls.by_reason() for owner in view.owners), Counter())


def _statuses(view: View) -> Iterator[Reading]:
    found = Counter(owner.status for owner in view.owners)
    for status in OwnerStatus:
        yield (status.value,), found[status]


def _claiming(view: View) -> Iterator[Reading]:
    now_ms = view.worker.clock.monotonic_ms()
    for partition, since_ms in list(view.worker.loop.claiming_since_ms.items()):
        yield (str(partition),), (now_ms - since_ms) / 1000


def _build(view: View) -> Iterator[Reading]:
    yield (engine.__version__, view.worker.build), 1


def _attempts(value: Callable[[Any], float | Scaled], *, is_ours: bool = False) -> Reader:
    def reader(view: View) -> Iterator[Reading]:
        for (name, status), ended in view.worker.pool.measures.ended().items():
            labels = (name, status) if is_ours else (view.app_id, view.namespace, name, status)
            yield labels, value(ended)

    return reader


def _runs(value: Callable[[Any], float | Scaled]) -> Reader:
    def reader(view: View) -> Iterator[Reading]:
        for (workflow, status), ended in view.worker.measures.runs_ended().items():
            yield (view.app_id, view.namespace, workflow, status), value(ended)

    return reader


def _by_workflow(read: Callable[[View], dict[str, Histogram]], units: int) -> Reader:
    def reader(view: View) -> Iterator[Reading]:
        for workflow, histogram in read(view).items():
            yield (view.app_id, view.namespace, workflow), Scaled(histogram, units)

    return reader


def _operations(view: View) -> Iterator[Reading]:
    found: Counter[Labels] = Counter()
    for kind, counts in view.worker.measures.operations.items():
        for status, count in zip(RESULTS, counts, strict=True):
            found[OPERATIONS[kind], status] += count
    for labels, count in found.items():
        yield (view.app_id, view.namespace, *labels), count


_DAPR = "dapr_runtime_workflow_"
READERS: dict[str, Reader] = {
    "engine_turns_total": _counters("turns"),
    "engine_events_total": _counters("events"),
    "engine_turn_seconds": one(lambda v: Scaled(v.worker.measures.turn_ns, SECOND)),
    "engine_replays_total": _counters("replays"),
    "engine_instances_live": _owners(lambda o, _: len(o.turns.seats)),
    "engine_executions_live": _owners(lambda o, _: o.turns.seats.executions),
    "engine_duplicates_total": _counters("duplicates"),
    "engine_gaps_total": _counters("gaps"),
    "engine_orphan_results_total": _counters("orphans"),
    "engine_dead_letters_total": _tally(lambda v: v.worker.measures.dead_letters, tuple(Reason)),
    "engine_stalls_total": _tally(lambda v: v.worker.measures.stalls, STALLS),
    "engine_instances_stalled": _tally(_stalled, STALLS),
    "engine_commits_total": _tally(lambda v: v.worker.measures.commits, OUTCOMES),
    "engine_commit_seconds": one(lambda v: Scaled(v.worker.measures.commit_ns, SECOND)),
    "engine_commit_records": one(lambda v: Scaled(v.worker.measures.commit_records)),
    "engine_commit_bytes": one(lambda v: Scaled(v.worker.measures.commit_bytes)),
    "engine_uncommitted_seconds": _owners(_uncommitted),
    "engine_outbox_unacknowledged": _owners(lambda o, _: o.turns.outbox.unacknowledged),
    "engine_rocksdb_bytes": lambda v: (((str(p),), size) for p, size in v.lags.cache_bytes.items()),
    "engine_inbox_lag_records": _inbox_lag,
    "engine_inbox_lag_seconds": _waiting(lambda lags: lags.inbox, _age),
    "engine_inbox_wait_seconds": one(lambda v: Scaled(v.worker.measures.inbox_wait_ms, 1000)),
    "engine_commands_lag_records": _waiting(lambda lags: lags.commands, lambda w: w.records),
    "engine_commands_lag_seconds": _waiting(lambda lags: lags.commands, _age),
    "engine_commands_held_records": _waiting(lambda lags: lags.held, lambda w: w.records),
    "engine_commands_held_seconds": _waiting(lambda lags: lags.held, _age),
    "engine_lag_sample_age_seconds": one(lambda v: time.monotonic() - v.lags.sampled_at),
    "engine_ingress_forwarded_total": one(lambda v: v.worker.ingress.forwarded),
    "engine_ingress_refused_total": one(lambda v: v.worker.ingress.refused),
    "engine_ingress_restarts_total": one(lambda v: v.worker.ingress.restarts),
    "engine_ingress_held": one(lambda v: v.worker.ingress.held),
    "engine_timers_armed": _owners(lambda o, _: len(o.turns.timers)),
    "engine_timers_fired_total": _counters("timers_fired"),
    "engine_timer_late_seconds": one(lambda v: Scaled(v.worker.measures.timer_late_ms, 1000)),
    "engine_timer_overdue_seconds": _owners(_overdue),
    "engine_retention_purged_total": _counters("expired"),
    "engine_retention_overdue_seconds": _owners(lambda o, _: o.turns.retention.overdue_ms / 1000),
    "engine_activities_started_total": one(lambda v: v.worker.pool.started),
    "engine_activities_queued": one(lambda v: v.worker.pool.waiting),
    "engine_activities_running": one(lambda v: max(0, v.worker.pool.under_way - v.worker.pool.waiting)),
    "engine_activity_queue_seconds": one(lambda v: Scaled(v.worker.pool.measures.queue_ns, SECOND)),
    "engine_activity_run_seconds": _attempts(lambda e: Scaled(e.ran_ns, SECOND), is_ours=True),
    "engine_partitions_owned": _statuses,
    "engine_partitions": one(lambda v: v.worker.ports.log.identity.partitions),
    "engine_partitions_damaged": one(lambda v: len(v.worker.loop.damaged)),
    "engine_partition_claiming_seconds": _claiming,
    "engine_claims_total": one(lambda v: v.worker.loop.claims),
    "engine_claim_failures_total": one(lambda v: v.worker.measures.claim_failures),
    "engine_reclaims_total": one(lambda v: v.worker.measures.reclaims),
    "engine_losses_total": _tally(lambda v: v.worker.measures.losses, LOSSES),
    "engine_restore_seconds": one(lambda v: Scaled(v.worker.measures.restore_ns, SECOND)),
    "engine_restored_records_total": one(lambda v: v.worker.measures.restored_records),
    "engine_group_member": one(lambda v: v.worker.is_member),
    "engine_owner_stood_seconds": one(lambda v: v.worker.stood_ms / 1000),
    "engine_calls_under_way": one(lambda v: sum(owner.turns.calls_open for owner in v.owners)),
    "engine_build_info": _build,
    f"{_DAPR}operation_count": _operations,
    f"{_DAPR}execution_count": _runs(lambda e: e.count),
    f"{_DAPR}execution_latency": _runs(lambda e: Scaled(e.lasted_ms)),
    f"{_DAPR}scheduling_latency": _by_workflow(lambda v: v.worker.measures.scheduling_ms(), 1),
    f"{_DAPR}payload_size_ratio": _by_workflow(lambda v: v.worker.measures.size_per_mille(), 1000),
    f"{_DAPR}activity_operation_count": _attempts(lambda e: e.count),
    f"{_DAPR}activity_operation_latency": _attempts(lambda e: Scaled(e.took_ns, MS)),
    f"{_DAPR}activity_execution_count": _attempts(lambda e: e.count),
    f"{_DAPR}activity_execution_latency": _attempts(lambda e: Scaled(e.ran_ns, MS)),
}
